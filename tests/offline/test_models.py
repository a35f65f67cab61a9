import json
import socket
from pathlib import Path

import pytest

from emo_serve.__main__ import main
from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from tests.support import write_classifier, write_detector


def test_every_version_is_listed_and_defaults_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classifier(tmp_path)
    write_classifier(tmp_path, version="2")
    write_detector(tmp_path)
    assert main(["models", "--models", str(tmp_path)]) == EXIT_OK
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["MODEL", "TASK", "CLASSES", "INPUT", "SIZE"]
    assert [line.split()[0] for line in lines if line.endswith("default")] == ["toy-classifier@2", "toy-detector@1"]
    assert main(["models", "--models", str(tmp_path), "--json"]) == EXIT_OK
    assert [entry["default"] for entry in json.loads(capsys.readouterr().out)] == [False, True, True]


def test_a_model_is_shown_with_its_card_and_its_manifest_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path)
    assert main(["models", "toy_classifier", "--models", str(tmp_path)]) == EXIT_OK
    shown = capsys.readouterr().out
    assert shown.startswith("toy-classifier@1: classify, 3 classes, toy")
    assert "red, green, blue" in shown
    assert main(["models", "toy-classifier", "--models", str(tmp_path), "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["name"] == "toy-classifier"


def test_a_broken_model_is_named_beside_the_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classifier(tmp_path)
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    assert main(["models", "--models", str(tmp_path)]) == EXIT_STARTUP
    said = capsys.readouterr()
    assert "toy-classifier@1" in said.out
    assert str(broken) in said.err


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    return {entry["check"]: (entry["word"], entry["detail"]) for entry in json.loads(capsys.readouterr().out)}


def test_doctor_loads_every_model_and_times_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classifier(tmp_path)
    assert main(["doctor", "--models", str(tmp_path), "--port", "0", "--json"]) == EXIT_OK
    found = findings(capsys)
    word, detail = found["model"]
    assert word == "ok"
    assert "toy-classifier 1 is right about its golden picture" in detail
    assert {"cores", "memory", "open files", "versions", "formats", "cache", "port"} <= set(found)


def test_doctor_names_a_port_that_is_taken_and_a_model_that_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_classifier(tmp_path)
    (folder / "labels.txt").write_text("red\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["doctor", "--models", str(tmp_path), "--port", port, "--json"]) == EXIT_STARTUP
    found = findings(capsys)
    assert found["port"][0] == "wrong"
    assert f"port {port}" in found["port"][1]
    assert found["model"][0] == "wrong"
    assert "labels.txt" in found["model"][1]


def test_doctor_says_when_measurements_cannot_be_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classifier(tmp_path / "models")
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["doctor", "--models", str(tmp_path / "models"), "--port", "0"]) == EXIT_OK
    assert "set EMO_CACHE_DIR" in capsys.readouterr().out
