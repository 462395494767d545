"""Heat maps side by side, a row of panels for each example: what the figures of single examples share."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atman_bench.report._scales import shades, shared_scale
from atman_bench.report.figures._base import WIDTH
from atman_bench.report.figures._colour_bar import draw_bar
from atman_bench.report.heatmap import HeatMap
from atman_bench.report.heatmap_png import CELL_INCHES, lay_out, write_cells, write_words

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
BAR_LINES = 4.5
"""For the colour bars, their ticks and their labels."""


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes:
        title: Above it.
        heat: What it is of.
        scores: The map; None shows the picture alone.
        scale: Panels of the same name share a colour scale: see ``scale_name``.
    """

    title: str
    heat: HeatMap
    scores: Float[np.ndarray, " U"] | None
    scale: str = ""

    @property
    def shown(self) -> Float[np.ndarray, " U"]:
        """Its positive relevance without noise; zeros of a picture alone."""
        if self.scores is None:
            return np.zeros(len(self.heat.texts))
        return np.maximum(self.heat.drawn(self.scores), 0)


def draw_panels(rows: Sequence[tuple[str, Sequence[Panel]]]) -> Figure:
    """Draw rows of panels, each row under its title.

    Only positive relevance is shown, as the benchmark scores it: dark supports the target, also in black and white. One
    colour scale, with a colour bar below, for all panels of the same unit; what rounding can make is white.

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
    scales = {
        name: shared_scale(panel.shown for _, panels in rows for panel in panels if panel.scale == name)
        for name in dict.fromkeys(p.scale for _, panels in rows for p in panels if p.scores is not None)
    }
    inches = (sum(heights) + BAR_LINES) * LINE
    whole = (inches + TOP) / (1 - ABOVE)
    figure = Figure(figsize=(total * COLUMN, whole))
    axes = figure.add_axes((0, 0, 1, inches / whole), xlim=(-1, total - 1), ylim=(sum(heights) + BAR_LINES, 0))
    axes.axis("off")
    top = 0.0
    for title, (_, panels), texts, has, height in zip(titles, rows, placed, pictured, heights, strict=True):
        for i, text in enumerate(title):
            write_cells(axes, 0, top + i, text, SIZE, bold=True)
        for i, (panel, words) in enumerate(zip(panels, texts, strict=True)):
            left, below = i * (width + 2.0), top + len(title)
            write_cells(axes, left, below, panel.title[:width], SIZE, "#555555")
            strength = shades(panel.shown, scales.get(panel.scale, 0.0))
            if has:
                _picture(axes, panel, strength, left, below + 1.1, width)
            if panel.scores is not None:
                write_words(axes, words, strength, 1.0, left, below + 1.3 + PICTURE_LINES * has, SIZE)
        top += height
    for i, (name, full) in enumerate(scales.items()):
        # In figure coordinates, below all rows: one bar after the other, as wide as panels.
        place = (2 + i * (width + 2)) / total, 2.4 * LINE / whole, (width - 3) / total, 0.7 * LINE / whole
        draw_bar(figure.add_axes(place), full, "\n".join(wrap(name.replace("_", " "), int(1.1 * width))), ticks=3)
    return figure


def _picture(axes: Axes, panel: Panel, strength: Float[np.ndarray, " U"], left: float, top: float, width: int) -> None:
    shown = panel.heat.pictures(strength, 1.0)
    if not shown:
        return
    pixels = shown[0 if panel.scores is None else 1]
    height = PICTURE_LINES - 0.4
    across = height * LINE / COLUMN * pixels.shape[1] / pixels.shape[0]
    shrunk = min(1.0, width / across)
    extent = (left, left + across * shrunk, top + height * shrunk, top)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none")
