"""The options of ``emo train``, the recipe that they make, and the command that repeats it."""

import argparse
import math
import shlex
from pathlib import Path

import emo
from emo.export.groups import GROUPS_HELP
from emo.models.anchors import SIZES
from emo.models.names import model_name
from emo.training.distillation.options import Distillation
from emo.training.pretrained import Source
from emo.training.processes import Processes
from emo.training.recipe import PRECISIONS, Recipe, parse_schedule, parse_sizes

SCHEDULES = {"classify": ((128, 30),), "detect": ((320, 30),)}
MOST_PICTURES = {"classify": 128, "detect": 16}
"""Default batch size; at most a tenth of all pictures, for ten steps an epoch, but at least 8."""
LEARNING_RATES = {"classify": 2.5e-3, "detect": 1e-3}
"""For the default batch size; scaled by the square root of the batch size for others."""
STORED = {"classify": 1, "detect": 2}
"""Size of stored training pictures, in sides of the largest input: a detector also learns from windows of them."""


def add_options(learn: argparse.ArgumentParser) -> None:
    """Add the options of ``emo train``."""
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
    learn.add_argument(
        "--balance", type=float, default=0.0, help="0: pictures are seen alike often, 1: classes (default 0)"
    )
    learn.add_argument("--epoch-pictures", type=_positive, help="pictures of an epoch (default: all)")
    learn.add_argument(
        "--frozen-stages",
        type=int,
        choices=range(6),
        default=0,
        help="so many of the backbone's stages, from the stem on, stay as --init has them: faster (default 0)",
    )
    learn.add_argument(
        "--close-mosaic",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="of a detector: so many last epochs see single pictures, no mosaics (default 0)",
    )
    learn.add_argument("--compile", action="store_true", help="compile the network: faster after some minutes")
    learn.add_argument("--patience", type=_positive, help="stop after so many epochs without a better figure")
    learn.add_argument("--seed", type=int, default=0)
    learn.add_argument(
        "--anchor-sizes",
        type=parse_sizes,
        help="of a detector, in input pixels, one more than it has levels "
        f"(default: those of --init, if it is one, else {','.join(map(str, SIZES))})",
    )
    learn.add_argument("--name", help="of the model in the repository (default: that of --out, or else of --data)")
    learn.add_argument("--version", default="1", help="of the model (default 1)")
    learn.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    learn.add_argument("--groups", type=Path, help=GROUPS_HELP)
    learn.add_argument("--card", type=Path, help="TOML file with texts of the model card, instead of what is known")
    _add_distillation(learn.add_argument_group("learning from another classifier (classify only)"))


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
    group.add_argument("--cache", type=Path, help="where pictures and its answers are kept (default: OUT/cache)")


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
        anchor_sizes=options.anchor_sizes or (source and source.anchor_sizes) or SIZES,
        precision=options.precision,
        patience=options.patience,
        cooldown=options.cooldown,
        balance=options.balance,
        epoch_pictures=options.epoch_pictures,
        frozen_stages=options.frozen_stages,
        close_mosaic=options.close_mosaic,
        distillation=distillation_of(options) if options.teacher else None,
    )


def distillation_of(options: argparse.Namespace) -> Distillation:
    """The parameters of distillation."""
    return Distillation(options.teacher_views, options.temperature, options.label_weight)


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
        "balance": f"{recipe.balance:g}" if recipe.balance else None,
        "epoch-pictures": recipe.epoch_pictures,
        "frozen-stages": recipe.frozen_stages or None,
        "close-mosaic": recipe.close_mosaic or None,
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
        }
    for key, value in chosen.items():
        if value is not None:
            words += [f"--{key}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number}: wants 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number
