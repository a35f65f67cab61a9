"""``emo-serve predict --save``: drawings of the answers, and where they may not go."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_serve.__main__ import main
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from tests.offline.conftest import rows
from tests.offline.folders import write_pictures
from tests.serving import emo_serve, running, settings_for
from tests.support import PATIENCE_SECONDS, encode_image, plain, quadrants


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


def test_a_folder_for_drawings_that_is_a_file_is_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "out").touch()
    status = main(["predict", str(tmp_path / "photos"), "--models", str(models), "--save", str(tmp_path / "out")])
    assert status == EXIT_STARTUP
    assert capsys.readouterr().err == f"emo-serve: {tmp_path / 'out'}: File exists\n"
