"""A folder of answers is of one job: what makes another one, and how its failures are judged over several runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from emo_serve.__main__ import main
from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.errors import StartupError
from emo_serve.manifest import read_manifest, sha256_of, write_manifest
from emo_serve.offline.job import Job, JobOutput
from emo_serve.offline.output import output_at
from emo_serve.offline.shards import ShardComputer, Work
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_OK, EXIT_STARTUP
from emo_serve.settings import Settings
from emo_serve.vision.results import ClassifyParameters
from tests.offline.folders import content, write_pictures
from tests.support import write_classifier

JOB = Job("toy", "1", "sha256:0", parameters={}, format="jsonl", shard_size=10, inputs=30, inputs_sha256="0")


@pytest.mark.parametrize(
    "change", [["--shard-size", "5"], ["--top-k", "1"], ["--format", "parquet"], ["--model", "toy-classifier@2"]]
)
def test_another_job_does_not_go_into_the_same_folder(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str]
) -> None:
    write_classifier(models, version="2")
    write_pictures(tmp_path / "photos", 3)
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    assert main([*arguments, "--model", "toy-classifier@1"]) == EXIT_OK
    assert main([*arguments, "--model", "toy-classifier@1", *change]) == EXIT_STARTUP
    assert "holds another job, which differs in" in capsys.readouterr().err


def test_other_names_of_classes_make_another_job(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 3)
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    assert main(arguments) == EXIT_OK
    rename_classes(models / "toy-classifier" / "1")
    assert main(arguments) == EXIT_STARTUP
    assert "differs in model_digest; choose another --out" in capsys.readouterr().err


def test_a_machine_whose_model_has_other_names_of_classes_computes_nothing(models: Path, tmp_path: Path) -> None:
    folder = models / "toy-classifier" / "1"
    digest = read_artefact(folder).digest
    work = Work(folder, digest, Settings(), ClassifyParameters(), "jsonl", output_at(str(tmp_path / "out")))
    ShardComputer(work)
    rename_classes(folder)
    with pytest.raises(StartupError, match=f"is not the model of this job: its digest is .*, not {digest}"):
        ShardComputer(work)


def rename_classes(folder: Path) -> None:
    manifest = read_manifest(folder / "manifest.json")
    (folder / "labels.txt").write_text("rouge\nvert\nbleu\n")
    digests = {**manifest.sha256, "labels.txt": sha256_of(folder / "labels.txt")}
    write_manifest(manifest.model_copy(update={"sha256": digests}), folder / "manifest.json")


def test_a_job_that_was_begun_by_a_version_that_kept_less_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    assert main(arguments) == EXIT_OK
    path = tmp_path / "out" / "job.json"
    begun = json.loads(path.read_text())
    del begun["model_digest"]
    path.write_text(json.dumps(begun))
    assert main(arguments) == EXIT_STARTUP
    assert "differs in model_digest (which job.json lacks: another version" in capsys.readouterr().err


def test_of_two_jobs_that_find_a_folder_empty_the_second_is_refused(tmp_path: Path) -> None:
    output = output_at(str(tmp_path / "out"))
    first, second = (JobOutput(output, replace(JOB, shard_size=size)) for size in (10, 20))
    with output.locked():
        first.begin()
        with pytest.raises(StartupError, match="another process is at work"), output.locked():
            raise AssertionError
    with output.locked(), pytest.raises(StartupError, match="differs in shard_size"):
        second.begin()


def test_new_pictures_make_another_job(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    write_pictures(tmp_path / "photos", 3)
    assert main(arguments) == EXIT_OK
    write_pictures(tmp_path / "photos", 4)
    assert main(arguments) == EXIT_STARTUP
    assert "differs in inputs, inputs_sha256" in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    status = main(["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "photos"), "--models", str(models)])
    assert status == EXIT_STARTUP
    assert "is not empty, and has no job.json" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["0000.png"]


def test_too_many_failures_end_the_job(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "photos", 400, broken=frozenset(range(0, 400, 2)))
    out = tmp_path / "out"
    options = ["--models", str(models), "--shard-size", "100", "--processes", "1", "--max-failure-rate", "0.1"]
    assert main(["batch", str(tmp_path / "photos"), "--out", str(out), *options]) == EXIT_FAILED_INPUTS
    assert "50.0% of the pictures failed" in capsys.readouterr().err
    assert len(content(out)) < 4


@pytest.mark.parametrize("options", [[], ["--format", "parquet"], ["--task", "detect", "--format", "coco"]])
def test_too_many_failures_stay_too_many_however_often_the_job_is_run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    paths = write_pictures(tmp_path / "photos", 130, broken=frozenset(range(100, 130)))  # which come first
    for path in paths[100:]:
        path.rename(path.with_name(f'"error":null"errors":["file_name":{path.name}'))
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models), *options]
    arguments += ["--shard-size", "10", "--processes", "1"]
    limited = [*arguments, "--max-failure-rate", "0.05"]
    for _ in range(2):
        assert main(limited) == EXIT_FAILED_INPUTS
    assert "30.0% of the pictures failed" in capsys.readouterr().err
    assert len(content(tmp_path / "out")) == 10
    assert main(arguments) == EXIT_OK
    assert main([*arguments, "--max-failure-rate", "0.24"]) == EXIT_OK
    assert main(limited) == EXIT_FAILED_INPUTS
    assert "23.1% of the pictures failed" in capsys.readouterr().err


def test_a_file_of_an_earlier_run_that_cannot_be_read_is_named(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 1)
    arguments = ["batch", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--models", str(models)]
    arguments += ["--format", "parquet", "--max-failure-rate", "0.5"]
    assert main(arguments) == EXIT_OK
    (tmp_path / "out" / "part-00000-of-00001.parquet").write_text("no Parquet")
    assert main(arguments) == EXIT_STARTUP
    assert "part-00000-of-00001.parquet: cannot be read" in capsys.readouterr().err
