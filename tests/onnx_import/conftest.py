"""Fixtures of the tests of ``emo-serve add``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.onnx_import.adding import trials
from tests.support import COLOURS


@pytest.fixture(scope="package", autouse=True)
def process_for_trials() -> Iterator[None]:
    """Ends with these tests: others count such processes."""
    process = trials()
    yield
    process.end()
    trials.cache_clear()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    return path
