"""Addresses of an object store, with fsspec's store in memory; tests/on_ray has a server of S3."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from emo_serve.__main__ import main
from emo_serve.offline.object_store import names_below, read_object, write_object
from emo_serve.offline.sources import Source, ask_about, find_sources
from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from tests.offline.folders import write_pictures
from tests.support import write_classifier


@pytest.fixture
def store() -> Iterator[None]:
    for name in ("b/2.png", "b/1.JPG", "b/sub/3.png", "b/.trash/4.png", "b/notes.md"):
        write_object(f"memory://{name}", name.encode())
    yield
    fsspec.filesystem("memory").rm("/", recursive=True)


@pytest.mark.usefixtures("store")
def test_a_prefix_names_its_pictures_in_a_fixed_order_and_no_hidden_ones() -> None:
    names = [source.name for source in find_sources(["memory://b"])]
    assert names == ["memory:///b/1.JPG", "memory:///b/2.png", "memory:///b/sub/3.png"]


@pytest.mark.usefixtures("store")
def test_an_object_and_a_pattern_are_what_they_name() -> None:
    sources = list(find_sources(["memory://b/notes.md", "memory://b/*.png"]))
    assert [(source.name, source.stem) for source in sources] == [
        ("memory:///b/notes.md", "notes"),
        ("memory:///b/2.png", "2"),
    ]
    assert sources[1].read(100) == b"b/2.png"
    assert sources[1].read(2) == b"b/2"


@pytest.mark.usefixtures("store")
def test_a_list_names_objects_by_address_or_beside_itself(tmp_path: Path) -> None:
    write_object("memory://b/list.txt", b"2.png\nmemory://b/sub/3.png\n")
    assert [source.read(100) for source in find_sources(["memory://b/list.txt"])] == [b"b/2.png", b"b/sub/3.png"]
    (tmp_path / "list.txt").write_text("memory://b/2.png\n")
    assert [source.read(100) for source in find_sources([str(tmp_path / "list.txt")])] == [b"b/2.png"]


@pytest.mark.parametrize("named", ["photos", "photos/bad\udcff\udcfe.png"])
def test_an_address_that_is_no_utf_8_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str) -> None:
    (path,) = write_pictures(tmp_path / "photos", 1)
    path.rename(path.with_name("bad\udcff\udcfe.png"))
    write_classifier(tmp_path / "models")
    arguments = [f"file://{tmp_path}/{named}", "--models", str(tmp_path / "models")]
    assert main(["predict", "--json", *arguments]) == EXIT_OK
    assert main(["batch", *arguments, "--out", str(tmp_path / "out")]) == EXIT_OK
    (shard,) = (tmp_path / "out").glob("part-*")
    answers = [json.loads(text) for text in (capsys.readouterr().out, shard.read_text())]
    assert [answer["input"] for answer in answers] == [rf"file://{tmp_path}/photos/bad\xff\xfe.png"] * 2
    assert [answer["classifications"][0]["name"] for answer in answers] == ["red"] * 2


def test_the_fault_of_an_address_that_is_no_utf_8_can_be_written() -> None:
    missing = Source.at("memory://none/\udcff.png")
    _, error = ask_about(missing, 10, lambda _: {})
    assert error is not None
    assert error.endswith(r"none/\xff.png")


@pytest.mark.usefixtures("store")
def test_what_names_nothing_is_said_at_once() -> None:
    with pytest.raises(FileNotFoundError, match="memory://none: there is no such object"):
        find_sources(["memory://none"])
    assert names_below("memory://none") == set()
    with pytest.raises(FileNotFoundError):
        read_object("memory://b/none.png", 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "ray"], "--engine ray needs the package ray: pip install 'emo-serve[ray]'"),
        (["s3://bucket/of/"], "s3://bucket/of/: object stores need more packages: pip install 'emo-serve[s3]'"),
        (["nothing://bucket/"], "nothing://bucket/: Protocol not known: nothing"),
    ],
)
def test_what_an_extra_is_needed_for_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    write_classifier(tmp_path / "models")
    write_pictures(tmp_path / "photos", 3)
    places = [str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(tmp_path / "models")]
    assert main(["batch", *arguments, *places]) == EXIT_STARTUP
    assert said in capsys.readouterr().err
