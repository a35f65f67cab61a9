import json
from pathlib import Path

import pytest

from emo_serve.engine.host import usable_cores
from emo_serve.engine.tuning.command import tune
from emo_serve.settings import Batching, SessionOptions, Settings, TuneGoal
from tests.support import write_classifier, write_detector


def fixed(root: Path, goal: TuneGoal = "throughput", max_batch_size: int = 1) -> Settings:
    """Fixed settings, so that a search is over soon."""
    return Settings(
        models=root / "models",
        cache_dir=root / "cache",
        tune_goal=goal,
        batching=Batching(instances=1, max_batch_size=max_batch_size),
        session=SessionOptions(intra_op_threads=1),
    )


def test_the_table_and_the_choice_are_printed_and_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "models")
    assert tune(fixed(tmp_path, max_batch_size=2), full=False, as_json=False) == 0
    title, headings, *rows, chosen = capsys.readouterr().out.splitlines()
    assert title == f"toy-classifier 1, {usable_cores()} cores, for throughput:"
    assert headings.split() == ["instances", "threads", "batch", "ms/run", "images/s"]
    assert {len(row) for row in rows} == {len(headings)}
    assert [row.split()[:-2] for row in rows] == [["1", "1", "1"], ["*", "1", "1", "2"]]
    assert chosen == (
        "  chosen: EMO_BATCHING__INSTANCES=1 EMO_SESSION__INTRA_OP_THREADS=1 EMO_BATCHING__MAX_BATCH_SIZE=2"
    )
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_full_sweep_says_how_far_it_is_and_how_good_the_quick_choice_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "models")
    assert tune(fixed(tmp_path, "latency"), full=True, as_json=False) == 0
    output, progress = capsys.readouterr()
    assert "for latency" in output
    assert output.endswith("100.0% of the best\n")
    assert "toy-classifier: 8 of 8 bursts" in progress


def test_programs_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classifier(tmp_path / "models")
    write_detector(tmp_path / "models")
    assert tune(fixed(tmp_path), full=False, as_json=True) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["model"] for report in reports] == ["toy-classifier", "toy-detector"]
    assert reports[0]["choice"] == {"instances": 1, "intra_op_threads": 1, "max_batch_size": 1}
    assert reports[0]["table"][0]["ms_per_run"] == pytest.approx(reports[0]["batch_seconds"]["1"] * 1000, abs=0.001)


def test_a_model_that_cannot_be_measured_is_named_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "models")
    (write_classifier(tmp_path / "models", name="altered") / "model.onnx").write_bytes(b"changed")
    assert tune(fixed(tmp_path), full=False, as_json=False) == 1
    output, errors = capsys.readouterr()
    assert "toy-classifier 1" in output
    assert "altered/1" in errors


def test_an_empty_repository_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    assert tune(fixed(tmp_path), full=False, as_json=False) == 1
    assert "holds no model" in capsys.readouterr().err
