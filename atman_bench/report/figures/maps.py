"""Maps laid over their pictures, a row per sample and a column per method (the paper's Figs 4, 13 and 15)."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.records import PatchUnits
from atman_bench.metrics._align import unit_labels
from atman_bench.report._overlay import overlay, scale_of, shrink, spread
from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.tables import CELL, cell_name, folded

PANEL = 1.15
"""Inches, the least width of a picture."""
MOST_PIXELS = 400
LINE = 14
"""Characters above or beside a panel."""


def plot(frame: pd.DataFrame) -> Figure:
    """The picture with the outline of its evidence, then a map for each method in the order of the rows.

    Every map has its own scale: full red is its largest score. A method without a map of a sample leaves a gap.

    Args:
        frame: A row for each map. Beside the columns of rows: ``word``, which of the sample's words it is for,
            and ``explained``, how that reads; ``picture``, a ``Picture``; ``units``, ``PatchUnits``; ``map (U,)``;
            ``label``, where the evidence is.
    """
    methods = list(frame[CELL].drop_duplicates().itertuples(index=False, name=None))
    targets = [
        {cell: of_cell.iloc[0] for cell, of_cell in rows.groupby(CELL)}
        for _, rows in frame.groupby(["uid", "word"], sort=False)
    ]
    columns = 1 + len(methods)
    width = max(WIDTH, PANEL * columns)
    sizes = [next(iter(maps.values()))["units"].size for maps in targets]
    heights = [height / width for width, height in sizes]
    # Panels are as wide as labels and gaps leave them; then 0.25 inches of text below each row, 0.7 above all.
    size = (width, 0.92 * width / columns * sum(heights) + 0.25 * len(heights) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
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
        _outline(line[0], _evidence(any_map), pixels.shape[:2])
        for axis, method in zip(line[1:], methods, strict=True):
            if method in maps:
                _draw_map(axis, pixels, maps[method])
            else:
                axis.text(0.5, 0.5, "no map", ha="center", va="center", fontsize=7, transform=axis.transAxes)
    return figure


def _draw_map(axis: Axes, pixels: np.ndarray, row: pd.Series) -> None:
    units: PatchUnits = row["units"]
    axis.imshow(overlay(pixels, spread(units, row["map"], pixels.shape[:2]), scale_of(row["map"])))
    axis.set_xlabel(f"AP {100 * row['value']:.0f}", fontsize=7, labelpad=2)


def _evidence(row: pd.Series) -> np.ndarray:
    """(H, W) the share of each pixel of the picture that is evidence."""
    width, height = row["units"].size
    pixels = PatchUnits((height, width), (0, 0, width, height), (width, height))
    return unit_labels(replace(row["label"], threshold=None), pixels, row["picture"]).reshape(height, width)


def _outline(axis: Axes, evidence: np.ndarray, shape: tuple[int, ...]) -> None:
    """Draw the border of the evidence, black on white so that it is seen on any picture."""
    # A frame of pixels without evidence closes outlines at the border.
    height, width = evidence.shape
    x = (np.arange(-1, width + 1) + 0.5) * shape[1] / width - 0.5
    y = (np.arange(-1, height + 1) + 0.5) * shape[0] / height - 0.5
    for colour, thickness in (("white", 2.0), ("black", 0.8)):
        axis.contour(x, y, np.pad(evidence, 1), levels=[0.5], colors=colour, linewidths=thickness)
    axis.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))


SPEC = FigureSpec(
    "maps laid over their pictures, drawn by atman-bench maps (Figs 4, 13, 15)",
    metrics=("average_precision",),
    columns=("word", "explained", "picture", "units", "map", "label"),
    plot=plot,
)
