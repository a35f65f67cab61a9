"""The command line of the PyTorch side: ``python -m emo train | export | evaluate | cut``."""

import argparse
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import emo
from app.errors import InvalidManifest
from app.manifest import MANIFEST_FILE, MODEL_FILE, ModelCard, Preprocessing, Task, read_manifest
from emo import classification, detection
from emo.anchors import SIZES
from emo.data import cut_boxes, find_classification, read_coco
from emo.evaluate import Predict, classification_figures, detection_figures, onnx_predict
from emo.export import export
from emo.train import Recipe, parse_schedule, parse_sizes, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. Mistakes in the arguments end with a message and status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except (ValueError, FileNotFoundError, FileExistsError, InvalidManifest) as error:
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

    judge = commands.add_parser("evaluate", help="measure an exported model on a validation split")
    judge.add_argument("artefact", type=Path, help="folder <name>/<version> of a model repository")
    judge.add_argument("--data", type=Path, required=True)
    judge.set_defaults(run=_evaluate)
    return parser


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
        saved = _checkpoint(options.init)
        same = saved["recipe"]["model"] == recipe.model and tuple(saved["names"]) == task.names
        initial = {key: tensor for key, tensor in saved["average"].items() if same or key.startswith("backbone.")}
    train(recipe, task, options.out, initial)
    print(f"trained: {options.out / 'weights.pt'}; curves: {options.out / 'curves.png'}")


def _export(options: argparse.Namespace) -> None:
    saved = _checkpoint(options.checkpoint)
    recipe, names = saved["recipe"], tuple(saved["names"])
    model = emo.create(recipe["model"], len(names), tuple(recipe.get("anchor_sizes", SIZES)))
    model.load_state_dict(saved["average"])
    side = recipe["schedule"][-1][0]
    detects = recipe["model"].startswith("ssdlite_")
    rule = detection.serving_rule(side) if detects else classification.serving_rule(side)
    texts = tomllib.loads(options.card.read_text(encoding="utf-8"))
    card = ModelCard(architecture=recipe["model"], seed=recipe["seed"], metrics={}, **texts)
    measure = None
    if options.data:

        def measure(predict: Predict) -> dict[str, float]:
            return _figures("detect" if detects else "classify", options.data, rule, predict)

    folder = export(model, names, rule, card, options.models, options.name, options.version, measure)
    print(f"written: {folder}")


def _evaluate(options: argparse.Namespace) -> None:
    manifest = read_manifest(options.artefact / MANIFEST_FILE)
    predict = onnx_predict(options.artefact / MODEL_FILE)
    for key, value in _figures(manifest.task, options.data, manifest.preprocessing, predict).items():
        print(f"{key:>16} {value:.4f}")


def _figures(task: Task, data: Path, rule: Preprocessing, predict: Predict) -> dict[str, float]:
    if task == "classify":
        return classification_figures(find_classification(data, "val"), rule, predict)
    if task == "segment":
        msg = "segmentation cannot be measured here"
        raise ValueError(msg)
    annotations = data / "instances_val.json"
    return detection_figures(read_coco(annotations, data), annotations, rule, predict)


def _checkpoint(path: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # AveragedModel keeps the weights below ``module.`` beside a counter
    saved["average"] = {
        key.removeprefix("module."): tensor for key, tensor in saved["average"].items() if key.startswith("module.")
    }
    return saved


if __name__ == "__main__":
    raise SystemExit(main())
