"""Quality of every method against its time, in plain forward passes of the same model."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from atman_bench.core.records import Intervention
from atman_bench.methods.floors import FLOORS
from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.figures._styles import style_of
from atman_bench.report.leaderboard_columns import REQUIRED
from atman_bench.report.means import Cell, localisation_column, means_of, measure_column
from atman_bench.report.tables import CELL, cell_name

COLUMNS = (
    localisation_column("auprc"),
    *(measure_column("lds", intervention) for intervention in Intervention),
)
FILLS = ("full", "none", "top", "left", "bottom", "right")
"""How the markers of a method's variants are filled, in the order of their names."""
CHEAPEST = 0.01
"""Passes; what is cheaper (floors) is drawn here."""


def plot(frame: pd.DataFrame) -> Figure:
    """A panel for each metric; a line along the methods that no cheaper one beats (floors left out)."""
    costs = {
        (str(method), str(variant)): max(float(lines["seconds_ratio"].iloc[0]), CHEAPEST)
        for (method, variant), lines in frame[frame["seconds_ratio"].notna()].groupby(CELL)
    }
    means = means_of(frame, COLUMNS)
    cells = sorted((cell for cell in means.by_cell if cell in costs), key=lambda cell: (cell[0] in FLOORS, cell))
    variants = {cell: [other for other in cells if other[0] == cell[0]].index(cell) for cell in cells}
    looks = {cell: _look(cell[0], place) for cell, place in variants.items()}
    figure = Figure(figsize=(WIDTH, 3.2 + 0.16 * -(-len(cells) // 3)), layout="constrained")
    for axis, column in zip(figure.subplots(1, len(COLUMNS)), COLUMNS, strict=True):
        points = {
            cell: (costs[cell], found["mean"])
            for cell in cells
            if (found := means.by_cell[cell].get(column.metric)) is not None and found["mean"] is not None
        }
        for cell, (cost, quality) in points.items():
            found = means.by_cell[cell][column.metric]
            if found["low"] is not None:
                colour = style_of(cell[0]).colour
                axis.plot([cost, cost], [found["low"], found["high"]], color=colour, linewidth=0.7, alpha=0.6)
            axis.plot(cost, quality, markersize=6, **looks[cell])
        front = _front({cell: point for cell, point in points.items() if cell[0] not in FLOORS})
        axis.plot(*zip(*front, strict=True), color="0.4", linewidth=0.8, drawstyle="steps-post", zorder=0)
        axis.set_xscale("log")
        axis.set_xlabel("time, plain passes", fontsize=8)
        axis.set_title(f"{column.heading} × 100", fontsize=8)
        axis.tick_params(labelsize=7)
    handles = [Line2D([], [], label=cell_name(*cell), **looks[cell]) for cell in cells]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _look(method: str, place: int) -> dict[str, Any]:
    """A method's marker, filled by the place of its variant."""
    style = style_of(method)
    filled = {"fillstyle": FILLS[place % len(FILLS)], "markerfacecoloralt": "white"}
    return {"linestyle": "none", "marker": style.marker, "color": style.colour, **filled}


def _front(points: dict[Cell, tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no cheaper one beats, from cheap to dear."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points.values(), key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


SPEC = FigureSpec(
    "AUPRC and LDS of every method against its time relative to a plain pass, with the Pareto front",
    metrics=REQUIRED,
    columns=("seconds_ratio",),
    plot=plot,
)
