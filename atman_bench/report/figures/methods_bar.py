"""mAP, AUPRC and mAR of every method with 95 % intervals, and the floors as lines."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.report.figures._base import (
    PAPER_METRICS,
    WIDTH,
    FigureSpec,
    cell_labels,
    values_by_cell,
)
from atman_bench.report.figures._styles import style_of
from atman_bench.report.tables import with_interval


def plot(frame: pd.DataFrame) -> Figure:
    """Horizontal bars, a panel for each metric, methods by mAP; whiskers are bootstrap intervals over groups."""
    order = [cell for cell in values_by_cell(frame, "average_precision") if cell[0] not in FLOORS]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.28 * max(len(order), 2)), layout="constrained")
    metrics = {name: metric for name, metric in with_interval().items() if frame["metric"].eq(metric).any()}
    axes = figure.subplots(1, len(metrics), sharey=True)
    for axis, (name, metric) in zip(axes, metrics.items(), strict=True):
        cells = values_by_cell(frame, metric)
        for place, cell in enumerate(order):
            if cell not in cells:
                continue
            values, groups = cells[cell]["value"].to_numpy(), cells[cell]["group"].to_numpy()
            style = style_of(cell[0])
            axis.barh(
                place, 100 * values.mean(), color=style.colour, edgecolor="black", linewidth=0.6, hatch=style.hatch
            )
            if interval := bootstrap_interval(values, groups):
                ends = np.array([interval.low, interval.high])
                axis.plot(100 * ends, [place, place], color="black", linewidth=1.2, marker="|", markersize=5)
        for floor, rows in ((c[0], r) for c, r in cells.items() if c[0] in FLOORS):
            style = style_of(floor)
            axis.axvline(100 * rows["value"].mean(), color=style.colour, lw=1.4, linestyle=style.line, label=floor)
        axis.set_xlabel(f"{name} × 100")
    axes[0].set_yticks(range(len(order)), cell_labels(order, frame))
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    return figure


SPEC = FigureSpec(
    "mAP, AUPRC and mAR of every method with 95 % intervals, floors as lines",
    metrics=tuple(PAPER_METRICS.values()),
    plot=plot,
)
