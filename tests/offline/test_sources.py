import io
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_serve.__main__ import main
from emo_serve.offline.sources import find_sources, with_frames
from emo_serve.offline.video import frames
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_STARTUP
from tests.offline.conftest import rows
from tests.offline.folders import write_pictures


def named(*arguments: str | Path) -> list[str]:
    return [source.name for source in find_sources([str(argument) for argument in arguments])]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_gives_its_pictures_and_those_below_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "notes.md", ".hidden.jpg", "sub/c.webp", ".git/d.jpg")
    assert named(tmp_path) == [str(tmp_path / name) for name in ("a.PNG", "b.jpg", "sub/c.webp")]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "upload")
    assert named(tmp_path / "upload") == [str(tmp_path / "upload")]


def test_a_quoted_pattern_gives_what_matches_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "x/2.jpg", "x/1.jpg", "y.jpg")
    assert named(tmp_path / "**/*.jpg") == [str(tmp_path / name) for name in ("x/1.jpg", "x/2.jpg", "y.jpg")]


def test_a_name_with_brackets_that_exists_is_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "photo[1].jpg")
    assert named(tmp_path / "photo[1].jpg") == [str(tmp_path / "photo[1].jpg")]


def test_a_list_has_a_path_a_line_relative_to_itself(tmp_path: Path) -> None:
    touch(tmp_path, "list/a.jpg")
    listed = tmp_path / "list" / "photos.txt"
    listed.write_bytes("\ufeffa.jpg\r\n\r\nmissing.jpg\n".encode())
    found = list(find_sources([str(listed)]))
    assert [source.name for source in found] == ["a.jpg", "missing.jpg"]
    assert found[0].read(10) == b""
    with pytest.raises(FileNotFoundError):  # one bad line must not cost the others their answers
        found[1].read(10)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        named(tmp_path / "nothing*.jpg")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://bucket/b.png", "object stores need more packages: pip install 'emo-serve[s3]'"),
        (
            "http://host/b.png",
            "object stores need more packages: pip install 'emo-serve[s3]', and the package of fsspec",
        ),
        ("nothing://bucket/b.png", "Protocol not known: nothing"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "batch"])
def test_an_address_in_a_list_that_lacks_a_package_is_said_before_anything_is_answered(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, address: str, said: str
) -> None:
    first, last = write_pictures(tmp_path, 2)
    listed, out = tmp_path / "list.txt", tmp_path / "out"
    listed.write_text(f"{first}\n{address}\n{last}\n")
    to = ["--out", str(out)] if command == "batch" else ["--save", str(out)]
    assert main([command, str(listed), "--models", str(models), *to]) == EXIT_STARTUP
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{address}: {said}" in printed.err
    assert not out.exists()


@pytest.mark.parametrize("bad", ["a\0b.png", "x" * 300, "hdfs://[::1/a.png"])
def test_a_line_that_can_be_no_name_costs_no_other_its_answer(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str
) -> None:
    first, last = write_pictures(tmp_path, 2)
    (tmp_path / "list.txt").write_text(f"{first}\n{bad}\n{last}\n")
    arguments = ["--models", str(models), "--json", "--save", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "list.txt"), *arguments]) == EXIT_FAILED_INPUTS
    found = rows(capsys)
    assert ["error" in row for row in found] == [False, True, False]
    assert found[1]["input"] == bad


def test_a_larger_file_is_read_up_to_the_limit_and_one_byte(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(bytes(1000))
    assert len(next(find_sources([str(path)])).read(10)) == 11


def fake_ffmpeg(folder: Path, script: str) -> None:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_video_gives_its_frames_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = (10, 200)
    for number, shade in enumerate(shades):
        Image.fromarray(np.full((8, 6, 3), shade, np.uint8)).save(tmp_path / f"{number}.bmp")
    fake_ffmpeg(tmp_path, f'cat "{tmp_path}/0.bmp" "{tmp_path}/1.bmp"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    touch(tmp_path, "clip.mp4")
    found = list(with_frames(find_sources([str(tmp_path / "clip.mp4")])))
    assert [(source.name, source.stem) for source in found] == [
        (f"{tmp_path / 'clip.mp4'}#{number}", f"clip-{number}") for number in range(2)
    ]
    pictures = [np.asarray(Image.open(io.BytesIO(source.read(1000)))) for source in found]
    assert [int(picture.mean()) for picture in pictures] == list(shades)


def test_a_video_that_ffmpeg_cannot_read_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ffmpeg(tmp_path, "echo 'moov atom not found' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match=r"clip\.mp4: ffmpeg cannot read it: moov atom not found"):
        list(frames(tmp_path / "clip.mp4"))


def test_a_video_without_ffmpeg_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="ffmpeg, which would read it, is not installed"):
        list(frames(tmp_path / "clip.mp4"))


def test_ffmpeg_ends_when_its_frames_are_no_longer_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "0.bmp")
    fake_ffmpeg(tmp_path, f'echo $$ > "{tmp_path}/pid"; while :; do cat "{tmp_path}/0.bmp"; done')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    reading = frames(tmp_path / "endless.mp4")
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator
    pid = (tmp_path / "pid").read_text().strip()
    assert subprocess.run(["kill", "-0", pid], check=False, capture_output=True).returncode != 0


def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (found,) = find_sources([str(tmp_path)])
    with pytest.raises(OSError, match="it is a FIFO"):
        found.read(10)


@pytest.mark.parametrize("argument", ["empty", "empty/*", "none.txt", "folders/*", ""])
def test_what_holds_no_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "empty/.hidden.jpg", "none.txt", "folders/a/notes.md")
    with pytest.raises(FileNotFoundError, match=re.escape(argument or "''")):
        named(argument)


def test_a_mistyped_name_is_said_before_any_picture_is_given(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(FileNotFoundError):
        find_sources([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")])


def test_a_folder_that_is_left_out_gives_nothing_unless_it_is_named_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "drawn/b.jpg", "drawn/below/c.jpg")
    drawn = tmp_path / "drawn"
    assert [source.stem for source in find_sources([str(tmp_path)], left_out=drawn)] == ["a"]
    assert [source.stem for source in find_sources([str(drawn)], left_out=drawn)] == ["b", "c"]
    assert [source.stem for source in find_sources([str(drawn / "below")], left_out=drawn)] == ["c"]


def test_a_name_that_is_no_utf_8_is_text_in_the_output(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff.jpg")
    touch(tmp_path, name)
    (found,) = find_sources([str(tmp_path)])
    assert found.name == rf"{tmp_path}/a\xff.jpg"
    assert found.read(10) == b""


def test_a_name_in_a_list_may_contain_what_only_unicode_takes_for_a_line_end(tmp_path: Path) -> None:
    touch(tmp_path, "a\u2028b.jpg")
    (tmp_path / "list.txt").write_text("a\u2028b.jpg\n", encoding="utf-8")
    assert named(tmp_path / "list.txt") == ["a\u2028b.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into everything")
def test_a_folder_that_cannot_be_looked_into_is_an_error_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        readable, closed = find_sources([str(tmp_path)])
        assert (readable.stem, closed.name) == ("a", str(tmp_path / "closed"))
        with pytest.raises(PermissionError):
            closed.read(10)
    finally:
        (tmp_path / "closed").chmod(0o700)
