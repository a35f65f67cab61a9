"""The training recipe, for classification and for detection.

One run is a folder: ``last.pt`` (written after every epoch), ``log.csv``, ``curves.png`` and, at the end,
``weights.pt``, what export and a later ``--init`` need of it. The same command goes on where a killed run stopped; an
epoch's random numbers depend on the seed and the epoch alone, so the result is the same.

Commands, times and results of the shipped models are in docs/training.md.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import emo
from emo.anchors import SIZES

mpl.use("Agg")
from matplotlib import pyplot as plt


class Task(Protocol):
    """What differs between classification and detection."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""

    def batches(self, size: int, side: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Any]]:
        """One epoch of (normalised input (N, 3, side, side), target)."""

    def batch_count(self, size: int) -> int:
        """How many batches an epoch has."""

    def loss(self, model: nn.Module, inputs: Tensor, target: Any) -> Tensor:  # noqa: ANN401 - what ``batches`` gave
        """A scalar."""

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """Named figures over the validation split, the one that counts first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result of a run, beside the data."""

    model: str
    schedule: tuple[tuple[int, int], ...]
    """(input side, epochs), in turn; the last side is the one to serve at."""
    batch_size: int = 128
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    """Share of all steps in which the rate rises linearly; then it falls to 0 along a cosine."""
    ema_decay: float = 0.999
    seed: int = 0
    anchor_sizes: tuple[int, ...] = SIZES
    """Of a detector, see ``emo.anchors``."""

    def sides(self) -> list[int]:
        """The input side of each epoch."""
        return [side for side, epochs in self.schedule for _ in range(epochs)]

    def rate(self, progress: float) -> float:
        """The learning rate after this share, in [0, 1], of all steps."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


def parse_sizes(text: str) -> tuple[int, ...]:
    """``48,100,150`` -> (48, 100, 150)."""
    return tuple(int(size) for size in text.split(","))


def parse_schedule(text: str) -> tuple[tuple[int, int], ...]:
    """``80x14,112x2`` -> 14 epochs at 80 px, then 2 at 112 px; raise ValueError for anything else."""
    try:
        phases = tuple((int(side), int(epochs)) for side, epochs in (part.split("x") for part in text.split(",")))
    except ValueError:
        phases = ()
    if not phases or any(side < 32 or epochs < 1 for side, epochs in phases):
        msg = f"schedule {text!r}: wants SIDExEPOCHS[,SIDExEPOCHS…] with sides of 32 or more, as in 80x14,112x2"
        raise ValueError(msg)
    return phases


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average that forgets its random start: the decay grows to ``decay`` with the step count."""

    def update(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not current.is_floating_point():  # BatchNorm's counter of batches
            return current
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average.lerp(current, 1 - kept)

    return update


def train(recipe: Recipe, task: Task, folder: Path, initial: dict[str, Tensor] | None = None) -> nn.Module:
    """Train, or go on training, in ``folder`` and give the averaged model in eval mode.

    ``initial`` are tensors, by their names in the model, to start from. Raise ValueError when the folder holds a run
    of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    model = emo.create(recipe.model, len(task.names), recipe.anchor_sizes)
    if initial:
        model.load_state_dict(initial, strict=False)
    model.to(device)
    average = AveragedModel(model, avg_fn=moving_average(recipe.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), recipe.learning_rate, fused=True)
    done = _resume(folder / "last.pt", recipe, model, average, optimizer)
    sides = recipe.sides()
    for epoch in range(done, len(sides)):
        started = time.monotonic()
        loss = _epoch(recipe, task, model, average, optimizer, epoch)
        figures = task.evaluate(average.module.eval(), sides[epoch])
        _log(
            folder,
            {"epoch": epoch + 1, "side": sides[epoch], "loss": loss, **figures, "seconds": time.monotonic() - started},
        )
        _save(folder / "last.pt", recipe, task.names, model, average, optimizer, epoch + 1)
    trained: nn.Module = average.module.eval()
    weights = {"recipe": asdict(recipe), "names": list(task.names), "average": average.state_dict()}
    torch.save(weights, folder / "weights.pt")
    return trained


def _epoch(
    recipe: Recipe, task: Task, model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer, epoch: int
) -> float:
    """One pass over the data; gives the mean loss."""
    generator = torch.Generator().manual_seed(recipe.seed * 10_000 + epoch)
    torch.manual_seed(recipe.seed * 10_000 + epoch)  # drop path draws from the global generator
    sides, steps = recipe.sides(), task.batch_count(recipe.batch_size)
    device = next(model.parameters()).device
    model.train()
    total, batches = 0.0, task.batches(recipe.batch_size, sides[epoch], generator)
    bar = tqdm(batches, f"epoch {epoch + 1}/{len(sides)}", total=steps, unit="batch", mininterval=5)
    for step, (inputs, target) in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate((epoch + step / steps) / len(sides))
        loss = task.loss(model, inputs.to(device, memory_format=torch.channels_last), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        average.update_parameters(model)
        total += loss.item()
        bar.set_postfix(loss=f"{total / (step + 1):.3f}", refresh=False)
    return total / steps


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _resume(
    path: Path, recipe: Recipe, model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> int:
    """Load the state of a stopped run, where there is one; gives the number of finished epochs."""
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved["recipe"] != asdict(recipe):
        msg = f"{path} is a run of another recipe ({saved['recipe']}); choose another folder or remove it"
        raise ValueError(msg)
    model.load_state_dict(saved["model"])
    average.load_state_dict(saved["average"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["epoch"])


def _save(
    path: Path,
    recipe: Recipe,
    names: tuple[str, ...],
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> None:
    """Replace the checkpoint in one step, so that a kill leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    state = {
        "recipe": asdict(recipe),
        "names": list(names),
        "epoch": epoch,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, partial)
    partial.replace(path)


def _log(folder: Path, row: dict[str, float]) -> None:
    """Add a line to log.csv (replacing those of epochs that a kill made us repeat) and draw all of it."""
    path = folder / "log.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
    rows.append({key: f"{value:.6g}" for key, value in row.items()})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(rows)
    curves = [key for key in row if key not in {"epoch", "side", "seconds"}]
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained")
    for axis, key in zip(axes, curves, strict=True):
        axis.plot([int(old["epoch"]) for old in rows], [float(old[key]) for old in rows], marker=".")
        axis.set(title=key, xlabel="epoch")
        axis.grid(alpha=0.3)
    figure.savefig(folder / "curves.png", dpi=120)
    plt.close(figure)
