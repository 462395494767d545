"""Sanity checks: maps while layers are randomised from the top, and the other checks with intervals."""

import pandas as pd
from matplotlib.figure import Figure

from atman_bench.evaluation.sanity_records import Check
from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.figures._styles import style_of
from atman_bench.report.sanity import HEADINGS, PASSES_ABOVE, PASSES_BELOW, checked_cells, mean_of, rows_of
from atman_bench.report.tables import cell_name

_CHECKS = (Check.TARGET, Check.DUPLICATE, Check.ABSENT)


def plot(frame: pd.DataFrame) -> Figure:
    """Left: rank correlation with the trained model's map; right: a panel for each other check, its bound dashed."""
    cells = checked_cells(frame)
    figure = Figure(figsize=(WIDTH, 1.6 + 0.22 * max(len(cells), 6)), layout="constrained")
    left, *right = figure.subplots(1, 1 + len(_CHECKS), width_ratios=[1.5, 1, 1, 1])
    cascade = frame[frame["check"] == Check.RANDOMISED.value]
    for cell in cells:
        style = style_of(cell[0])
        of_cell = cascade[(cascade["method"] == cell[0]) & (cascade["variant"] == cell[1])]
        points = [(share, found[0]) for share, rows in of_cell.groupby("share") if (found := mean_of(rows)) is not None]
        if points:
            shares, means = zip((0.0, 1.0), *points, strict=True)
            left.plot(
                [100 * share for share in shares],
                means,
                color=style.colour,
                marker=style.marker,
                markersize=4,
                linewidth=1,
                linestyle=style.line,
            )
    left.axhline(PASSES_BELOW[Check.RANDOMISED], color="0.4", linewidth=0.8, linestyle="--")
    left.set_xlabel("layers randomised from the top, %", fontsize=8)
    left.set_ylabel("rank correlation with the trained map", fontsize=8)
    for axis, check in zip(right, _CHECKS, strict=True):
        for place, cell in enumerate(cells):
            found = mean_of(rows_of(frame, cell, check))
            if found is None:
                continue
            mean, interval, _ = found
            style = style_of(cell[0])
            if interval is not None:
                axis.plot([interval.low, interval.high], [place, place], color=style.colour, linewidth=1.2)
            axis.plot(mean, place, marker=style.marker, color=style.colour, markersize=5)
        bound = {**PASSES_BELOW, **PASSES_ABOVE}[check]
        axis.axvline(bound, color="0.4", linewidth=0.8, linestyle="--")
        axis.set_xlabel(HEADINGS[check], fontsize=8)
        axis.set_ylim(len(cells) - 0.5, -0.5)
        axis.set_yticks(range(len(cells)), [cell_name(*cell) for cell in cells] if axis is right[0] else [])
    for axis in (left, *right):
        axis.tick_params(labelsize=7)
    return figure


SPEC = FigureSpec(
    "sanity checks: layers randomised from the top, another target, a fact said twice, an absent answer",
    metrics=("sanity_randomised_1.00",),
    columns=("share",),
    plot=plot,
)
