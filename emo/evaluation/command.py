"""The command ``emo evaluate``: its arguments and output."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from emo.evaluation.ground_truth import read_ground_truth
from emo.evaluation.measure import measure
from emo.evaluation.reference_results import Published, published
from emo.evaluation.server import KEY_VARIABLE
from emo.evaluation.targets import choose_model
from emo.export.checkpoint_import import parse_side


def add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of ``emo``."""
    judge = commands.add_parser("evaluate", description="Measure a model, or a running server, on a validation split.")
    judge.add_argument(
        "what",
        help="folder <name>/<version> of a model repository, .onnx file beside its manifest, checkpoint "
        "(all that import reads), or http://host:port of a server",
    )
    judge.add_argument("--data", type=Path, required=True, help="data set, see docs/evaluation.md for the layouts")
    judge.add_argument(
        "--model", help=f"of a server: name or name@version; its API key, if it wants one, is taken from {KEY_VARIABLE}"
    )
    judge.add_argument("--side", type=parse_side, help="of a checkpoint's input, as import takes it")
    judge.add_argument(
        "--out", type=Path, help="keep the answers in this file; the same command goes on where it was stopped"
    )
    judge.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    model = choose_model(options.what, options.model, options.side)
    description = model.description
    ground_truth = read_ground_truth(description.task, options.data)
    figures = measure(model, ground_truth, options.out)
    classes = len(ground_truth.names or description.labels)
    for line in table(
        figures, published(description.architecture, description.task, classes, len(ground_truth.pictures))
    ):
        print(line)


def table(figures: dict[str, float], reference: Published | None) -> Iterator[str]:
    """A line for each figure, with the published value and the difference beside the figure that has one."""
    if reference:
        yield f"{'':>16} {'here':>6} {'paper':>6} {'difference':>10}"
    for key, value in figures.items():
        beside = ""
        if reference and reference.figure == key:
            beside = f" {reference.value:6.4f} {value - reference.value:+10.4f}"
        yield f"{key:>16} {value:.4f}{beside}"
    if reference:
        yield f"paper: {reference.source}" + (f"; {reference.conditions}" if reference.conditions else "")
