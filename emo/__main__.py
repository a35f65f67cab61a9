"""The command line of the PyTorch side: ``python -m emo train | export | evaluate | import | pull | cut``."""

import argparse
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import emo
from app.errors import InvalidManifest
from app.manifest import ModelCard
from emo import classification, detection
from emo.anchors import SIZES
from emo.data import cut_boxes, read_coco
from emo.evaluation.command import add_evaluate
from emo.evaluation.measure import predicted_figures
from emo.evaluation.predict import Predict
from emo.evaluation.truth import read_truth
from emo.export import export, task_of
from emo.importing import Origin, Target, import_file, own_weights, parse_side, read_checkpoint, restore_own
from emo.pull import BASE_URL, BLOBS, default_cache, pull
from emo.train import Recipe, parse_schedule, parse_sizes, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. Mistakes in the arguments end with a message and status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except (ValueError, OSError, InvalidManifest) as error:
        parser.exit(2, f"emo: {error}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("emo", description="Train, evaluate and export EMO models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    cut = commands.add_parser("cut", help="cut the boxes of a COCO data set out as pictures for classification")
    cut.add_argument("--annotations", type=Path, required=True, help="COCO JSON")
    cut.add_argument("--images", type=Path, required=True, help="folder that its file names are relative to")
    cut.add_argument("--side", type=int, default=96, help="side of a cut picture in pixels (default 96)")
    cut.add_argument("--out", type=Path, required=True, help="target folder")
    cut.set_defaults(run=_cut)

    learn = commands.add_parser("train", help="train a model, or go on with a run that was stopped")
    learn.add_argument("task", choices=["classify", "detect"])
    learn.add_argument("--data", type=Path, required=True, help="data set, see docs/training.md for the layouts")
    learn.add_argument("--model", choices=emo.TRAINABLE_NAMES, required=True)
    learn.add_argument("--schedule", type=parse_schedule, required=True, help="SIDExEPOCHS[,…], as in 80x14,112x2")
    learn.add_argument("--out", type=Path, required=True, help="folder of the run")
    learn.add_argument(
        "--init",
        type=Path,
        help="weights.pt of another run to start from: its backbone, and its head too if the classes are the same",
    )
    learn.add_argument(
        "--stored-side", type=int, help="keep training pictures at this side (default: largest of schedule)"
    )
    learn.add_argument("--batch-size", type=int, default=128)
    learn.add_argument("--learning-rate", type=float, default=2.5e-3)
    learn.add_argument("--weight-decay", type=float, default=0.05)
    learn.add_argument("--ema-decay", type=float, default=0.999)
    learn.add_argument("--seed", type=int, default=0)
    learn.add_argument(
        "--anchor-sizes",
        type=parse_sizes,
        default=SIZES,
        help=f"of a detector, in input pixels, one more than it has levels (default {','.join(map(str, SIZES))})",
    )
    learn.set_defaults(run=_train)

    write = commands.add_parser("export", help="write a trained model into a model repository")
    write.add_argument("--checkpoint", type=Path, required=True, help="weights.pt (or last.pt) of a run")
    write.add_argument("--data", type=Path, help="data set whose validation split gives the card's figures")
    write.add_argument("--card", type=Path, required=True, help="TOML file with the texts of the model card")
    write.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    write.add_argument("--name", required=True)
    write.add_argument("--version", required=True)
    write.set_defaults(run=_export)

    add_evaluate(commands)
    _add_importing(commands)
    return parser


def _add_importing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    take = commands.add_parser("import", help="export the weights in a checkpoint file, of the authors or of others")
    take.add_argument("file", type=Path, help=".pth, .pt or .safetensors; nothing in it is ever run")
    take.add_argument("--name", required=True, help="of the model in the repository")
    take.add_argument("--version", default="1", help="of the model (default 1)")
    take.add_argument("--model", choices=emo.MODEL_NAMES, help="architecture that it must be (default: recognised)")
    take.add_argument("--labels", type=Path, help="text file, one class name a line")
    take.add_argument(
        "--side", type=parse_side, help="of the input in pixels, a multiple of 32 (default: as the authors test)"
    )
    take.add_argument("--repository", type=Path, default=Path("models"), help="model repository (default: models)")
    take.set_defaults(run=_import)

    fetch = commands.add_parser("pull", help="download a classifier that the authors publish, and export it")
    fetch.add_argument("model", choices=list(BLOBS))
    fetch.add_argument("--name", help="of the model in the repository (default: as in emo-1m-imagenet)")
    fetch.add_argument("--version", default="1", help="of the model (default 1)")
    fetch.add_argument("--repository", type=Path, default=Path("models"), help="model repository (default: models)")
    fetch.add_argument("--base-url", default=BASE_URL, help="where the authors' repository is (default: %(default)s)")
    fetch.add_argument("--cache", type=Path, default=default_cache(), help="keep downloads here (default: %(default)s)")
    fetch.set_defaults(run=_pull)


def _cut(options: argparse.Namespace) -> None:
    written = cut_boxes(read_coco(options.annotations, options.images), options.side, options.out)
    print(f"{written} pictures written below {options.out}")


def _train(options: argparse.Namespace) -> None:
    recipe = Recipe(
        model=options.model,
        schedule=options.schedule,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        ema_decay=options.ema_decay,
        seed=options.seed,
        anchor_sizes=options.anchor_sizes,
    )
    task: classification.ClassificationTask | detection.DetectionTask
    if options.task == "detect":
        task = detection.DetectionTask.load(options.data)
    else:
        task = classification.ClassificationTask.load(options.data, options.stored_side or max(recipe.sides()))
    initial = None
    if options.init:
        saved = read_checkpoint(options.init)
        same = saved["recipe"]["model"] == recipe.model and tuple(saved["names"]) == task.names
        initial = {key: tensor for key, tensor in own_weights(saved).items() if same or key.startswith("backbone.")}
    train(recipe, task, options.out, initial)
    print(f"trained: {options.out / 'weights.pt'}; curves: {options.out / 'curves.png'}")


def _export(options: argparse.Namespace) -> None:
    trained = restore_own(read_checkpoint(options.checkpoint))
    task = task_of(trained.model)
    texts = tomllib.loads(options.card.read_text(encoding="utf-8"))
    card = ModelCard(architecture=trained.architecture, seed=trained.seed, metrics={}, **texts)
    measure = None
    if options.data:

        def measure(predict: Predict) -> dict[str, float]:
            return predicted_figures(predict, task, trained.labels, trained.rule, read_truth(task, options.data))

    folder = export(
        trained.model, trained.labels, trained.rule, card, options.models, options.name, options.version, measure
    )
    print(f"written: {folder}")


def _import(options: argparse.Namespace) -> None:
    target = Target(options.repository, options.name, options.version)
    import_file(options.file, target, Origin(), architecture=options.model, labels=options.labels, side=options.side)


def _pull(options: argparse.Namespace) -> None:
    name = options.name or f"{options.model.replace('_', '-')}-imagenet"
    target = Target(options.repository, name, options.version)
    pull(options.model, target, options.cache, options.base_url)


if __name__ == "__main__":
    raise SystemExit(main())
