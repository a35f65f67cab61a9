"""What the tests of ``emo-serve add`` share."""

from pathlib import Path

import pytest

from tests.support import COLOURS


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    return path
