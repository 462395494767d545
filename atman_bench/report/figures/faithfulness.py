"""Faithfulness of every method under both interventions, with 95 % intervals."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from atman_bench.core.records import Intervention
from atman_bench.methods.floors import FLOORS
from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.figures._styles import style_of
from atman_bench.report.means import means_of, measure_column
from atman_bench.report.tables import cell_name

MEASURES = ("lds", "deletion_auc", "insertion_auc", "top3_drop")
_APART = 0.18
"""How far above and below a method's line its two intervals lie."""


def plot(frame: pd.DataFrame) -> Figure:
    """A panel for each measure and a line for each method; filled marker: attention, open marker: embedding."""
    columns = [measure_column(name, intervention) for name in MEASURES for intervention in Intervention]
    means = means_of(frame, columns)
    cells = list(means.by_cell)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.24 * max(len(cells), 3)), layout="constrained")
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    for axis, measure in zip(axes, MEASURES, strict=True):
        for intervention, shift in zip(Intervention, (-_APART, _APART), strict=True):
            column = measure_column(measure, intervention)
            for place, cell in enumerate(cells):
                found = means.by_cell[cell].get(column.metric)
                if found is None or found["mean"] is None:
                    continue
                style, height = style_of(cell[0]), place + shift
                filled = intervention is Intervention.ATTENTION
                if found["low"] is not None:
                    axis.plot([found["low"], found["high"]], [height, height], color=style.colour, linewidth=1)
                face = style.colour if filled or cell[0] in FLOORS else "white"
                axis.plot(
                    found["mean"], height, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=5
                )
        axis.set_xlabel(f"{column.marked.split(',')[0]}{'' if column.higher_is_better else ' ↓'}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(axis="y", linewidth=0.3)
    axes[0].set_yticks(range(len(cells)), [cell_name(*cell) for cell in cells])
    axes[0].invert_yaxis()
    marks = [
        Line2D([], [], linestyle="none", marker="o", color="black", markerfacecolor=face, label=label)
        for face, label in (("black", "units taken away by attention (upper)"), ("white", "by embedding (lower)"))
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2)
    return figure


SPEC = FigureSpec(
    "LDS, deletion, insertion and top-3 drop of every method under both interventions",
    metrics=tuple(f"{measure}_{intervention}" for measure in MEASURES for intervention in Intervention),
    plot=plot,
)
