import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from emo_serve.engine.host.cpus import Machine
from emo_serve.engine.tuning.cache import Circumstances, TuningCache
from emo_serve.engine.tuning.search import Measurement, Setting, Space, Tuning

MACHINE = Machine("Example 9000", cores=2, quota=1.5)
SPACE = Space("throughput", cores=2, instances=None, intra_op_threads=None, max_batch_size=None)
HERE = Circumstances("c0ffee", "onnxruntime 1 cpu", MACHINE, SPACE)
TUNING = Tuning(Setting(2, 1, 2), (Measurement(Setting(2, 1, 1), 2, 0.01), Measurement(Setting(2, 1, 2), 2, 0.02)))


def test_what_was_stored_is_found_again_by_a_later_start(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    TuningCache(folder).store(HERE, TUNING)
    assert TuningCache(folder).load(HERE) == TUNING
    assert [path.suffix for path in folder.iterdir()] == [".json"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(HERE, model_sha256="decaf"),
        replace(HERE, runtime="onnxruntime 2 cpu"),
        replace(HERE, machine=replace(MACHINE, cpu="Example 9001")),
        replace(HERE, machine=replace(MACHINE, cores=4)),
        replace(HERE, machine=replace(MACHINE, quota=None)),
        replace(HERE, space=replace(SPACE, goal="latency")),
        replace(HERE, space=replace(SPACE, intra_op_threads=1)),
        replace(HERE, space=replace(SPACE, provider="cuda")),
    ],
    ids=["model", "runtime", "cpu", "cores", "quota", "goal", "fixed setting", "provider"],
)
def test_under_other_circumstances_nothing_is_remembered(tmp_path: Path, elsewhere: Circumstances) -> None:
    cache = TuningCache(tmp_path)
    cache.store(HERE, TUNING)
    assert cache.load(elsewhere) is None
    cache.store(elsewhere, Tuning(Setting(1, 1, 1)))
    assert cache.load(HERE) == TUNING  # each has a file of its own


@pytest.mark.parametrize(
    "content",
    ["", "{", "\x00\xff", "[]", '{"version": 2}', "another version", "no instances"],
)
def test_a_file_that_cannot_be_read_is_ignored_and_told(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = TuningCache(tmp_path)
    cache.store(HERE, TUNING)
    path = tmp_path / HERE.file_name
    entry = json.loads(path.read_text(encoding="utf-8"))
    if content == "another version":
        content = json.dumps(entry | {"version": 1})
    elif content == "no instances":
        content = json.dumps(entry | {"tuning": {"setting": {"instances": 0, "intra_op_threads": 1}}})
    path.write_text(content, encoding="utf-8")
    assert cache.load(HERE) is None
    assert "is ignored" in caplog.text
    cache.store(HERE, TUNING)
    assert cache.load(HERE) == TUNING


def test_a_file_under_a_wrong_name_counts_for_nothing(tmp_path: Path) -> None:
    cache = TuningCache(tmp_path)
    cache.store(HERE, TUNING)
    other = replace(HERE, model_sha256="decaf")
    (tmp_path / HERE.file_name).rename(tmp_path / other.file_name)
    assert cache.load(other) is None


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = TuningCache(tmp_path / "file" / "cache")
    for _ in range(3):
        assert cache.load(HERE) is None
        cache.store(HERE, TUNING)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_users_caches_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    TuningCache(None).store(HERE, TUNING)
    assert (tmp_path / "caches" / "emo-serve" / HERE.file_name).exists()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: to be ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    TuningCache(None).store(HERE, TUNING)
    assert (tmp_path / ".cache" / "emo-serve" / HERE.file_name).exists()
