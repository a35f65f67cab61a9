"""The command line of the PyTorch side: ``python -m emo train | export | evaluate | label | import | pull | cut``.

Heavy imports are in the commands that need them, so that help and usage errors need no PyTorch.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import emo
from emo.export.checkpoint_import import Origin, Target, import_file, parse_side
from emo.export.download import BASE_URL, BLOBS, default_cache, pull
from emo.export.groups import GROUPS_HELP
from emo.models.names import model_name
from emo_serve.errors import InvalidManifest
from emo_serve.labels import read_labels
from emo_serve.version import installed_version

if TYPE_CHECKING:
    from emo.checkpoints.loader import Restored
    from emo.export.predict import Predict
    from emo.training.publish import Measure

_HEAVY = {
    "train": ("emo.training.command", "train a model and export it, or go on where that was stopped"),
    "evaluate": ("emo.evaluation.command", "measure a model, or a running server, on a validation split"),
    "label": ("emo.labelling.command", "photos and detectors -> a COCO JSON to learn from"),
}
"""Commands whose options are added by ``add_<name>`` of the module that implements them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Usage errors end with a message and status 2."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser(given[:1]).parse_args(given)
        command: Callable[[argparse.Namespace], None] = options.run
        command(options)
    except (ValueError, OSError, InvalidManifest) as error:
        _end(2, str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in {"app", "emo"}:
            raise
        need = f"{given[0]} needs the package {error.name}"
        _end(1, f"{need}: pip install 'emo-serve[torch]', or `make setup-torch` in a checkout")
    return 0


def _end(status: int, message: str) -> NoReturn:
    sys.stderr.write(f"emo: {message}\n")
    raise SystemExit(status)


def _parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("emo", description="Train, evaluate and export EMO models.")
    parser.add_argument("--version", action="version", version=f"emo {installed_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    cut = commands.add_parser("cut", help="cut the boxes of a COCO data set out as pictures for classification")
    cut.add_argument("--annotations", type=Path, required=True, help="COCO JSON")
    cut.add_argument("--images", type=Path, required=True, help="folder that its file names are relative to")
    cut.add_argument("--side", type=int, default=96, help="side of a cut picture in pixels (default 96)")
    cut.add_argument("--out", type=Path, required=True, help="target folder")
    cut.set_defaults(run=_cut)

    _add_heavy(commands, "train", chosen)

    write = commands.add_parser("export", help="write a trained model into a model repository")
    write.add_argument(
        "--checkpoint", type=Path, required=True, help="weights.pt (or last.pt) of a run, or what else import reads"
    )
    write.add_argument("--labels", type=Path, help="text file, one class name a line (default: those of the run)")
    write.add_argument("--data", type=Path, help="data set whose validation split gives the card's figures")
    write.add_argument("--card", type=Path, required=True, help="TOML file with the texts of the model card")
    write.add_argument("--classes", type=Path, help="text file, one class a line: those to keep, in this order")
    write.add_argument("--groups", type=Path, help=GROUPS_HELP)
    write.add_argument("--side", type=parse_side, help="side of the input in pixels (default: as trained last)")
    write.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    write.add_argument("--name", required=True)
    write.add_argument("--version", required=True)
    write.set_defaults(run=_export)

    _add_heavy(commands, "evaluate", chosen)
    _add_heavy(commands, "label", chosen)
    _add_importing(commands)
    return parser


def _add_heavy(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, chosen: Sequence[str]
) -> None:
    module, text = _HEAVY[name]
    if name in chosen:
        getattr(import_module(module), f"add_{name}")(commands)
    else:
        commands.add_parser(name, help=text)


def _add_importing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    take = commands.add_parser("import", help="export the weights in a file of the authors or of others")
    take.add_argument(
        "file", type=Path, help=".pth, .pt or .safetensors, .onnx of a classifier; no code in it is ever run"
    )
    take.add_argument("--name", required=True, help="of the model in the repository")
    take.add_argument("--version", default="1", help="of the model (default 1)")
    take.add_argument(
        "--model", type=model_name, choices=emo.MODEL_NAMES, help="architecture that it must be (default: recognised)"
    )
    take.add_argument("--labels", type=Path, help="text file, one class name a line")
    take.add_argument("--groups", type=Path, help=GROUPS_HELP)
    take.add_argument(
        "--side", type=parse_side, help="of the input in pixels, a multiple of 32 (default: as the authors test)"
    )
    take.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    take.set_defaults(run=_import)

    fetch = commands.add_parser("pull", help="download a classifier that the authors publish, and export it")
    fetch.add_argument("model", type=model_name, choices=list(BLOBS))
    fetch.add_argument("--name", help="of the model in the repository (default: as in emo-1m-imagenet)")
    fetch.add_argument("--version", default="1", help="of the model (default 1)")
    fetch.add_argument("--models", type=Path, default=Path("models"), help="model repository (default: models)")
    fetch.add_argument("--base-url", default=BASE_URL, help="where the authors' repository is (default: %(default)s)")
    fetch.add_argument("--cache", type=Path, default=default_cache(), help="keep downloads here (default: %(default)s)")
    fetch.set_defaults(run=_pull)


def _cut(options: argparse.Namespace) -> None:
    from emo.data.coco import read_coco  # noqa: PLC0415
    from emo.data.crops import cut_boxes  # noqa: PLC0415

    written = cut_boxes(read_coco(options.annotations, options.images), options.side, options.out)
    print(f"{written} pictures written below {options.out}")


def _export(options: argparse.Namespace) -> None:
    from emo.evaluation.ground_truth import read_ground_truth  # noqa: PLC0415
    from emo.evaluation.measure import predicted_figures  # noqa: PLC0415
    from emo.export.exporter import task_of  # noqa: PLC0415
    from emo.training.publish import Classes, publish, read_texts  # noqa: PLC0415

    target = Target(options.models, options.name, options.version)
    measure: Measure | None = None
    if options.data:

        def measure(trained: "Restored", predict: "Predict", groups: tuple[str, ...] | None) -> dict[str, float]:
            task = task_of(trained.model)
            ground_truth = read_ground_truth(task, options.data)
            return predicted_figures(predict, task, trained.labels, trained.rule, ground_truth, groups)

    classes = read_labels(options.classes) if options.classes else None
    chosen = Classes(options.labels, options.groups, classes)
    publish(options.checkpoint, read_texts(options.card), target, measure, chosen, options.side)


def _import(options: argparse.Namespace) -> None:
    target = Target(options.models, options.name, options.version)
    import_file(
        options.file,
        target,
        Origin(),
        architecture=options.model,
        labels=options.labels,
        groups=options.groups,
        side=options.side,
    )


def _pull(options: argparse.Namespace) -> None:
    name = options.name or f"{options.model.replace('_', '-')}-imagenet"
    target = Target(options.models, name, options.version)
    pull(options.model, target, options.cache, options.base_url)


if __name__ == "__main__":
    raise SystemExit(main())
