"""The state of a run, and its files: ``last.pt`` to resume from, ``weights.pt`` to export."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from emo.training.recipe import Recipe

LAST_FILE = "last.pt"
WEIGHTS_FILE = "weights.pt"


@dataclass(slots=True)
class State:
    """The model, its moving average, the optimizer, and which epoch was best."""

    model: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    """Number of finished epochs."""
    best_epoch: int = 0
    """0 before the first epoch that counts."""
    best_figure: float = 0.0
    best_loss: float = math.inf
    """Validation loss of the best epoch; infinite if not measured."""
    improved_epoch: int = 0
    """The last epoch that was better than all before it; a later equal one is kept but no improvement."""

    @classmethod
    def start(cls, recipe: Recipe, model: nn.Module) -> "State":
        """The state before the first step."""
        average = AveragedModel(model, avg_fn=moving_average(recipe.ema_decay), use_buffers=True)
        optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), recipe.learning_rate, fused=True)
        return cls(model, average, optimizer, torch.amp.GradScaler(enabled=recipe.precision == "float16"))

    def judge(self, figure: float, loss: float) -> bool:
        """True if the epoch that has just ended is the best so far: of equal figures the lower validation loss counts.

        Of those that are equal in both it is the later one, which has learned for longer.
        """
        loss = math.inf if math.isnan(loss) else loss
        found, best = (figure, -loss), (self.best_figure, -self.best_loss)
        if self.best_epoch and found < best:
            return False
        if not self.best_epoch or found > best:
            self.improved_epoch = self.epoch
        self.best_epoch, self.best_figure, self.best_loss = self.epoch, figure, loss
        return True

    def out_of_patience(self, recipe: Recipe) -> bool:
        """True if the recipe's patience has run out."""
        since = self.epoch - self.improved_epoch
        return recipe.patience is not None and self.improved_epoch > 0 and since >= recipe.patience


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average that forgets its random start: the decay grows to ``decay`` with the step count."""

    def update(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not current.is_floating_point():  # BatchNorm's batch counter
            return current
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average.lerp(current, 1 - kept)

    return update


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of the optimizer: no weight decay for norms and biases."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def resume(folder: Path, recipe: Recipe, names: tuple[str, ...], pictures: int, state: State) -> None:
    """Load the state of a stopped run, if there is one.

    Raise ValueError if its recipe, classes or number of training pictures differ.
    """
    path = folder / LAST_FILE
    if not path.exists():
        return
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved["recipe"] != asdict(recipe):
        changed = [
            f"{key} was {saved['recipe'].get(key)} and is {value}"
            for key, value in asdict(recipe).items()
            if saved["recipe"].get(key) != value
        ]
        msg = f"{path} is a run of another recipe ({'; '.join(changed)}); choose another folder or remove it"
        raise ValueError(msg)
    if (tuple(saved["names"]), saved["pictures"]) != (names, pictures):
        msg = (
            f"{path} is a run on other data ({saved['pictures']} pictures of {len(saved['names'])} classes, now "
            f"{pictures} of {len(names)}); choose another folder or remove it"
        )
        raise ValueError(msg)
    state.model.load_state_dict(saved["model"])
    state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scaler.load_state_dict(saved["scaler"])
    state.epoch, state.best_epoch, state.best_figure = saved["epoch"], saved["best_epoch"], saved["best_figure"]
    state.best_loss = saved.get("best_loss", math.inf)  # missing in runs of older versions
    state.improved_epoch = saved.get("improved_epoch", state.best_epoch)


def save(folder: Path, recipe: Recipe, names: tuple[str, ...], pictures: int, state: State) -> None:
    """Write ``last.pt``."""
    content = {
        "recipe": asdict(recipe),
        "names": list(names),
        "pictures": pictures,
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "best_figure": state.best_figure,
        "best_loss": state.best_loss,
        "improved_epoch": state.improved_epoch,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }
    _replace(folder / LAST_FILE, content)


def keep(folder: Path, recipe: Recipe, names: tuple[str, ...], state: State) -> None:
    """Write the current averaged weights to ``weights.pt``."""
    content = {
        "recipe": asdict(recipe),
        "names": list(names),
        "epoch": state.epoch,
        "average": state.average.state_dict(),
    }
    _replace(folder / WEIGHTS_FILE, content)


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write a file in one step, so that a kill leaves the old file or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)
