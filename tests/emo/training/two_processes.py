"""Program of each process in the tests of several; it gets a folder with ``data`` and writes its results there."""

import copy
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import emo
from emo.training.classification import ClassificationTask
from emo.training.loop import Network, train
from emo.training.processes import Processes, joined
from emo.training.recipe import Recipe

RECIPE = Recipe("emo_1m", ((32, 2),), batch_size=6, seed=1)


class KilledError(Exception):
    """Stands for a kill in the middle of a run."""


class Watched(ClassificationTask):
    """Keeps the model that it is asked about, and the rows that it gave."""

    def watch(self, kill_in_epoch: int = 0) -> "Watched":
        self.model: nn.Module = nn.Identity()
        self.rows: list[list[int]] = []
        self._left = kill_in_epoch
        return self

    def batches(
        self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self._left -= 1
        if not self._left:
            raise KilledError
        self.rows.append(torch.cat(list(rows)).tolist())
        return super().batches(rows, side, generator, mosaics=mosaics)

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        self.model = model
        return super().loss(model, inputs, labels)


def digest(model: nn.Module) -> str:
    """Of all trained weights."""
    return hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in model.parameters())).hexdigest()


def gradient_error(task: ClassificationTask, processes: Processes) -> float:
    """The largest difference to the gradient of one process over the whole batch, as a share of the largest entry.

    In eval mode, where BatchNorm does not look at the batch and drop path draws nothing.
    """
    torch.manual_seed(5)
    alone = Network(emo.create("emo_1m", 3), task).eval()
    together = processes.wrap(copy.deepcopy(alone)).eval()
    rows = torch.arange(8)
    inputs, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    alone(inputs, labels).backward()
    mine = processes.share(rows)
    together(inputs[mine], labels[mine]).backward()
    wanted = torch.cat([weight.grad.flatten() for weight in alone.parameters() if weight.grad is not None])
    found = torch.cat([weight.grad.flatten() for weight in together.parameters() if weight.grad is not None])
    return float((wanted - found).abs().max() / wanted.abs().max())


def main(folder: Path) -> None:
    with joined() as processes:
        whole = Watched.load(folder / "data", 40).watch()
        error = gradient_error(whole, processes)
        train(RECIPE, whole, folder / "whole", None, processes)
        killed = Watched.load(folder / "data", 40).watch(kill_in_epoch=2)
        try:
            train(RECIPE, killed, folder / "killed", None, processes)
        except KilledError:
            killed.watch()
            train(RECIPE, killed, folder / "killed", None, processes)
        told = {
            "gradient_error": error,
            "rows": whole.rows,
            "weights": digest(whole.model),
            "resumed": digest(killed.model),
            "resumed_epochs": len(killed.rows),
        }
        (folder / f"rank{processes.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
