"""The command ``emo evaluate``: its arguments, and what it prints."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from emo.evaluation.ground_truth import read_truth
from emo.evaluation.measure import measure
from emo.evaluation.reference_results import Published, published
from emo.evaluation.server import KEY_VARIABLE
from emo.evaluation.targets import choose_subject
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
    subject = choose_subject(options.what, options.model, options.side)
    description = subject.description
    truth = read_truth(description.task, options.data)
    figures = measure(subject, truth, options.out)
    classes = len(truth.names or description.labels)
    for line in table(figures, published(description.architecture, description.task, classes, len(truth.pictures))):
        print(line)


def table(figures: dict[str, float], paper: Published | None) -> Iterator[str]:
    """A line for each figure, with the paper's value and the difference beside the one that it has."""
    if paper:
        yield f"{'':>16} {'here':>6} {'paper':>6} {'difference':>10}"
    for key, value in figures.items():
        beside = f" {paper.value:6.4f} {value - paper.value:+10.4f}" if paper and paper.figure == key else ""
        yield f"{key:>16} {value:.4f}{beside}"
    if paper:
        yield f"paper: {paper.source}" + (f"; {paper.conditions}" if paper.conditions else "")
