"""The same network twice, with the same weights: a stock ``torch.onnx`` export, and what ``emo export`` writes.

    python -m bench.models emo_1m .bench/models/emo_1m [--stock theirs.onnx]

``<folder>/emo-1m/1`` is a model that emo-serve serves, ``<folder>/emo_1m.onnx`` is what a user has without it: the
file that ``--stock`` names, from which the served model is then imported, or an export of this project's own model
with random weights, which cost what trained ones cost.
"""

import argparse
import logging
import shutil
import warnings
from pathlib import Path

import torch

import emo
from emo.export.checkpoint_import import Origin, Target, import_file
from emo.export.exporter import export
from emo.models.heads.model import Model
from emo.models.names import model_name
from emo.models.preprocessing import MEAN, STD
from emo_serve.manifest import ModelCard, Preprocessing

SIDE, SHORT, CLASSES = 224, 256, 1000
RULE = Preprocessing(
    mode="crop", height=SIDE, width=SIDE, resize=SHORT, interpolation="bicubic", mean=MEAN, std=STD
)  # as the paper's classifiers are tested
CARD = ModelCard(
    architecture="EMO",
    training_data="none",
    recipe="random weights",
    seed=0,
    metrics={},
    measured_on="nothing",
    intended_use="measuring speed",
    terms="none",
)


def main() -> None:
    """Write both where they are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=model_name, choices=[name for name in emo.MODEL_NAMES if name.startswith("emo_")])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stock", type=Path, help="an ONNX file that torch.onnx made of the same network")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name, stock = options.model.replace("_", "-"), options.folder / f"{options.model}.onnx"
    is_served = (options.folder / name).exists()  # whole, or not there
    if options.stock:
        if not is_served:
            import_file(options.stock, Target(options.folder, name, "1"), Origin(), architecture=options.model)
        shutil.copyfile(options.stock, stock)
        return
    model = fresh(options.model)
    if not is_served:
        export(model, tuple(f"class {label}" for label in range(CLASSES)), RULE, CARD, options.folder, name, "1")
    if not stock.exists():
        write_stock(model, SIDE, stock)


def fresh(name: str) -> Model:
    """The model with random weights, which are always the same."""
    torch.manual_seed(0)
    return emo.create(name, 80 if name.startswith("ssdlite") else CLASSES).eval()


def write_stock(model: torch.nn.Module, side: int, path: Path) -> None:
    """The export of a model by ``torch.onnx``: float32 (N, 3, side, side), normalised already."""
    dynamic = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    example = torch.zeros(2, 3, side, side)
    torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=dynamic, verbose=False, external_data=False)


if __name__ == "__main__":
    main()
