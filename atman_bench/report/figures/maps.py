"""Maps laid over their pictures, a row per sample and a column per method (the paper's Figs 4, 13 and 15)."""

from dataclasses import replace
from itertools import groupby
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.records import PatchUnits
from atman_bench.metrics._align import unit_labels
from atman_bench.report._overlay import draw_outline, overlay, shrink, spread
from atman_bench.report._scales import scale_name, shades, shared_scale, without_noise
from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.figures._colour_bar import draw_bar
from atman_bench.report.tables import CELL, cell_name, folded

PANEL, WIDEST_PANEL = 1.0, 1.6
"""Inches, the least and the largest width of an image."""
MOST_PIXELS = 240
LINE = 14
"""Characters above or beside a panel."""
BAR = 0.12
"""Inches, the height of a colour bar."""


def plot(frame: pd.DataFrame) -> Figure:
    """The picture with the outline of its evidence, then a map for each method in the order of the rows.

    Maps of methods whose scores have the same unit share one colour scale over all rows, with a colour bar below their
    columns; scores below the numerical noise are not drawn. A method without a map of a sample leaves a gap.

    Args:
        frame: A row for each map. Beside the columns of rows: ``word``, which of the sample's words it is for,
            and ``explained``, how that reads; ``picture``, a ``Picture``; ``units``, ``PatchUnits``; ``map (U,)``;
            ``noise``, the largest score that means nothing; ``label``, where the evidence is.
    """
    heard = [without_noise(*pair) for pair in zip(frame["map"], frame["noise"], strict=True)]
    frame = frame.assign(map=pd.Series(heard, index=frame.index))
    methods = list(frame[CELL].drop_duplicates().itertuples(index=False, name=None))
    names = {cell: scale_name(*cell) for cell in methods}
    frame["scale"] = [names[cell] for cell in frame[CELL].itertuples(index=False, name=None)]
    scales = {name: shared_scale(maps) for name, maps in frame.groupby("scale")["map"]}
    targets = [
        {cell: of_cell.iloc[0] for cell, of_cell in rows.groupby(CELL)}
        for _, rows in frame.groupby(["uid", "word"], sort=False)
    ]
    columns = 1 + len(methods)
    width = min(max(WIDTH, PANEL * columns), WIDEST_PANEL * columns)
    sizes = [next(iter(maps.values()))["units"].size for maps in targets]
    heights = [height / width for width, height in sizes]
    panel = 0.92 * width / columns
    # Panels are as wide as labels and gaps leave them; 0.25 inches of text below each row, 1.2 above and below all.
    size = (width, panel * sum(heights) + 0.25 * len(heights) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(len(heights) + 1, columns, height_ratios=[*heights, BAR / panel])
    axes = [[figure.add_subplot(grid[row, column]) for column in range(columns)] for row in range(len(heights))]
    for axis, title in zip(axes[0], ["picture", *(cell_name(*method) for method in methods)], strict=True):
        axis.set_title("\n".join(folded(title, LINE)), fontsize=7)
    for line, maps in zip(axes, targets, strict=True):
        any_map = next(iter(maps.values()))
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        pixels = shrink(rgb_array(open_picture(any_map["picture"])), MOST_PIXELS)
        line[0].imshow(pixels)
        line[0].set_ylabel("\n".join(folded(any_map["explained"], LINE)), fontsize=8)
        height, width = pixels.shape[:2]
        draw_outline(line[0], _evidence(any_map), (-0.5, width - 0.5, height - 0.5, -0.5))
        for axis, method in zip(line[1:], methods, strict=True):
            if method in maps:
                _draw_map(axis, pixels, maps[method], scales[names[method]])
            else:
                axis.text(0.5, 0.5, "no map", ha="center", va="center", fontsize=7, transform=axis.transAxes)
    first = 1
    for name, run in groupby(names.values()):
        last = first + len(list(run))
        signed = bool((frame.loc[frame["scale"] == name, "map"].map(np.min) < 0).any())
        label = "\n".join(wrap(name.replace("_", " "), 18 * (last - first)))
        draw_bar(
            figure.add_subplot(grid[-1, first:last]), scales[name], label, signed=signed, ticks=2 + (last - first > 1)
        )
        first = last
    return figure


def _draw_map(axis: Axes, pixels: np.ndarray, row: pd.Series, full: float) -> None:
    units: PatchUnits = row["units"]
    axis.imshow(overlay(pixels, spread(units, shades(row["map"], full), pixels.shape[:2]), 1.0))
    axis.set_xlabel(f"AP {100 * row['value']:.0f}", fontsize=7, labelpad=2)


def _evidence(row: pd.Series) -> np.ndarray:
    """(H, W) the share of each pixel of the picture that is evidence."""
    width, height = row["units"].size
    pixels = PatchUnits((height, width), (0, 0, width, height), (width, height))
    return unit_labels(replace(row["label"], threshold=None), pixels, row["picture"]).reshape(height, width)


SPEC = FigureSpec(
    "maps laid over their pictures, drawn by atman-bench maps (Figs 4, 13, 15)",
    metrics=("average_precision",),
    columns=("word", "explained", "picture", "units", "map", "noise", "label"),
    plot=plot,
)
