"""A heat map as a figure: the mean over the target in full width, and below it a grid of what each token has.

Fixed-width cells, so that words keep their places; glyphs that the main font lacks are taken from others. Evidence is
outlined where it is known.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING
from unicodedata import category

import numpy as np
from jaxtyping import Float
from rich.cells import cell_len

from atman_bench.report._overlay import draw_outline
from atman_bench.report.heatmap import HeatMap, Piece, colour, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG = logging.getLogger(__name__)

CELL_INCHES = 0.602 / 72
"""Width of a character cell of DejaVu Sans Mono, which is 0.602 em wide, for each point of the font size."""

_WIDTH = 96
"""Columns of the page; more where many maps stand side by side."""
_LINE = 0.24
_SIZE = 10.0
_PICTURE_LINES = 15

_SMALL, _SMALL_LINE = 6.5, 0.16
"""Font size and height of a line, in inches, where each target token has its own map."""
_SMALL_PICTURE_LINES = 9
_SMALL_WIDTH = 44
"""Columns of a small map at the least."""
_MOST_ACROSS = 5
_MOST_NAMED = 40
"""Characters of the list of those that have no glyph."""
_GAP = 3
"""Columns between two maps of the grid."""

_FALLBACKS = (
    "Noto Sans Mono CJK SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Symbols2",
    "Noto Emoji",
    "Symbola",
    "Arial Unicode MS",
    "FreeMono",
    "Unifont",
)
"""Fonts for scripts that DejaVu lacks, as far as they are installed."""


@cache
def fonts() -> list[str]:
    """The fonts that glyphs are looked for in, in this order."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans Mono", *(name for name in _FALLBACKS if name in installed), "DejaVu Sans"]


def without_glyph(text: str) -> str:
    """The characters of a text, each once, that none of the fonts has: they are drawn as boxes."""
    known = _characters(tuple(fonts()))
    drawn = (c for c in dict.fromkeys(text) if category(c)[0] not in "CZ")
    return "".join(c for c in drawn if ord(c) not in known)


@cache
def _characters(names: tuple[str, ...]) -> frozenset[int]:
    """Code points that at least one of some installed fonts has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in names))


@dataclass(frozen=True)
class Placed:
    """A piece of text at a place on a page of fixed-width cells."""

    text: str
    unit: int | None
    line: int
    column: int


def lay_out(pieces: tuple[Piece, ...], width: int) -> list[Placed]:
    """Break pieces into lines of at most so many cells, before spaces where there are some."""
    placed: list[Placed] = []
    line = column = 0
    for piece in pieces:
        for part in re.findall(rf"\n| *[^ \n]{{1,{width}}}| +", piece.text):
            shown = "↵" if part == "\n" else part
            if column and column + cell_len(shown) > width:
                line, column = line + 1, 0
            placed.append(Placed(shown, piece.unit, line, column))
            column += cell_len(shown)
            if part == "\n":
                line, column = line + 1, 0
    return placed


def write_cells(
    axes: "Axes", column: float, line: float, text: str, size: float, ink: str = "#000000", *, bold: bool = False
) -> None:
    """Write text into axes whose units are character cells, its left end at a column and its middle in a line.

    Args:
        axes: Columns from left to right, lines from top to bottom.
        column: Of its first character.
        line: Of all of it.
        text: What is written, also where it looks like mathematics.
        size: Points.
        ink: Colour.
        bold: Weight.
    """
    weight = "bold" if bold else "normal"
    axes.text(
        column, line + 0.5, text, color=ink, family=fonts(), size=size, weight=weight, va="center", parse_math=False
    )


def write_words(
    axes: "Axes",
    words: Sequence[Placed],
    scores: Float[np.ndarray, " U"],
    full: float,
    left: float,
    top: float,
    size: float,
) -> None:
    """Write words on the colours of their scores into axes as of ``write_cells``; grey where they have no score.

    Args:
        axes: See ``write_cells``.
        words: From ``lay_out``.
        scores: Of each unit.
        full: The score that gets full colour.
        left: Column of the first cell of every line.
        top: First line.
        size: Points.
    """
    from matplotlib.patches import Rectangle

    for word in words:
        column, line = left + word.column, top + word.line
        if word.unit is None:
            write_cells(axes, column, line, word.text, size, "#777777")
            continue
        background = colour(scores[word.unit], full)
        axes.add_patch(Rectangle((column, line + 0.04), cell_len(word.text), 0.92, facecolor=background, linewidth=0))
        write_cells(axes, column, line, word.text, size, ink(background))


def outline_words(
    axes: "Axes", words: Sequence[Placed], evidence: Float[np.ndarray, " U"], left: float, top: float
) -> None:
    """Outline words that touch the evidence, neighbours in a line together; arguments as of ``write_words``."""
    from matplotlib.patches import Rectangle

    runs: list[list[Placed]] = []
    for word in words:
        if word.unit is None or not evidence[word.unit]:
            continue
        before = runs[-1][-1] if runs else None
        if before and (before.line, before.column + cell_len(before.text)) == (word.line, word.column):
            runs[-1].append(word)
        else:
            runs.append([word])
    for run in runs:
        first, last = run[0], run[-1]
        width = last.column + cell_len(last.text) - first.column
        place = left + first.column, top + first.line + 0.04
        axes.add_patch(Rectangle(place, width, 0.92, fill=False, edgecolor="#000000", linewidth=1.2))


@dataclass(frozen=True)
class _Layout:
    """How maps of one size are laid out.

    Attributes:
        width: Columns of text.
        size: Points of the font.
        line: Inches of a line.
        picture_lines: Lines that an image may take.
    """

    width: int
    size: float
    line: float
    picture_lines: int

    @property
    def column(self) -> float:
        """Inches of a column."""
        return CELL_INCHES * self.size

    def lines(self, heat: HeatMap, placed: Sequence[Placed]) -> float:
        """Lines of one map with its title."""
        return 1.2 + (placed[-1].line + 1 if placed else 0) + (self.picture_lines + 1 if _has_picture(heat) else 0)


def to_figure(heat: HeatMap) -> "Figure":
    """Draw the maps."""
    from matplotlib.figure import Figure

    (title, scores), *others = heat.blocks()
    # As many maps side by side as below each other, and a page that is wide enough for them.
    across = min(ceil(sqrt(len(others))), _MOST_ACROSS) if others else 1
    per_small = CELL_INCHES * _SMALL
    columns = max(_WIDTH, ceil((across * (_SMALL_WIDTH + _GAP) - _GAP) * per_small / (CELL_INCHES * _SIZE)))
    large = _Layout(columns, _SIZE, _LINE, _PICTURE_LINES)
    words = lay_out(heat.pieces, large.width)
    fitting = int((columns * large.column / per_small - _GAP * (across - 1)) / across)
    small = _Layout(fitting, _SMALL, _SMALL_LINE, _SMALL_PICTURE_LINES)
    small_words = lay_out(heat.pieces, small.width)
    top = (2 + large.lines(heat, words) + 1) * _LINE
    below = ceil(len(others) / across) * (small.lines(heat, small_words) + 1) * _SMALL_LINE if others else 0
    width, height = (columns + 2) * large.column, top + below
    figure = Figure(figsize=(width, height), dpi=150)
    axes = _axes(figure, large, 0, 0, width, height)
    write_cells(axes, 0, 0, shorten(heat.caption, columns, placeholder=" …"), _SIZE, bold=True)
    scale = f"   (full colour = {heat.full:.3g}{'' if heat.evidence is None else '; outlined: evidence'})"
    title = shorten(title, columns - len(scale), placeholder=" …")
    _draw(axes, heat, title + scale, scores, words, large, 0, 1.6)
    for index, (name, of_token) in enumerate(others):
        row, place = divmod(index, across)
        left = large.column + place * (small.width + _GAP) * small.column
        down = top + row * (small.lines(heat, small_words) + 1) * _SMALL_LINE
        part = _axes(figure, small, left, down, width, height)
        _draw(part, heat, name, of_token, small_words, small, 0, 0)
    return figure


def _axes(figure: "Figure", layout: _Layout, left: float, top: float, width: float, height: float) -> "Axes":
    """Axes over the whole page whose columns and lines begin at a place, in inches."""
    axes = figure.add_axes(
        (0, 0, 1, 1),
        xlim=(-(left or layout.column) / layout.column, (width - (left or layout.column)) / layout.column),
        ylim=((height - top) / layout.line, -top / layout.line),
    )
    axes.axis("off")
    axes.patch.set_alpha(0)
    return axes


def _has_picture(heat: HeatMap) -> bool:
    return heat.picture is not None and bool(heat.grids)


def _draw(
    axes: "Axes",
    heat: HeatMap,
    title: str,
    scores: Float[np.ndarray, " U"],
    words: Sequence[Placed],
    layout: _Layout,
    left: float,
    top: float,
) -> None:
    """One map with its title."""
    write_cells(axes, left, top, shorten(title, layout.width, placeholder=" …"), layout.size, "#555555")
    drawn, below = heat.drawn(scores), top + 1.2
    if _has_picture(heat):
        at = left
        image, overlaid = heat.pictures(drawn, heat.full)
        # The image itself stands once, beside the first map.
        for pixels in (image, overlaid) if layout.size == _SIZE else (overlaid,):
            # Side by side, each in half of the width at most, undistorted: a line is so many columns high.
            height, width = pixels.shape[:2]
            per_line = layout.line / layout.column
            columns = min(layout.width / 2 - 1, layout.picture_lines * per_line * width / height)
            bottom = below + columns * height / width / per_line
            limits, extent = (axes.get_xlim(), axes.get_ylim()), (at, at + columns, bottom, below)
            axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none")
            axes.set(xlim=limits[0], ylim=limits[1])
            if pixels is overlaid and (evidence := heat.evidence_in_picture((height, width))) is not None:
                draw_outline(axes, evidence, extent, scale=layout.size / _SIZE)
            at += columns + 1
        below += layout.picture_lines + 1
    write_words(axes, words, drawn, heat.full, left, below, layout.size)
    if heat.evidence is not None:
        outline_words(axes, words, heat.evidence, left, below)


def to_png(heat: HeatMap, path: Path) -> None:
    """Draw the maps into an image file; a script that no installed font has is named in the log.

    Raises:
        OSError: The file cannot be written.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said below, once
        to_figure(heat).savefig(path, format="png")
    if lacking := without_glyph("".join(piece.text for piece in heat.pieces) + "".join(heat.target_texts)):
        _LOG.warning(
            "%s: no installed font has %s, drawn as boxes: install one that does (Noto has fonts of all scripts)",
            path,
            shorten(" ".join(lacking), _MOST_NAMED, placeholder=" …"),
        )
