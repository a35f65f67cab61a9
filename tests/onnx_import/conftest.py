"""What the tests of ``emo-serve add`` share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.onnx_import.adding import trials
from tests.support import COLOURS


@pytest.fixture(scope="session", autouse=True)
def process_for_trials() -> Iterator[None]:
    """Ends with the session."""
    process = trials()
    yield
    process.end()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    return path
