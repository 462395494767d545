"""mAP and mAR when only some layers are edited (the paper's Fig. 18)."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atman_bench.report.figures._base import PAPER_METRICS, WIDTH, FigureSpec
from atman_bench.report.grid import Estimate, axes_of, axis_title, estimate

ALL = "all"
MARKERS = "osD^vP"
LINES = ("-", "--", ":", "-.")


def plot(frame: pd.DataFrame) -> Figure:
    """A marker with a whisker for each set of layers, in the order of the grid; a line across at the mean of all.

    Other axes of the grid (f) have markers and lines of their own.
    """
    others = [axis for axis in axes_of(frame) if axis != "grid.layers"]
    grid = frame[frame["point"].notna()]
    series = list(grid.groupby(others, observed=True)) if others else [((), grid)]
    places = [str(place) for place in grid["grid.layers"].cat.categories if grid["grid.layers"].eq(place).any()]
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axis, (name, metric) in zip(panels, PAPER_METRICS.items(), strict=True):
        for i, (key, part) in enumerate(series):
            # Side by side, so that whiskers do not hide each other.
            shift = 0.5 * ((i + 0.5) / len(series) - 0.5)
            found = {
                place + shift: mean
                for place, layers in enumerate(places)
                if (mean := estimate(part[part["grid.layers"].eq(layers)], metric)) is not None
            }
            label = ", ".join(f"{axis_title(other)} {value}" for other, value in zip(others, key, strict=True))
            _draw(axis, found, i, label)
            whole = estimate(part[part["grid.layers"].eq(ALL)], metric)
            if whole is not None:
                axis.axhline(whole.mean, color="0.5", linewidth=0.8, linestyle=LINES[i % len(LINES)], zorder=0)
        axis.set_ylim(bottom=0)
        axis.set_ylabel(f"{name} × 100, 95 % interval")
    panels[-1].set_xticks(range(len(places)), places, rotation=90 if len(places) > 12 else 0, fontsize=7)
    panels[-1].set_xlabel("edited layers (0 = first); lines across: all layers")
    if others:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(series))
    return figure


def _draw(axis: Axes, found: Mapping[float, Estimate], series: int, label: str) -> None:
    """Markers and whiskers of one series, by their places."""
    axis.plot(
        list(found),
        [mean.mean for mean in found.values()],
        color="black",
        linestyle="none",
        marker=MARKERS[series % len(MARKERS)],
        markersize=4,
        markerfacecolor="white" if series else "black",
        label=label,
    )
    for place, mean in found.items():
        if mean.interval is not None:
            ends = [mean.interval.low, mean.interval.high]
            axis.plot([place, place], ends, color="0.5", linewidth=0.8, zorder=1)


SPEC = FigureSpec(
    "mAP and mAR of single layers and windows of layers against all layers (Fig. 18)",
    metrics=tuple(PAPER_METRICS.values()),
    columns=("grid.layers",),
    plot=plot,
)
