"""One explanation as a heat map: in the terminal, as a web page, as a picture, and as plain data.

White is no relevance, red speaks for the target, blue against it. Each map has its own linear scale: full colour is its
largest positive score, or its largest magnitude where no score is positive; stronger negative scores are clipped.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float
from rich.cells import cell_len
from rich.text import Text

_RED = (0xD6, 0x2F, 0x27)
_BLUE = (0x2C, 0x5A, 0xB4)
_PNG_COLUMNS = 96
_PNG_LINE_INCHES = 0.24
_PNG_FONT_SIZE = 10.0


@dataclass(frozen=True)
class Piece:
    """A stretch of the prompt: one unit, or (with unit None) text between units that is not explained."""

    text: str
    unit: int | None


@dataclass(frozen=True)
class HeatMap:
    """What is drawn.

    Attributes:
        caption: Model, method and variant, in words.
        texts: What each of the U units reads.
        scores: Relevance of each unit, averaged over the target tokens.
        target_texts: What each of the T target tokens reads.
        per_target: Relevance for each target token, or None where only the mean is explained.
        prompt: The whole prompt, or None where it was given as token ids.
        spans: Half-open character range of each unit in the prompt, ascending; None exactly if ``prompt`` is.
    """

    caption: str
    texts: tuple[str, ...]
    scores: Float[np.ndarray, " U"]
    target_texts: tuple[str, ...]
    per_target: Float[np.ndarray, "T U"] | None = None
    prompt: str | None = None
    spans: tuple[tuple[int, int], ...] | None = None

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The prompt from its first to its last character, cut at the units' borders."""
        if self.prompt is None or self.spans is None:
            return tuple(Piece(text, unit) for unit, text in enumerate(self.texts))
        pieces: list[Piece] = []
        done = 0
        for unit, (start, end) in enumerate(self.spans):
            if start > done:
                pieces.append(Piece(self.prompt[done:start], None))
            # A special token is in no character of the prompt, and byte-level tokens can share one: the first of them
            # shows it, the others a dot that carries their score.
            pieces.append(Piece(self.texts[unit] if start == end else self.prompt[max(start, done) : end] or "·", unit))
            done = max(done, end)
        if done < len(self.prompt):
            pieces.append(Piece(self.prompt[done:], None))
        return tuple(pieces)

    def blocks(self) -> Iterator[tuple[str, Float[np.ndarray, " U"]]]:
        """Title and scores of each map: the mean first, then one for each target token where there are several."""
        target = "".join(self.target_texts).strip()
        yield f"target “{target}”" + (" (mean over its tokens)" if len(self.target_texts) > 1 else ""), self.scores
        if self.per_target is not None and len(self.target_texts) > 1:
            for index, (text, scores) in enumerate(zip(self.target_texts, self.per_target, strict=True), start=1):
                yield f"target token {index} “{text.strip()}”", scores


class UnitRecord(TypedDict):
    """One unit in ``as_dict``."""

    text: str
    span: tuple[int, int] | None
    score: float


class HeatMapRecord(TypedDict):
    """What ``as_dict`` gives: a heat map as JSON writes it."""

    caption: str
    prompt: str | None
    units: list[UnitRecord]
    target_texts: list[str]
    per_target: list[list[float]] | None


def as_dict(heat: HeatMap) -> HeatMapRecord:
    """Give a heat map as plain data for JSON; higher scores are more important."""
    spans = heat.spans or (None,) * len(heat.texts)
    return {
        "caption": heat.caption,
        "prompt": heat.prompt,
        "units": [
            {"text": text, "span": span, "score": score}
            for text, span, score in zip(heat.texts, spans, heat.scores.tolist(), strict=True)
        ],
        "target_texts": list(heat.target_texts),
        "per_target": None if heat.per_target is None else heat.per_target.tolist(),
    }


def scale_of(scores: Float[np.ndarray, " U"]) -> float:
    """Score that gets full colour: the largest positive one, else the largest magnitude, else 0 for a map of zeros."""
    if not scores.size:
        return 0.0
    return float(scores.max() if scores.max() > 0 else -scores.min())


def colour(score: float, scale: float) -> str:
    """Background of a unit as ``#rrggbb``, between white and red (positive) or blue (negative)."""
    strength = min(abs(score) / scale, 1.0) if scale > 0 else 0.0
    end = _RED if score > 0 else _BLUE
    return "#" + "".join(f"{round(255 + (channel - 255) * strength):02x}" for channel in end)


def ink(background: str) -> str:
    """Black or white, whichever is easier to read on a background ``#rrggbb``."""
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"


def to_terminal(heat: HeatMap) -> Text:
    """Draw the mean as coloured text, and list the highest units of it and of every target token.

    The lists carry the result where a terminal shows no colour, and keep long targets short.
    """
    (title, mean), *others = heat.blocks()
    scale = scale_of(mean)
    text = Text.assemble((heat.caption, "bold"), f"\n{title}\n\n")
    for piece in heat.pieces:
        if piece.unit is None:
            text.append(piece.text, style="dim")
        else:
            background = colour(mean[piece.unit], scale)
            text.append(_visible(piece.text), style=f"{ink(background)} on {background}")
    text.append(f"\n\nfull colour = {scale:.3g}; highest: {_highest(heat, mean)}")
    for title, scores in others:
        text.append(f"\n{title}: {_highest(heat, scores)}")
    return text


def _highest(heat: HeatMap, scores: Float[np.ndarray, " U"]) -> str:
    """List the five units with the highest positive scores."""
    best = [int(unit) for unit in np.argsort(-scores, kind="stable")[:5] if scores[unit] > 0]
    return (
        ", ".join(f"“{_visible(heat.texts[unit]).strip()}” {scores[unit]:.3g}" for unit in best) or "none is positive"
    )


def _visible(text: str) -> str:
    """Show line breaks as arrows, so that a unit that is only a line break still shows its colour."""
    return text.replace("\n", "↵\n")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{caption}</title>
<style>
  body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: #fff; color: #000;
         font: 1rem/1.7 system-ui, sans-serif; }}
  h1 {{ font-size: 1.2rem; }}
  h2 {{ font-size: 1rem; margin: 2rem 0 .3rem; }}
  .map {{ white-space: pre-wrap; overflow-wrap: anywhere; color: #777; }}
  .map span {{ padding: .1em 0; border-radius: .15em; }}
  .legend {{ display: flex; gap: .5rem; align-items: center; font-size: .8rem; color: #555; }}
  .legend i {{ width: 10rem; height: .8em; border: 1px solid #ccc; }}
</style>
</head>
<body>
<h1>{caption}</h1>
<p>Relevance of each unit of the prompt for the target. Red speaks for the target, blue against it;
grey text is not explained. Point at a unit to read its score.</p>
{blocks}
</body>
</html>
"""

_BLOCK = """<section>
<h2>{title}</h2>
<div class="map">{units}</div>
<div class="legend">−{scale:.3g}<i style="background: linear-gradient(to right, {low}, #fff, {high})"></i>+{scale:.3g}
</div>
</section>"""


def to_html(heat: HeatMap) -> str:
    """Write the maps as one web page that needs no other file and no network."""
    blocks = [
        _BLOCK.format(
            title=html.escape(title),
            units="".join(_html_piece(piece, scores, scale_of(scores)) for piece in heat.pieces),
            scale=scale_of(scores),
            low=colour(-1, 1),
            high=colour(1, 1),
        )
        for title, scores in heat.blocks()
    ]
    return _PAGE.format(caption=html.escape(heat.caption), blocks="\n".join(blocks))


def _html_piece(piece: Piece, scores: Float[np.ndarray, " U"], scale: float) -> str:
    if piece.unit is None:
        return html.escape(piece.text)
    score = scores[piece.unit]
    background = colour(score, scale)
    style = f"background:{background};color:{ink(background)}"
    return f'<span style="{style}" title="{score:+.4g}">{html.escape(_visible(piece.text))}</span>'


@dataclass(frozen=True)
class _Placed:
    """A piece of text at a place on a page of fixed-width cells."""

    text: str
    unit: int | None
    line: int
    column: int


def _lay_out(pieces: tuple[Piece, ...]) -> list[_Placed]:
    """Break pieces into lines of at most ``_PNG_COLUMNS`` cells, before spaces where there are some."""
    placed: list[_Placed] = []
    line = column = 0
    for piece in pieces:
        for part in re.findall(rf"\n| *[^ \n]{{1,{_PNG_COLUMNS}}}| +", piece.text):
            shown = "↵" if part == "\n" else part
            if column and column + cell_len(shown) > _PNG_COLUMNS:
                line, column = line + 1, 0
            placed.append(_Placed(shown, piece.unit, line, column))
            column += cell_len(shown)
            if part == "\n":
                line, column = line + 1, 0
    return placed


def to_png(heat: HeatMap, path: Path) -> None:
    """Draw the maps into a picture.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    placed = _lay_out(heat.pieces)
    blocks = list(heat.blocks())
    block_lines = placed[-1].line + 3 if placed else 2
    lines = 2 + block_lines * len(blocks)
    # A cell of DejaVu Sans Mono is 0.602 em wide; one column of margin on either side.
    width = (_PNG_COLUMNS + 2) * 0.602 * _PNG_FONT_SIZE / 72
    figure = Figure(figsize=(width, lines * _PNG_LINE_INCHES), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1, _PNG_COLUMNS + 1), ylim=(lines, 0))
    axes.axis("off")

    def write(column: float, line: float, text: str, ink: str = "#000000", bold: bool = False) -> None:
        axes.text(
            column,
            line + 0.5,
            text,
            color=ink,
            family="monospace",
            size=_PNG_FONT_SIZE,
            weight="bold" if bold else "normal",
            va="center",
            parse_math=False,
        )

    write(0, 0, heat.caption, bold=True)
    for index, (title, scores) in enumerate(blocks):
        scale = scale_of(scores)
        top = 2 + index * block_lines
        write(0, top, f"{title}   (full colour = {scale:.3g})", ink="#555555")
        for item in placed:
            line = top + 1 + item.line
            if item.unit is None:
                write(item.column, line, item.text, ink="#777777")
            else:
                background = colour(scores[item.unit], scale)
                axes.add_patch(
                    Rectangle((item.column, line + 0.04), cell_len(item.text), 0.92, facecolor=background, linewidth=0)
                )
                write(item.column, line, item.text, ink=ink(background))
    figure.savefig(path, format="png")
