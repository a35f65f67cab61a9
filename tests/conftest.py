"""Shared by all tests."""

import os

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any test loads ONNX Runtime, which else sends usage data

# Measuring takes seconds and leaves a file in the user's caches; the tests of tuning ask for it.
os.environ.setdefault("EMO_TUNE", "false")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"
