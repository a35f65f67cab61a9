import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_serve.__main__ import main
from emo_serve.api.http.key_file import new_key
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from tests.offline.conftest import rows
from tests.offline.folders import write_pictures
from tests.serving import Running, emo_serve, running, settings_for
from tests.support import (
    PATIENCE_SECONDS,
    encode_image,
    plain,
    write_classifier,
    write_models,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    with running(settings_for(folder)) as server:
        yield server


def test_each_picture_is_answered_in_the_order_in_which_it_is_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_pictures(tmp_path / "photos", 20)
    assert main(["predict", str(tmp_path / "photos"), "--models", str(models), "--json", "--top-k", "1"]) == EXIT_OK
    found = rows(capsys)
    assert [row["input"] for row in found] == [str(path) for path in paths]
    names = [row["classifications"][0]["name"] for row in found]  # type: ignore[index]
    assert names[:4] == ["red", "green", "blue", "red"]
    assert found[0]["image"] == {"width": 48, "height": 40}


def test_a_person_gets_a_table(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = write_pictures(tmp_path / "photos", 1)
    assert main(["predict", str(path), "--models", str(models), "--top-k", "1"]) == EXIT_OK
    head, line = capsys.readouterr().out.splitlines()
    assert head == f"{path}  48x40"
    assert line.split()[1] == "red"


def test_a_broken_picture_has_its_reason_and_costs_no_other_its_answer(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 3, broken=frozenset({1}))
    status = main(["predict", str(tmp_path / "photos"), "--models", str(models), "--json"])
    assert status == EXIT_FAILED_INPUTS
    found = rows(capsys)
    assert ["error" in row for row in found] == [False, True, False]
    assert "not supported" in str(found[1]["error"])


def test_standard_input_is_a_picture(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encode_image(plain("blue")))))
    assert main(["predict", "-", "--models", str(models), "--json"]) == EXIT_OK
    assert rows(capsys)[0]["classifications"][0]["name"] == "blue"  # type: ignore[index]


def test_a_model_is_chosen_by_name_and_version(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(models, version="2")
    (path,) = write_pictures(tmp_path / "photos", 1)
    for name, version in (("toy-classifier@1", "1"), ("toy-classifier@default", "2"), ("toy_classifier", "2")):
        assert main(["predict", str(path), "--models", str(models), "--json", "--model", name]) == EXIT_OK
        assert rows(capsys)[0]["model"] == {"name": "toy-classifier", "version": version}


def test_the_version_is_that_which_a_server_answers_with(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(models, version="2")
    (models / "toy-classifier" / "serving.json").write_text('{"aliases": {"default": "1"}}')
    (path,) = write_pictures(tmp_path / "photos", 1)
    assert main(["predict", str(path), "--models", str(models), "--json"]) == EXIT_OK
    assert rows(capsys)[0]["model"] == {"name": "toy-classifier", "version": "1"}


def test_the_default_is_the_one_that_is_set(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classifier(models, "other")
    monkeypatch.setenv("EMO_DEFAULT_CLASSIFY_MODEL", "other")
    (path,) = write_pictures(tmp_path / "photos", 1)
    assert main(["predict", str(path), "--models", str(models), "--json"]) == EXIT_OK
    assert rows(capsys)[0]["model"] == {"name": "other", "version": "1"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nowhere.jpg"], EXIT_STARTUP, "nowhere.jpg: there is no such file or folder"),
        (["photo.png", "--model", "cat"], EXIT_STARTUP, "has no model 'cat'; there are: toy-classifier"),
        (["photo.png", "--model", "toy-classifier@7"], EXIT_STARTUP, "has no version '7'; there are: 1"),
        (["photo.png", "--model", "toy-classifier", "--task", "detect"], EXIT_STARTUP, "a model for classify, not for"),
        (["photo.png", "--top-k", "0"], EXIT_USAGE, "--top-k 0: must be greater than or equal to 1"),
        (["photo.png", "--iou-threshold", "0.5"], EXIT_USAGE, "--iou-threshold is no option of a model for classify"),
        (["photo.png", "--task", "detect", "--classes", "cat"], EXIT_USAGE, "allowed are the labels of the model"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(  # parameters and fixtures
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(encode_image(plain("red")))
    assert main(["predict", *arguments, "--models", str(models)]) == status
    assert said in capsys.readouterr().err


def test_a_server_is_asked_with_the_same_options_and_gives_the_same_answers(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 5, broken=frozenset({2}))
    arguments = ["predict", str(tmp_path / "photos"), "--json", "--model", "toy_classifier@1", "--top-k", "2"]
    main([*arguments, "--models", str(models)])
    here = rows(capsys)
    with running(settings_for(models)) as server:
        command = emo_serve(*arguments, "--url", server.url)
        output, errors = command.communicate(timeout=PATIENCE_SECONDS)
    assert command.returncode == EXIT_FAILED_INPUTS
    assert [json.loads(line) for line in output.splitlines()] == here
    assert errors == ""


def test_a_server_that_needs_a_key_gets_the_one_in_the_environment(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 1)
    key, _ = new_key("me", tmp_path / "keys")
    with running(settings_for(models, api_keys_file=tmp_path / "keys")) as server:
        arguments = ["predict", str(tmp_path / "photos"), "--url", server.url]
        for environment, status in (({}, EXIT_STARTUP), ({"EMO_CLIENT_API_KEY": key}, EXIT_OK)):
            command = emo_serve(*arguments, **environment)
            _, errors = command.communicate(timeout=PATIENCE_SECONDS)
            assert command.returncode == status, errors


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (
            ["--task", "detect", "--top-k", "3"],
            EXIT_USAGE,
            "--top-k is no option of a model for detect; there are: --sc",
        ),
        (
            ["--task", "segment", "--top-k", "3"],
            EXIT_USAGE,
            "--top-k is no option of a model for segment; there are none",
        ),
        (["--model", "toy-classifier", "--iou-threshold", "1"], EXIT_USAGE, "--iou-threshold is no option of a model"),
        (["--top-k", "0"], EXIT_USAGE, "--top-k 0: must be greater than or equal to 1"),
        (["--task", "detect", "--classes", "cat"], EXIT_USAGE, "allowed are the labels of the model"),
        (["--model", "cat"], EXIT_STARTUP, "has no model 'cat'; there are: toy-classifier"),
        (["--model", "toy-classifier@7"], EXIT_STARTUP, "has no version '7' of toy-classifier; there are: 1"),
        (["--model", "toy-classifier", "--task", "detect"], EXIT_STARTUP, "is a model for classify, not for detect"),
    ],
)
def test_what_does_not_fit_a_server_ends_the_command_once(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, said: str
) -> None:
    write_pictures(tmp_path / "photos", 3)
    assert main(["predict", str(tmp_path / "photos"), "--url", server.url, *options]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count(said) == 1


def test_a_version_of_a_server_is_named_by_number_or_alias(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    for version in ("1", "default"):
        arguments = ["--url", server.url, "--json", "--model", f"toy_classifier@{version}"]
        assert main(["predict", str(tmp_path / "photos"), *arguments]) == EXIT_OK
        assert rows(capsys)[0]["model"] == {"name": "toy-classifier", "version": "1"}


def test_a_task_that_the_server_has_no_model_for_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 3)
    write_classifier(tmp_path / "models")
    with running(settings_for(tmp_path / "models")) as server:
        assert main(["predict", str(tmp_path / "photos"), "--url", server.url, "--task", "detect"]) == EXIT_STARTUP
    assert capsys.readouterr().err == "emo-serve: the server has no model for detect\n"


def test_models_of_this_machine_and_a_server_do_not_go_together(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    arguments = ["predict", str(tmp_path / "photos"), "--url", "http://127.0.0.1:1", "--models", str(models)]
    assert main(arguments) == EXIT_USAGE
    assert "--models and --url do not go together" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    write_pictures(tmp_path / "photos", 1)
    assert main(["predict", str(tmp_path / "photos"), "--url", url]) == EXIT_STARTUP
    assert url in capsys.readouterr().err


@pytest.mark.parametrize("url", ["localhost:8000", "http://[::1", "http://127.0.0.1:abc", "http://a..b"])
def test_what_is_no_address_of_a_server_is_wrong_usage(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    assert main(["predict", str(tmp_path / "photos"), "--url", url]) == EXIT_USAGE
    assert f"emo-serve: --url: {url!r} is no address of a server" in capsys.readouterr().err


def test_a_name_of_any_bytes_has_an_answer_and_takes_one_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for name in (b"a\xff.png", b"b\n\x1b[31m.png"):
        (tmp_path / "photos" / os.fsdecode(name)).write_bytes(encode_image(plain("red")))
    arguments = ["predict", str(tmp_path / "photos"), "--models", str(models), "--top-k", "1"]
    assert main([*arguments, "--json", "--save", str(tmp_path / "out")]) == EXIT_OK
    assert [row["input"] for row in rows(capsys)] == [
        rf"{tmp_path}/photos/a\xff.png",
        f"{tmp_path}/photos/b\n\x1b[31m.png",
    ]
    assert main(arguments) == EXIT_OK
    assert len(capsys.readouterr().out.splitlines()) == 4
