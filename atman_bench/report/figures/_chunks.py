"""The chunks of a document, and how much each matters for the answer to each question (the paper's Fig. 16)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from atman_bench.report._scales import shades, shared_scale
from atman_bench.report.figures._colour_bar import draw_bar
from atman_bench.report.figures._panels import ABOVE, TOP
from atman_bench.report.heatmap import colour, ink
from atman_bench.report.heatmap_png import CELL_INCHES, write_cells

_SIZE = 6.5
_COLUMN = CELL_INCHES * _SIZE
_LINE = 0.145
_TEXT, _CELL = 62, 8
"""Character cells of the document and of a number."""
_BELOW = 6
"""Lines for what stands below the columns, and for the colour bar."""


@dataclass(frozen=True)
class ChunkColumn:
    """The scores of all chunks for one question.

    Attributes:
        group: What it shares with the columns beside it.
        title: Above it.
        scores: Of the C chunks, without noise.
        expected: The chunks that hold the evidence: framed.
        below: Below it.
    """

    group: str
    title: str
    scores: Float[np.ndarray, " C"]
    expected: Sequence[int]
    below: str


def plot_chunks(texts: Sequence[str], head: Sequence[str], columns: Sequence[ChunkColumn]) -> Figure:
    """The document once, a chunk below the other, and beside it a column of scores for each question.

    All columns have one colour scale, so that a question that the document does not answer is seen to be empty or not.

    Args:
        texts: Of the C chunks.
        head: Lines above: the questions.
        columns: One for each question, and of each setting.
    """
    lines = [wrap(" ".join(text.split()) + "↵" * text.endswith("\n"), _TEXT - 2) or ["↵"] for text in texts]
    top = [part for line in head for part in wrap(line, _TEXT + _CELL * len(columns), subsequent_indent="   ")]
    first = len(top) + 3
    height = first + sum(map(len, lines)) + _BELOW
    width = _TEXT + _CELL * len(columns) + 2
    inches = height * _LINE
    whole = (inches + TOP) / (1 - ABOVE)
    figure = Figure(figsize=(width * _COLUMN, whole))
    axes = figure.add_axes((0, 0, 1, inches / whole), xlim=(-1, width - 1), ylim=(height, 0))
    axes.axis("off")
    for i, line in enumerate(top):
        write_cells(axes, 0, i, line, _SIZE)
    full = shared_scale(column.scores for column in columns)
    lefts = [_TEXT + _CELL * i for i in range(len(columns))]
    for group, members in groupby(zip(lefts, columns, strict=True), key=lambda pair: pair[1].group):
        write_cells(axes, next(members)[0], first - 2, group, _SIZE, bold=True)
    for left, column in zip(lefts, columns, strict=True):
        write_cells(axes, left, first - 1, column.title[: _CELL - 1], _SIZE, bold=True)
        write_cells(axes, left, height - _BELOW, f"{column.scores.max():.2g}", _SIZE)
        write_cells(axes, left, height - _BELOW + 1, column.below, _SIZE)
    write_cells(axes, 0, height - _BELOW, "largest score", _SIZE, "#555555")
    write_cells(axes, 0, height - _BELOW + 1, "in % of the mean of the answered questions'", _SIZE, "#555555")
    row = float(first)
    decimals = 2 if full >= 1 else 3
    strengths = [shades(column.scores, full) for column in columns]
    for chunk, parts in enumerate(lines):
        for i, part in enumerate(parts):
            write_cells(axes, 0, row + i, part, _SIZE)
        for left, column, strength in zip(lefts, columns, strengths, strict=True):
            background = colour(strength[chunk], 1.0)
            box = (left, row + 0.06), _CELL - 0.6, len(parts) - 0.12
            axes.add_patch(Rectangle(*box, facecolor=background, linewidth=0))
            if chunk in column.expected:
                axes.add_patch(Rectangle(*box, fill=False, edgecolor="black", linewidth=1.4))
            if column.scores[chunk]:
                number = f"{column.scores[chunk]:+.{decimals}f}"
                if not float(number):
                    number = number[1:]  # what is rounded to 0 has no sign
                write_cells(axes, left + 0.4, row + (len(parts) - 1) / 2, number, _SIZE, ink(background))
        row += len(parts)
    place = _TEXT / width, 2.4 * _LINE / whole, 0.9 * (1 - _TEXT / width), 0.7 * _LINE / whole
    signed = any((column.scores < 0).any() for column in columns)
    draw_bar(figure.add_axes(place), full, "change of the loss, nats a target token", signed=signed)
    return figure
