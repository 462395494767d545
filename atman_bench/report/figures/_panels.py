"""Heat maps side by side, a row of panels for each example: what the figures of single examples share."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atman_bench.report.figures._base import WIDTH
from atman_bench.report.heatmap import CELL_INCHES, HeatMap, lay_out, write_cells, write_words

SIZE = 6.5
COLUMN = CELL_INCHES * SIZE
LINE = 0.145
TOP = 0.25
"""Inches for the caption, which stands so far below the top of the figure:"""
ABOVE = 0.02
"""Of its height."""
LEAST, MOST = 24, 46
"""Cells of the narrowest and of the widest panel."""
PICTURE_LINES = 11


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes:
        title: Above it.
        heat: What it is of.
        scores: The map; None shows the picture alone.
    """

    title: str
    heat: HeatMap
    scores: Float[np.ndarray, " U"] | None


def draw_panels(rows: Sequence[tuple[str, Sequence[Panel]]]) -> Figure:
    """Draw rows of panels, each row under its title.

    Only positive relevance is shown, as the benchmark scores it: dark supports the target, also in black and white.

    Args:
        rows: Title and panels of each.
    """
    columns = max(len(panels) for _, panels in rows)
    width = min(MOST, max(LEAST, int(WIDTH / COLUMN / columns) - 2))
    total = columns * (width + 2)
    titles = [wrap(title, total - 2) for title, _ in rows]
    placed = [[lay_out(panel.heat.pieces, width) for panel in panels] for _, panels in rows]
    pictured = [any(panel.heat.grids for panel in panels) for _, panels in rows]
    heights = [
        len(title) + 2 + PICTURE_LINES * has + max((p[-1].line + 1 for p in line if p), default=0) + 1
        for title, has, line in zip(titles, pictured, placed, strict=True)
    ]
    inches = sum(heights) * LINE
    whole = (inches + TOP) / (1 - ABOVE)
    figure = Figure(figsize=(total * COLUMN, whole))
    axes = figure.add_axes((0, 0, 1, inches / whole), xlim=(-1, total - 1), ylim=(sum(heights), 0))
    axes.axis("off")
    top = 0.0
    for title, (_, panels), texts, has, height in zip(titles, rows, placed, pictured, heights, strict=True):
        for i, text in enumerate(title):
            write_cells(axes, 0, top + i, text, SIZE, bold=True)
        for i, (panel, words) in enumerate(zip(panels, texts, strict=True)):
            left, below = i * (width + 2.0), top + len(title)
            write_cells(axes, left, below, panel.title[:width], SIZE, "#555555")
            if has:
                _picture(axes, panel, left, below + 1.1, width)
            if panel.scores is not None:
                write_words(axes, words, np.maximum(panel.scores, 0), left, below + 1.3 + PICTURE_LINES * has, SIZE)
        top += height
    return figure


def _picture(axes: Axes, panel: Panel, left: float, top: float, width: int) -> None:
    scores = np.zeros(len(panel.heat.texts)) if panel.scores is None else np.maximum(panel.scores, 0)
    shown = panel.heat.pictures(scores)
    if not shown:
        return
    pixels = shown[0 if panel.scores is None else 1]
    height = PICTURE_LINES - 0.4
    across = height * LINE / COLUMN * pixels.shape[1] / pixels.shape[0]
    shrunk = min(1.0, width / across)
    extent = (left, left + across * shrunk, top + height * shrunk, top)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none")
