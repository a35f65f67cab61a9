"""``emo train``: from a folder of pictures to a measured version in a model repository."""

import argparse
import re
from pathlib import Path

import torch

import emo
from emo.export.checkpoint_import import Target
from emo.export.groups import choose_groups
from emo.training.classification import ClassificationTask
from emo.training.detection import DetectionTask
from emo.training.distillation.task import DistillationTask
from emo.training.distillation.teacher import find_teacher
from emo.training.loop import train
from emo.training.options import SCHEDULES, STORED, add_options, choose_recipe, command_line, distillation_of
from emo.training.pretrained import initial_tensors, read_source
from emo.training.processes import Processes, joined
from emo.training.publish import Classes, publish, read_texts
from emo.training.recipe import Recipe
from emo.training.state import LAST_FILE
from emo.training.task import Task

_NAMED = 10  # classes that an error names


def add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    learn = commands.add_parser(
        "train", description="Train a model and export it, or go on where that was stopped; alone or under torchrun."
    )
    add_options(learn)
    learn.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> None:
    """Train, export, measure; raise ValueError or OSError for errors, if possible before training."""
    first, *_ = _sources(options)
    name = options.name or _as_name((options.out or first.resolve()).name)
    target, folder = Target(options.models, name, options.version), options.out or Path("runs") / name
    target.check()
    texts = read_texts(options.card) if options.card else {}
    source = read_source(options.init) if options.init else None
    try:
        with joined() as processes:
            task = _load(options, folder)
            print(
                f"data: {task.count} pictures to learn from and {task.validation_count} to measure with, "
                f"of {len(task.names)} classes: {', '.join(task.names[:_NAMED])}{', …' * (len(task.names) > _NAMED)}"
            )
            _check_names(task.names)
            if options.groups:  # check before training what publishing would refuse after it
                choose_groups(options.task, task.names, options.groups)
            recipe = choose_recipe(options, task.count, source, processes)
            initial = None
            if source and not (folder / LAST_FILE).exists():
                fresh = emo.create(recipe.model, len(task.names), recipe.anchor_sizes)
                initial = initial_tensors(source, recipe.model, fresh, task.names)
            weights = train(recipe, task, folder, initial, processes, compiled=options.compile)
            if processes.leads:
                known = _known_texts(options, recipe, task, processes, weights)
                print(f"trained: {weights}; curves: {folder / 'curves.png'}")
                publish(
                    weights,
                    known | texts,
                    target,
                    lambda trained, predict, groups: task.measure(trained.rule, predict, groups),
                    Classes(groups=options.groups),
                )
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on with what is in {folder}")
        raise SystemExit(130) from None


def _load(options: argparse.Namespace, folder: Path) -> ClassificationTask | DetectionTask | DistillationTask:
    schedule = options.schedule or SCHEDULES[options.task]
    side = options.stored_side or STORED[options.task] * max(side for side, _ in schedule)
    if options.task == "detect":
        return DetectionTask.load(options.data, side)
    if options.teacher:
        cache = options.cache or folder / "cache"
        teacher = find_teacher(options.teacher, options.models, cache)
        return DistillationTask.load(teacher, options.data, options.unlabelled, side, cache, distillation_of(options))
    return ClassificationTask.load(options.data, side)


def _sources(options: argparse.Namespace) -> list[Path]:
    """The folders of training pictures; raise ValueError for options that do not go together."""
    if options.teacher and options.task != "classify":
        msg = "--teacher goes with classify"
        raise ValueError(msg)
    if options.unlabelled and not options.teacher:
        msg = "--unlabelled goes with --teacher: somebody has to say what the pictures show"
        raise ValueError(msg)
    if options.frozen_stages and not options.init:
        msg = "--frozen-stages goes with --init: stages that stay as they began have to begin as something"
        raise ValueError(msg)
    if options.close_mosaic and options.task != "detect":
        msg = "--close-mosaic goes with detect; a classifier never sees mosaics"
        raise ValueError(msg)
    if options.compile and options.task != "classify":
        msg = "--compile goes with classify; a detector gains nothing by it"
        raise ValueError(msg)
    sources = [*([options.data] if options.data else []), *options.unlabelled]
    if not sources or not (options.data or options.teacher):
        msg = "--data is missing"
        raise ValueError(msg)
    return sources


def _check_names(names: tuple[str, ...]) -> None:
    """Check before training what a server would refuse after it, see ``emo_serve.labels.read_labels``."""
    for name in names:
        if not name or name != name.strip() or not name.isprintable() or names.count(name) > 1:
            msg = f"{name!r} cannot be a class name: it is empty, padded, unprintable or there twice"
            raise ValueError(msg)


def _known_texts(
    options: argparse.Namespace,
    recipe: Recipe,
    task: Task,
    processes: Processes,
    weights: Path,
) -> dict[str, str]:
    """Texts of the model card that need no input."""
    data = ", ".join(folder.resolve().name for folder in _sources(options))
    kept = torch.load(weights, map_location="cpu", weights_only=True)["epoch"]
    return {
        "training_data": f"{task.count} pictures of {len(task.names)} classes in {data}.",
        "recipe": f"{command_line(options, recipe, processes)}; epoch {kept} of {len(recipe.sides())} was the best",
        "measured_on": f"The validation split of {data}, {task.validation_count} pictures, through the ONNX file and "
        "the server's own preprocessing; the best epoch was chosen by it.",
        "intended_use": "Not stated.",
        "terms": "Those of the pictures that it learned from"
        + (f", and of the weights in {options.init.name}." if options.init else "."),
    }


def _as_name(text: str) -> str:
    """A folder's name turned into a valid model name."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "model"
