"""Shared by all tests."""

import os

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any test loads ONNX Runtime, which else sends usage data


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"
