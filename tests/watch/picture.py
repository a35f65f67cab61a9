"""The dashboard as one picture, drawn from what Prometheus answered: for the documents, where no Grafana runs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from PIL import Image

from tests.watch.dashboard import Panel
from tests.watch.prometheus import Series

Answers = Mapping[tuple[str, str], Sequence[Series]]
"""Title of the panel and expression -> the series."""

UNIT_INCHES = (0.6, 0.29)  # of the dashboard's grid
DPI = 100
COLOURS = 64
MAX_LEGENDS = 10
GREY = "#555555"


def draw(panels: Sequence[Panel], answers: Answers, begin: float, path: Path) -> None:
    """Write the PNG; seconds are counted from ``begin``."""
    mpl.use("agg")
    height = max(panel.place["y"] + panel.place["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * UNIT_INCHES[0], height * UNIT_INCHES[1]), dpi=DPI)
    for panel in panels:
        x, y, w, h = (panel.place[key] for key in "xywh")
        if panel.kind == "row":
            figure.text(0.008, 1 - (y + 0.75) / height, panel.title, fontsize=13, fontweight="bold", color="#1f60c4")
            continue
        left, bottom = (x + 1.0) / 24, 1 - (y + h - 1.1) / height
        axes = figure.add_axes((left, bottom, (w - 1.25) / 24, (h - 2.3) / height))
        axes.set_title(panel.title, fontsize=9.5, loc="left", fontweight="bold", pad=4)
        found = [(query.legend, series) for query in panel.queries for series in answers[panel.title, query.expression]]
        if panel.kind == "stat":
            _stat(axes, panel, found)
        elif panel.kind == "table":
            _table(axes, [series for _, series in found])
        elif panel.kind == "heatmap":
            _heatmap(axes, [series for _, series in found], begin)
        else:
            _lines(axes, panel, found, begin)
    figure.savefig(path)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _lines(axes: Axes, panel: Panel, found: Sequence[tuple[str, Series]], begin: float) -> None:
    if not found:
        axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=9, color=GREY, transform=axes.transAxes)
        axes.set_axis_off()
        return
    found = sorted(found, key=lambda entry: -max(entry[1].values))[:MAX_LEGENDS]
    names = [legend_of(legend, series) for legend, series in found]
    colours = plt.get_cmap("tab20" if len(found) > 10 else "tab10").colors  # type: ignore[attr-defined]  # a list of them
    if panel.stacked:
        times = sorted({time for _, series in found for time in series.times})
        layers = []
        for _, series in found:
            at = dict(zip(series.times, series.values, strict=True))
            layers.append([at.get(time, 0.0) for time in times])
        axes.stackplot(np.array(times) - begin, layers, labels=names, colors=colours[: len(found)], alpha=0.75)
    else:
        for (_, series), name, colour in zip(found, names, colours, strict=False):
            axes.plot(np.array(series.times) - begin, series.values, label=name, linewidth=1.2, color=colour)
    columns = 2 if len(found) > 4 else 1
    rows = -(-len(found) // columns)
    axes.set_ylim(0, (axes.get_ylim()[1] or 1) * (1.05 + 0.1 * rows))  # room for the names
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: with_unit(value, panel.unit)))
    axes.legend(fontsize=6, frameon=False, ncols=columns, loc="upper left", labelspacing=0.2)
    _time_axis(axes)


def _heatmap(axes: Axes, found: Sequence[Series], begin: float) -> None:
    """Shares of the observations between two bounds, over time."""
    buckets = sorted(found, key=lambda series: float(series.labels["le"]))
    bounds = [float(series.labels["le"]) for series in buckets if series.labels["le"] != "+Inf"]
    times = buckets[-1].times
    counts = np.array(
        [[dict(zip(series.times, series.values, strict=True)).get(time, 0.0) for time in times] for series in buckets]
    )
    shares = np.diff(counts[: len(bounds)], axis=0, prepend=0) / np.maximum(counts[-1], 1e-9)
    edges = np.array([0.0, *bounds])
    axes.pcolormesh(np.append(times, times[-1] + 1) - begin, edges, shares, cmap="Blues", vmin=0)
    _time_axis(axes)


def _stat(axes: Axes, panel: Panel, found: Sequence[tuple[str, Series]]) -> None:
    several = len(panel.queries) > 1
    words = [
        with_unit(series.values[-1], panel.unit) + (f" {legend_of(legend, series)}" if several else "")
        for legend, series in found
    ]
    axes.text(0.5, 0.45, "\n".join(words), ha="center", va="center", fontsize=12 if several else 20, color="#2e7d32")
    axes.set_axis_off()


def _table(axes: Axes, found: Sequence[Series]) -> None:
    columns = [*sorted({name for series in found for name in series.labels}), "replicas"]
    rows = [[*(series.labels[name] for name in columns[:-1]), f"{series.values[-1]:g}"] for series in found]
    axes.set_axis_off()
    table = axes.table(rows, colLabels=columns, loc="upper center", edges="horizontal", cellLoc="left")
    table.auto_set_font_size(False)  # noqa: FBT003  matplotlib's own signature
    table.set_fontsize(7)
    table.auto_set_column_width(list(range(len(columns))))


def _time_axis(axes: Axes) -> None:
    axes.tick_params(labelsize=7, colors=GREY, length=2)
    axes.grid(visible=True, linewidth=0.3)
    axes.margins(x=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend_of(template: str, series: Series) -> str:
    """Grafana's ``{{label}}`` filled in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: series.labels.get(match[1], ""), template)


def with_unit(value: float, unit: str) -> str:
    """A number as Grafana writes it in this unit."""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "decbytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.0f} B"
    suffix = {"ops": "/s", "reqps": "/s"}.get(unit, "")
    return f"{value:.3g}{suffix}"
