"""``emo train``: from a folder of pictures to a measured version in a model repository."""

import argparse
import math
import re
import shlex
from pathlib import Path

import torch

import emo
from emo.export.checkpoint_import import Target
from emo.export.groups import GROUPS_HELP, choose_groups
from emo.models.anchors import SIZES
from emo.models.names import model_name
from emo.training.classification import ClassificationTask
from emo.training.detection import DetectionTask
from emo.training.distillation.options import Distillation
from emo.training.distillation.task import DistillationTask
from emo.training.distillation.teacher import find_teacher
from emo.training.loop import train
from emo.training.pretrained import Source, initial_tensors, read_source
from emo.training.processes import Processes, joined
from emo.training.publish import Classes, publish, read_texts
from emo.training.recipe import PRECISIONS, Recipe, parse_schedule, parse_sizes
from emo.training.state import LAST_FILE
from emo.training.task import Task

SCHEDULES = {"classify": ((128, 30),), "detect": ((320, 30),)}
MOST_PICTURES = {"classify": 128, "detect": 16}
"""Default batch size; at most a tenth of all pictures, for ten steps an epoch, but at least 8."""
LEARNING_RATES = {"classify": 2.5e-3, "detect": 1e-3}
"""For the default batch size; scaled by the square root of the batch size for others."""
STORED = {"classify": 1, "detect": 2}
"""Size of stored training pictures, in sides of the largest input: a detector also learns from windows of them."""
_NAMED = 10  # classes that an error names


def add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    learn = commands.add_parser(
        "train", description="Train a model and export it, or go on where that was stopped; alone or under torchrun."
    )
    learn.add_argument("task", choices=["classify", "detect"])
    learn.add_argument("--data", type=Path, help="data set, see docs/training.md for the layouts")
    learn.add_argument(
        "--init",
        type=Path,
        help="checkpoint to start from, any that `emo import` reads: its backbone, and what else fits",
    )
    learn.add_argument(
        "--model",
        type=model_name,
        choices=emo.TRAINABLE_NAMES,
        help="default: emo_1m or ssdlite_emo_1m, or of the size that --init has",
    )
    learn.add_argument(
        "--schedule",
        type=parse_schedule,
        help="SIDExEPOCHS[,…], as in 80x14,112x2 (default 128x30, of a detector 320x30)",
    )
    learn.add_argument("--out", type=Path, help="folder of the run (default: runs/NAME)")
    learn.add_argument(
        "--stored-side",
        type=int,
        help="keep training pictures at this side (default: largest of schedule, twice for boxes)",
    )
    learn.add_argument(
        "--batch-size", type=int, help="of all processes together (default: a tenth of the pictures, 8 to 128)"
    )
    learn.add_argument(
        "--learning-rate", type=float, help="default: 2.5e-3 for 128 pictures, of a detector 1e-3 for 16"
    )
    learn.add_argument("--weight-decay", type=float, default=0.05)
    learn.add_argument("--ema-decay", type=float, default=0.999)
    learn.add_argument("--precision", choices=PRECISIONS, default="float32", help="float16 needs a GPU")
    learn.add_argument(
        "--cooldown", type=float, help="share of the run in which the rate falls (default: all after the warm-up)"
    )
    learn.add_argument("--compile", action="store_true", help="compile the network: faster after some minutes")
    learn.add_argument("--patience", type=_positive, help="stop after so many epochs without a better figure")
    learn.add_argument("--seed", type=int, default=0)
    learn.add_argument(
        "--anchor-sizes",
        type=parse_sizes,
        default=SIZES,
        help=f"of a detector, in input pixels, one more than it has levels (default {','.join(map(str, SIZES))})",
    )
    learn.add_argument("--name", help="of the model in the repository (default: that of --out, or else of --data)")
    learn.add_argument("--version", default="1", help="of the model (default 1)")
    learn.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    learn.add_argument("--groups", type=Path, help=GROUPS_HELP)
    learn.add_argument("--card", type=Path, help="TOML file with texts of the model card, instead of what is known")
    _add_distillation(learn.add_argument_group("learning from another classifier (classify only)"))
    learn.set_defaults(run=run_train)


def _add_distillation(group: "argparse._ArgumentGroup") -> None:
    known = Distillation()
    group.add_argument(
        "--teacher", help="model to learn from: its name in the repository, a version folder or an ONNX file"
    )
    group.add_argument(
        "--unlabelled", type=Path, nargs="+", default=[], metavar="DIR", help="folders of pictures without labels"
    )
    group.add_argument(
        "--teacher-views",
        type=_positive,
        default=known.views,
        help="parts of each picture that the teacher is asked about: the whole, then random crops (default 1)",
    )
    group.add_argument("--temperature", type=float, default=known.temperature, help="softens its answers (default 1)")
    group.add_argument(
        "--label-weight", type=float, default=known.label_weight, help="of true labels, the rest is its (default 0.5)"
    )
    group.add_argument(
        "--balance", type=float, default=known.balance, help="0: pictures are seen alike often, 1: classes (default 0)"
    )
    group.add_argument("--epoch-pictures", type=_positive, help="pictures of an epoch (default: all)")
    group.add_argument("--cache", type=Path, help="where pictures and its answers are kept (default: OUT/cache)")


def run_train(options: argparse.Namespace) -> None:
    """Train, export, measure; raise ValueError or OSError for errors, if possible before training."""
    name = options.name or _as_name((options.out or _sources(options)[0].resolve()).name)
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


def choose_recipe(options: argparse.Namespace, pictures: int, source: Source | None, processes: Processes) -> Recipe:
    """The recipe from the options, with defaults for the rest."""
    size = (source.size if source else None) or "emo_1m"
    schedule = options.schedule or SCHEDULES[options.task]
    batch_size, most = options.batch_size, MOST_PICTURES[options.task]
    if batch_size is None:
        batch_size = min(most, max(8, pictures // 10))
        batch_size = max(2, batch_size // processes.count) * processes.count
    learning_rate = options.learning_rate
    if learning_rate is None:
        scale = math.sqrt(batch_size / MOST_PICTURES[options.task])
        learning_rate = float(f"{LEARNING_RATES[options.task] * scale:.2g}")  # two digits, for the command line
    return Recipe(
        model=options.model or ("ssdlite_" if options.task == "detect" else "") + size,
        schedule=schedule,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=options.weight_decay,
        ema_decay=options.ema_decay,
        seed=options.seed,
        anchor_sizes=options.anchor_sizes,
        precision=options.precision,
        patience=options.patience,
        cooldown=options.cooldown,
        distillation=_distillation(options) if options.teacher else None,
    )


def _distillation(options: argparse.Namespace) -> Distillation:
    return Distillation(
        options.teacher_views, options.temperature, options.label_weight, options.balance, options.epoch_pictures
    )


def command_line(options: argparse.Namespace, recipe: Recipe, processes: Processes) -> str:
    """The command that repeats the training, without the folders of this machine."""
    words = ["python", "-m", "emo"]
    if processes.count > 1:
        words = ["torchrun", "--nproc-per-node", str(processes.count), "-m", "emo"]
    words += ["train", options.task]
    learned = recipe.distillation
    chosen = {
        "data": options.data and options.data.resolve().name,
        "init": options.init and options.init.name,
        "model": recipe.model,
        "schedule": ",".join(f"{side}x{epochs}" for side, epochs in recipe.schedule),
        "stored-side": options.stored_side,
        "batch-size": recipe.batch_size,
        "learning-rate": f"{recipe.learning_rate:g}",
        "weight-decay": recipe.weight_decay,
        "ema-decay": recipe.ema_decay,
        "precision": recipe.precision,
        "patience": recipe.patience,
        "cooldown": recipe.cooldown,
        "seed": recipe.seed,
        "anchor-sizes": ",".join(map(str, recipe.anchor_sizes)) if options.task == "detect" else None,
    }
    if learned:
        chosen |= {
            "teacher": "/".join(Path(options.teacher).parts[-2:]),
            "unlabelled": [folder.resolve().name for folder in options.unlabelled] or None,
            "teacher-views": learned.views,
            "temperature": f"{learned.temperature:g}",
            "label-weight": f"{learned.label_weight:g}",
            "balance": f"{learned.balance:g}",
            "epoch-pictures": learned.epoch_pictures,
        }
    for key, value in chosen.items():
        if value is not None:
            words += [f"--{key}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join(words)


def _load(options: argparse.Namespace, folder: Path) -> ClassificationTask | DetectionTask | DistillationTask:
    schedule = options.schedule or SCHEDULES[options.task]
    side = options.stored_side or STORED[options.task] * max(side for side, _ in schedule)
    if options.task == "detect":
        return DetectionTask.load(options.data, side)
    if options.teacher:
        cache = options.cache or folder / "cache"
        teacher = find_teacher(options.teacher, options.models, cache)
        return DistillationTask.load(teacher, options.data, options.unlabelled, side, cache, _distillation(options))
    return ClassificationTask.load(options.data, side)


def _sources(options: argparse.Namespace) -> list[Path]:
    """The folders of training pictures; raise ValueError if options that belong together are not given together."""
    if options.teacher and options.task != "classify":
        msg = "--teacher goes with classify"
        raise ValueError(msg)
    if options.unlabelled and not options.teacher:
        msg = "--unlabelled goes with --teacher: somebody has to say what the pictures show"
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number}: wants 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number
