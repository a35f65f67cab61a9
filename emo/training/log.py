"""``log.csv`` and ``curves.png`` of a run."""

import csv
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_NO_CURVE = {"epoch", "side", "seconds", "kept"}


def log(folder: Path, row: Mapping[str, float], kept: int) -> None:
    """Add the line of an epoch to log.csv (replacing those of epochs repeated after a kill) and draw all of it.

    ``kept`` is the epoch with the best weights so far, 0 for none; its line has a 1 in the last column.
    """
    path = folder / "log.csv"
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
    rows.append({key: f"{value:.6g}" for key, value in row.items()})
    for old in rows:
        old["kept"] = str(int(int(old["epoch"]) == kept))
    columns = [*dict.fromkeys(key for old in rows for key in old if key != "kept"), "kept"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    _draw(folder / "curves.png", rows, [key for key in columns if key not in _NO_CURVE], kept)


def _draw(path: Path, rows: list[dict[str, str]], curves: list[str], kept: int) -> None:
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained", squeeze=False)
    for axis, key in zip(axes[0], curves, strict=True):
        # a detector without detections has no figures for its classes
        axis.plot([int(row["epoch"]) for row in rows], [float(row.get(key) or "nan") for row in rows], marker=".")
        if kept:
            axis.axvline(kept, color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=key, xlabel="epoch")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
