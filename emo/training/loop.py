"""The training loop, for classification and for detection.

One run is a folder: ``last.pt`` (written after every epoch), ``weights.pt`` (the best epoch's averaged weights, for
export and a later ``--init``), ``log.csv`` and ``curves.png``. The same command resumes a killed run; an epoch's random
numbers depend on the seed and the epoch alone, so the result is the same.

Commands, times and results of the shipped models are in docs/training.md.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import emo
from emo.training.log import log
from emo.training.processes import Processes
from emo.training.recipe import Recipe
from emo.training.state import WEIGHTS_FILE, State, keep, resume, save
from emo.training.task import Task


class Network(nn.Module):
    """The loss of a model as one module, whose gradients several processes average."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, inputs: Tensor, target: object) -> Tensor:
        """The loss, a scalar."""
        return self.task.loss(self.model, inputs, target)


@dataclass(frozen=True, slots=True)
class Run:
    """The constants of a run."""

    recipe: Recipe
    task: Task
    folder: Path
    processes: Processes
    batch_size: int


def train(
    recipe: Recipe,
    task: Task,
    folder: Path,
    initial: Mapping[str, Tensor] | None = None,
    processes: Processes | None = None,
    *,
    compiled: bool = False,
) -> Path:
    """Train, or resume training, in ``folder`` and return the file of the best epoch's averaged weights.

    ``initial`` are tensors to start from, by their names in the model. Without ``processes`` training runs in this
    process on the CPU. Raise ValueError if the folder holds another run, or the recipe is impossible here.
    """
    processes = processes or Processes()
    run = Run(recipe, task, folder, processes, batch_size(recipe, task.count, processes))
    if recipe.precision == "float16" and processes.device.type == "cpu":
        msg = "precision float16 needs a GPU; on the CPU there are float32 and bfloat16"
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model = emo.create(recipe.model, len(task.names), recipe.anchor_sizes)
    model.load_state_dict(initial or {}, strict=False)
    model.to(processes.device)
    # like the pictures: a fifth faster on a CPU
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its type stubs
    for stage in frozen_stages(recipe, model):
        stage.requires_grad_(requires_grad=False)
    state = State.start(recipe, model)
    resume(folder, recipe, task.names, task.count, state)
    if state.epoch:
        print(f"going on after epoch {state.epoch} of {len(recipe.sides())}, with what is in {folder}")
    if compiled:
        model.compile(dynamic=False)  # anew for each side: a graph for any side cannot be made of this network
    network = processes.wrap(Network(model, task))
    while state.epoch < len(recipe.sides()) and not processes.agree(state.out_of_patience(recipe)):
        started = time.monotonic()
        loss = _epoch(run, state, network)
        if processes.leads:
            _close(run, state, loss, started)
        state.epoch += not processes.leads
    return folder / WEIGHTS_FILE


def batch_size(recipe: Recipe, pictures: int, processes: Processes) -> int:
    """Number of pictures in a step of all processes: that of the recipe, or that of all pictures if there are fewer.

    Raise ValueError if they cannot be shared evenly, or if a process would get a single one, which BatchNorm cannot
    learn from.
    """
    if recipe.batch_size % processes.count:
        msg = f"a batch of {recipe.batch_size} cannot be shared evenly by {processes.count} processes"
        raise ValueError(msg)
    each = min(recipe.batch_size, pictures) // processes.count
    if each < 2:
        msg = f"{pictures} training pictures, batch size {recipe.batch_size}: each process needs two or more a step"
        raise ValueError(msg)
    return each * processes.count


def choose_pictures(
    count: int, frequencies: Callable[[], Tensor], recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """The row numbers of an epoch's pictures: each at most once, or with ``balance`` rare ones repeatedly.

    There are ``count``; ``frequencies()`` (count,) are of the kind that each picture belongs to. With ``balance`` a
    picture is as likely as its frequency to that negative power, as in repeat factor sampling (arXiv 1908.03195,
    appendix B), whose power is 0.5.
    """
    size = recipe.epoch_pictures or count
    if recipe.balance:
        return torch.multinomial(frequencies().double() ** -recipe.balance, size, replacement=True, generator=generator)
    return torch.randperm(count, generator=generator)[:size]


def frozen_stages(recipe: Recipe, model: nn.Module) -> list[nn.Module]:
    """The stages of the backbone that do not learn."""
    backbone: Any = model.backbone
    return list(backbone.stages[: recipe.frozen_stages])


def _epoch(run: Run, state: State, network: nn.Module) -> float:
    """One pass over the data; returns the mean loss over all processes."""
    recipe, processes = run.recipe, run.processes
    seed = recipe.seed * 10_000 + state.epoch
    generator = torch.Generator().manual_seed(seed)
    order = choose_pictures(run.task.count, run.task.frequencies, recipe, generator)
    batches = order[: len(order) // run.batch_size * run.batch_size].split(run.batch_size)
    if not processes.leads:  # the same order for all, different views for each
        generator.manual_seed(seed + processes.rank * 1_000_003)
    torch.manual_seed(seed + processes.rank * 1_000_003)  # drop path draws from the global generator
    sides, steps, device = recipe.sides(), len(batches), processes.device
    dtype = getattr(torch, recipe.precision)
    network.train()
    for stage in frozen_stages(run.recipe, state.model):
        stage.eval()
    total = 0.0
    mosaics = state.epoch < len(sides) - recipe.close_mosaic
    shares = [processes.share(rows) for rows in batches]
    views = run.task.batches(shares, sides[state.epoch], generator, mosaics=mosaics)
    bar = tqdm(views, f"epoch {state.epoch + 1}/{len(sides)}", total=steps, unit="batch", mininterval=5)
    for step, (inputs, target) in enumerate(bar):
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.rate((state.epoch + step / steps) / len(sides))
        with torch.autocast(device.type, dtype, enabled=recipe.precision != "float32"):
            loss = network(inputs.to(device, memory_format=torch.channels_last), target)
        state.optimizer.zero_grad()
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if processes.leads:
            state.average.update_parameters(state.model)
        total += loss.item()
        bar.set_postfix(loss=f"{total / (step + 1):.3f}", refresh=False)
    mean = processes.mean(total / steps)
    if not math.isfinite(mean):
        msg = f"the loss of epoch {state.epoch + 1} is {mean}: try a lower learning rate, or precision float32"
        raise ValueError(msg)
    return mean


def _close(run: Run, state: State, loss: float, started: float) -> None:
    """Evaluate an epoch, and save the results."""
    side = run.recipe.sides()[state.epoch]
    figures = run.task.evaluate(state.average.module.eval(), side)
    state.epoch += 1
    figure, validation_loss = next(iter(figures.values())), figures.get("val_loss", math.inf)
    # only figures at the served side are meaningful
    if side == run.recipe.schedule[-1][0] and state.judge(
        figure, math.inf if math.isnan(validation_loss) else validation_loss
    ):
        keep(run.folder, run.recipe, run.task.names, state)
    row = {"epoch": state.epoch, "side": side, "loss": loss, **figures, "seconds": time.monotonic() - started}
    log(run.folder, row, state.best_epoch)
    save(run.folder, run.recipe, run.task.names, run.task.count, state)
    # without those of each class, which may be hundreds
    told = [f"loss {loss:.4f}", *(f"{key} {value:.4f}" for key, value in figures.items() if " " not in key)]
    best = ", the best" * (state.best_epoch == state.epoch)
    print(f"epoch {state.epoch}/{len(run.recipe.sides())}: {', '.join(told)}{best}")
