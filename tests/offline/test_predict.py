import io
import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_serve.__main__ import main
from emo_serve.api.http.key_file import new_key
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from tests.offline.folders import write_pictures
from tests.serving import emo_serve, running, settings_for
from tests.support import (
    PATIENCE_SECONDS,
    encode_image,
    plain,
    quadrants,
    write_classifier,
    write_detector,
    write_segmenter,
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_classifier(folder)
    write_detector(folder)
    write_segmenter(folder)
    return folder


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


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


def test_detectors_and_segmenters_draw_what_they_found(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):  # of one name
        folder = tmp_path / name
        folder.mkdir()
        (folder / "photo.png").write_bytes(encode_image(quadrants("red", "white", "white", "white")))
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--models", str(models), "--save", str(tmp_path / "out")]
    assert main(["predict", *arguments, "--task", "detect", "--json"]) == EXIT_OK
    found = rows(capsys)
    assert [row["saved"] for row in found] == [str(tmp_path / "out" / name) for name in ("photo.png", "photo-2.png")]
    assert found[0]["detections"]
    assert main(["predict", *arguments, "--task", "segment"]) == EXIT_OK
    with Image.open(tmp_path / "out" / "photo.labels.png") as class_map, Image.open(tmp_path / "a/photo.png") as photo:
        assert class_map.size == photo.size
        assert np.asarray(class_map).max() <= 2


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
        (["photo.png", "--top-k", "0"], EXIT_USAGE, "--top-k 0: Input should be greater than or equal to 1"),
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


def test_a_model_that_the_server_has_not_ends_the_command_once(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 3)
    with running(settings_for(models)) as server:
        command = emo_serve("predict", str(tmp_path / "photos"), "--url", server.url, "--model", "cat")
        output, errors = command.communicate(timeout=PATIENCE_SECONDS)
    assert (command.returncode, output) == (EXIT_STARTUP, "")
    assert errors.count("has no model 'cat'; there are: toy-classifier") == 1


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


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_the_answers_of_a_server_are_drawn_as_those_of_a_model_here(models: Path, tmp_path: Path, task: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "four.png").write_bytes(encode_image(quadrants("red", "green", "blue", "white")))
    (folder / "plain.jpg").write_bytes(encode_image(plain("black"), "JPEG"))  # nothing to detect
    (folder / "broken.png").write_bytes(b"no picture")
    arguments = ["predict", str(folder), "--task", task, "--json"]
    assert main([*arguments, "--models", str(models), "--save", str(tmp_path / "here")]) == EXIT_FAILED_INPUTS
    with running(settings_for(models)) as server:
        command = emo_serve(*arguments, "--url", server.url, "--save", str(tmp_path / "there"))
        output, errors = command.communicate(timeout=PATIENCE_SECONDS)
    assert (command.returncode, errors) == (EXIT_FAILED_INPUTS, "")
    saved = [json.loads(line).get("saved") for line in output.splitlines()]
    assert saved == [None, *(str(tmp_path / "there" / name) for name in ("four.png", "plain.jpg"))]
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert len(drawn) == (4 if task == "segment" else 2)
    assert drawn["four.png"] != (folder / "four.png").read_bytes()


@pytest.mark.parametrize("there", ["photos", "link", "photos/../photos"])
def test_drawings_do_not_go_where_they_could_replace_the_photos(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    (path,) = write_pictures(tmp_path / "photos", 1)
    (tmp_path / "link").symlink_to("photos")
    before = path.read_bytes()
    (tmp_path / "list.txt").write_text("photos/0000.png\n")
    for argument in ("photos", "photos/0000.png", "list.txt"):
        arguments = ["predict", str(tmp_path / argument), "--models", str(models), "--save", str(tmp_path / there)]
        assert main(arguments) == EXIT_USAGE
        assert "choose another folder" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_drawings_below_the_photos_are_no_photos_of_the_next_run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, 2)
    for _ in range(2):
        arguments = ["predict", str(photos), "--models", str(models), "--save", str(photos / "drawn"), "--json"]
        assert main(arguments) == EXIT_OK
        assert len(rows(capsys)) == 2
    assert sorted(path.name for path in (photos / "drawn").iterdir()) == ["0000.png", "0001.png"]


def test_no_two_pictures_are_drawn_to_one_file(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("a/x.png", "b/x.png", "c/x-2.png", "d/x.png")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(encode_image(plain("red")))
    save = ["--save", str(tmp_path / "out")]
    assert main(["predict", *map(str, paths), "--models", str(models), *save, "--json"]) == EXIT_OK
    saved = [Path(str(row["saved"])).name for row in rows(capsys)]
    assert saved == ["x.png", "x-2.png", "x-2-2.png", "x-3.png"]


def test_a_drawing_that_cannot_be_written_is_an_error_and_a_link_is_not_followed(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 2)
    out = tmp_path / "out"
    (out / "0000.png").mkdir(parents=True)
    (tmp_path / "original.png").write_bytes(b"mine")
    (out / "0001.png").symlink_to(tmp_path / "original.png")
    arguments = ["predict", str(tmp_path / "photos"), "--models", str(models), "--save", str(out), "--json"]
    assert main(arguments) == EXIT_FAILED_INPUTS
    first, second = rows(capsys)
    assert first["error"] == f"{out / '0000.png'} cannot be written: Is a directory"
    assert second["saved"] == str(out / "0001.png")
    assert (tmp_path / "original.png").read_bytes() == b"mine"
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png"]


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


def test_a_folder_for_drawings_that_is_a_file_is_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "out").touch()
    status = main(["predict", str(tmp_path / "photos"), "--models", str(models), "--save", str(tmp_path / "out")])
    assert status == EXIT_STARTUP
    assert capsys.readouterr().err == f"emo-serve: {tmp_path / 'out'}: File exists\n"
