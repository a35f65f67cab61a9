"""One toy model for each task, and what a command printed about pictures."""

import json
from pathlib import Path

import pytest

from tests.support import write_classifier, write_detector, write_segmenter


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_classifier(folder)
    write_detector(folder)
    write_segmenter(folder)
    return folder


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
