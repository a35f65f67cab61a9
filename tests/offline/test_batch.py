import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from emo_serve.__main__ import main
from emo_serve.process.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STARTUP,
    EXIT_USAGE,
)
from tests.offline.folders import COLOURS, content, write_pictures
from tests.serving import emo_serve
from tests.support import PATIENCE_SECONDS, write_classifier, write_detector


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_classifier(folder)
    write_detector(folder)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    shards = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text().splitlines()]


def test_every_picture_has_a_row_in_order_and_broken_ones_an_error(models: Path, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "photos", 25, broken=frozenset({7}))
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(out), "--models", str(models), "--shard-size", "10"]
    assert main(arguments) == EXIT_OK
    assert sorted(content(out)) == [f"part-{shard:05d}-of-00003.jsonl" for shard in range(3)]
    found = rows_of(out)
    assert [row["input"] for row in found] == [str(path) for path in paths]
    assert [row["input"] for row in found if row["error"]] == [str(paths[7])]
    answered = [(number, row) for number, row in enumerate(found) if not row["error"]]
    assert all(row["classifications"][0]["name"] == COLOURS[number % 3] for number, row in answered)
    assert len({row["model"]["sha256"] for row in found}) == 1


def test_only_shards_that_are_missing_are_computed_and_they_are_the_same(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 25)
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(out), "--models", str(models), "--shard-size", "10"]
    assert main(arguments) == EXIT_OK
    before = content(out)
    (out / "part-00001-of-00003.jsonl").unlink()
    (out / ".part-00001-of-00003.jsonl.77").write_text("a leftover")
    kept = (out / "part-00000-of-00003.jsonl").stat().st_mtime_ns
    assert main(arguments) == EXIT_OK
    assert content(out) == before
    assert (out / "part-00000-of-00003.jsonl").stat().st_mtime_ns == kept
    assert not list(out.glob(".part-*"))


def test_a_file_past_the_limit_is_said_to_have_more_bytes_than_that(models: Path, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path / "photos", 1)
    with path.open("r+b") as file:
        file.truncate(30_000_000)
    out = tmp_path / "out"
    assert main(["batch", str(path), "--out", str(out), "--models", str(models)]) == EXIT_OK
    assert rows_of(out)[0]["error"] == "The image has more than the 20971520 bytes that are allowed."


def test_parquet_has_the_same_answers(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 6, broken=frozenset({2}))
    both = ["batch", str(tmp_path / "photos"), "--models", str(models)]
    for file_format in ("jsonl", "parquet"):
        assert main([*both, "--format", file_format, "--out", str(tmp_path / file_format)]) == EXIT_OK
    (shard,) = (tmp_path / "parquet").glob("part-*.parquet")
    table = pq.read_table(shard).to_pylist()
    for row, expected in zip(table, rows_of(tmp_path / "jsonl"), strict=True):
        assert row["input"] == expected["input"]
        assert row["error"] == expected["error"]
        names = [entry["name"] for entry in row["classifications"] or ()]
        assert names == [entry["name"] for entry in expected.get("classifications", ())]


def test_coco_has_boxes_whose_ids_differ_between_shards(models: Path, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "photos", 5, broken=frozenset({3}))
    out = tmp_path / "out"
    options = ["--task", "detect", "--format", "coco", "--shard-size", "3", "--models", str(models), "--out", str(out)]
    assert main(["batch", str(tmp_path / "photos"), *options]) == EXIT_OK
    documents = [json.loads(path.read_text()) for path in sorted(out.glob("part-*.json"))]
    images = [image for document in documents for image in document["images"]]
    assert [(image["id"], image["file_name"]) for image in images] == [
        (number, str(paths[number - 1])) for number in (1, 2, 3, 5)
    ]
    assert documents[1]["errors"][0]["file_name"] == str(paths[3])
    ids = [annotation["id"] for document in documents for annotation in document["annotations"]]
    assert ids
    assert len(ids) == len(set(ids))
    left, top, width, height = documents[0]["annotations"][0]["bbox"]
    assert left >= 0
    assert top >= 0
    assert left + width <= 48
    assert top + height <= 40


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shard-size", "0"], "--shard-size 0: allowed are 1 to 1000000"),
        (["--shard-size", f"1{400 * '0'}"], "0: allowed are 1 to 1000000"),
        (["--processes", "0"], "--processes 0: allowed are 1 to 10000"),
        (["--processes", f"1{400 * '0'}"], "0: allowed are 1 to 10000"),
        (["--top-k", f"1{400 * '0'}"], "--top-k 1"),
        (["--max-failure-rate", "1.5"], "--max-failure-rate 1.5: allowed is 0 to 1"),
        (["-"], "standard input cannot be read again"),
        (["--top-k", "0"], "--top-k 0"),
    ],
)
def test_options_that_do_not_fit_are_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    write_pictures(tmp_path / "photos", 1)
    out = str(tmp_path / "out")
    assert main(["batch", str(tmp_path / "photos"), *options, "--out", out, "--models", str(models)]) == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_coco_is_refused_for_a_classifier_before_anything_is_written(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    assert main([*arguments, "--format", "coco"]) == EXIT_USAGE
    assert "coco is a format for detectors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def start(models: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    photos, out = str(tmp_path / "photos"), str(tmp_path / "out")
    return emo_serve("batch", photos, "--out", out, "--models", str(models), "--shard-size", "20")


def wait_for_shards(folder: Path, count: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while len(content(folder)) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stop_signal_lets_shards_end_and_the_next_run_goes_on(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2000)
    job = start(models, tmp_path)
    wait_for_shards(tmp_path / "out", 2)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=30)
    assert job.returncode == EXIT_INTERRUPTED
    assert "finishing the shards that were begun" in errors
    assert 2 <= len(content(tmp_path / "out")) < 100
    assert not list((tmp_path / "out").glob(".part-*"))
    again = start(models, tmp_path)
    again.communicate(timeout=60)
    assert again.returncode == EXIT_OK
    assert len(rows_of(tmp_path / "out")) == 2000


def test_a_killed_job_leaves_whole_shards_only(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2000)
    job = start(models, tmp_path)
    wait_for_shards(tmp_path / "out", 3)
    job.kill()
    job.communicate(timeout=30)
    again = start(models, tmp_path)  # at once: processes of the first may still be at their last shard
    again.communicate(timeout=60)
    assert again.returncode == EXIT_OK
    assert all(path.read_bytes().count(b"\n") == 20 for path in (tmp_path / "out").glob("part-*"))
    assert len(rows_of(tmp_path / "out")) == 2000


def test_two_processes_do_not_work_on_one_job(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2000)
    first = start(models, tmp_path)
    try:
        wait_for_shards(tmp_path / "out", 1)
        first.send_signal(signal.SIGSTOP)  # or it might be done before the second has begun
        second = start(models, tmp_path)
        _, errors = second.communicate(timeout=30)
        assert second.returncode == EXIT_STARTUP
        assert "another process is at work on this job" in errors
    finally:
        first.send_signal(signal.SIGCONT)
        first.terminate()
        first.communicate(timeout=30)


def test_a_name_that_is_no_utf_8_has_a_row(models: Path, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path / "photos", 1)
    path.rename(path.with_name(os.fsdecode(b"a\xff.png")))
    out = tmp_path / "out"
    assert main(["batch", str(tmp_path / "photos"), "--out", str(out), "--models", str(models)]) == EXIT_OK
    assert [row["input"] for row in rows_of(out)] == [rf"{tmp_path}/photos/a\xff.png"]


def test_a_shard_that_cannot_be_written_is_named_and_leaves_nothing_half(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 200)
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(out), "--models", str(models), "--processes", "1"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk; the process inherits it
    try:
        assert main(arguments) == EXIT_STARTUP
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    errors = capfd.readouterr().err
    assert "part-00000-of-00001.jsonl: cannot be written: File too large; run it again to go on" in errors
    assert "Traceback" not in errors
    assert not list(out.glob("*part-*"))
    assert main(arguments) == EXIT_OK
    assert len(rows_of(out)) == 200
