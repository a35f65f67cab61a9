"""Shared by all tests."""

import logging
import os
import tempfile
from collections.abc import Iterator

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any test loads ONNX Runtime, which else sends usage data

# Measuring takes seconds and leaves a file in the user's caches; the tests of tuning ask for it.
os.environ.setdefault("EMO_TUNE", "false")

# PyTorch would take all cores for networks that are over before its threads have met; the other tests need them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# To try a version in a process of its own takes half a second; what was tried is remembered from test to test, as the
# models are mostly the same, and forgotten in the end. Each process that runs tests has a memory of its own.
_CACHE = tempfile.TemporaryDirectory(prefix="emo-tests-")
os.environ["EMO_CACHE_DIR"] = _CACHE.name


def pytest_unconfigure() -> None:
    """Forget."""
    _CACHE.cleanup()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Have the lines of this process go where they went before, in the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
