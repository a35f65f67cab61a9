"""A model that is added says which model answers where none is named, and never becomes that unasked."""

from pathlib import Path

import pytest

from tests.onnx_import.adding import add, ask
from tests.onnx_import.networks import write_classifier
from tests.support import plain
from tests.support import write_classifier as write_served

pytestmark = pytest.mark.anyio


async def test_beside_another_model_the_default_stays_what_it_was(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_served(tmp_path / "models", name="zebras")
    file = write_classifier(tmp_path / "a.onnx")
    assert add(file, "classify", "--labels", labels) == 0
    assert "default for classify: zebras, as before; " in capsys.readouterr().out
    await ask(tmp_path / "models", "classify", plain("red"), model="zebras")
    assert (tmp_path / "models" / "defaults.json").read_text() == '{"classify": "zebras"}\n'
    monkeypatch.setenv("EMO_DEFAULT_CLASSIFY_MODEL", "theirs")
    assert add(file, "classify", "--labels", labels, "--version", "2") == 0
    assert capsys.readouterr().out.endswith("; here EMO_DEFAULT_CLASSIFY_MODEL says theirs\n")


async def test_the_first_model_is_the_default(tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_classifier(tmp_path / "a.onnx"), "classify", "--labels", labels) == 0
    assert "default for classify: theirs, which answers" in capsys.readouterr().out
