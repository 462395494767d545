"""How AP and AR are distributed over samples, for every method and floor (the paper's Fig. 10)."""

import pandas as pd
from matplotlib.figure import Figure

from atman_bench.methods.floors import FLOORS
from atman_bench.report.figures._base import (
    PAPER_METRICS,
    WIDTH,
    FigureSpec,
    cell_labels,
    values_by_cell,
)
from atman_bench.report.figures._styles import style_of


def plot(frame: pd.DataFrame) -> Figure:
    """Horizontal boxes in two panels, methods by mAP; a marker is at the mean, whiskers reach 1.5 box lengths."""
    order = list(values_by_cell(frame, "average_precision"))
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * max(len(order), 2)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, metric) in zip(axes, PAPER_METRICS.items(), strict=True):
        cells = values_by_cell(frame, metric)
        boxes = axis.boxplot(
            [100 * cells[cell]["value"].to_numpy() if cell in cells else [] for cell in order],
            positions=range(len(order)),
            manage_ticks=False,
            orientation="horizontal",
            widths=0.6,
            patch_artist=True,
            medianprops={"color": "black", "linewidth": 1.4},
            flierprops={"marker": "o", "markersize": 2, "markeredgecolor": "0.3"},
        )
        for (method, _), box in zip(order, boxes["boxes"], strict=True):
            style = style_of(method)
            box.set(facecolor="0.95" if method in FLOORS else style.colour, linewidth=0.8)
            box.set_hatch(style.hatch)
        for place, cell in enumerate(order):
            if cell in cells:
                mean = 100 * cells[cell]["value"].mean()
                axis.plot(mean, place, color="black", markerfacecolor="white", marker=style_of(cell[0]).marker, ms=5)
        axis.set_xlabel(f"{name.removeprefix('m')} × 100 of a sample")
    axes[0].set_yticks(range(len(order)), cell_labels(order, frame))
    axes[0].invert_yaxis()
    return figure


SPEC = FigureSpec(
    "AP and AR of single samples as boxes, for every method (Fig. 10)",
    metrics=tuple(PAPER_METRICS.values()),
    plot=plot,
)
