import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emo.training.processes import joined
from emo_serve.manifest import read_manifest
from tests.emo.datasets import write_folders

ROOT = Path(__file__).parents[3]


def torchrun(*arguments: str) -> str:
    """Run a module in two processes; what they wrote."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    write_folders(folder / "data", 5)
    torchrun("tests.emo.training.two_processes", str(folder))
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_the_gradient_of_two_processes_is_that_of_one_over_both_shares(told: list[dict[str, Any]]) -> None:
    assert max(rank["gradient_error"] for rank in told) < 1e-4


def test_both_processes_hold_the_same_weights_after_training(told: list[dict[str, Any]]) -> None:
    assert told[0]["weights"] == told[1]["weights"]


def test_the_shares_of_an_epoch_have_nothing_in_common(told: list[dict[str, Any]]) -> None:
    for first, second in zip(told[0]["rows"], told[1]["rows"], strict=True):
        assert len(first) == len(second) == 6  # 15 pictures are two batches of 6
        assert len({*first, *second}) == 12


def test_a_killed_run_of_two_processes_goes_on_and_ends_the_same(told: list[dict[str, Any]]) -> None:
    assert [rank["resumed_epochs"] for rank in told] == [1, 1]
    assert told[0]["resumed"] == told[1]["resumed"] == told[0]["weights"]


def test_the_command_under_torchrun_writes_one_run_and_one_model(tmp_path: Path) -> None:
    data, run, models = write_folders(tmp_path / "data"), tmp_path / "run", tmp_path / "models"
    train = ["emo", "train", "classify", "--data", str(data), "--schedule", "32x2", "--batch-size", "4"]
    output = torchrun(*train, "--out", str(run), "--models", str(models), "--name", "both")
    assert output.count("written: ") == output.count("data: 12 pictures") == 1
    assert sorted(path.name for path in run.iterdir()) == ["curves.png", "last.pt", "log.csv", "weights.pt"]
    assert len((run / "log.csv").read_text().splitlines()) == 3
    card = read_manifest(models / "both" / "1" / "manifest.json").card
    assert card.recipe.startswith("torchrun --nproc-per-node 2 -m emo train classify --data data ")


def test_one_process_needs_no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert (processes.rank, processes.count, processes.leads) == (0, 1, True)
