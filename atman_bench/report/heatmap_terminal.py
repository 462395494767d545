"""A heat map as coloured text for a terminal: the highest words first, then the map.

The lists carry the result where a terminal shows no colour, and keep long targets short.
"""

import numpy as np
from jaxtyping import Float
from rich.text import Text

from atman_bench.core.texts import printable
from atman_bench.report._overlay import pooled
from atman_bench.report.heatmap import HeatMap, colour, ink, visible

_PATCHES = 36
"""Rows and columns of a map; larger ones are averaged."""

_HIGHEST = 5


def to_terminal(heat: HeatMap) -> Text:
    """List the highest words of every map with their scores, and draw the first map as coloured text."""
    (title, mean), *others = heat.blocks()
    shown = heat.drawn(mean)
    scale = heat.full
    words = heat.by_words()
    (_, of_words), *others = words.blocks()
    text = Text.assemble((heat.caption, "bold"), f"\n{printable(title)}\n")
    best = _best(words.drawn(of_words))
    for unit in best:
        text.append(f"\n  {of_words[unit]:>8.3g}  ", style="dim")
        text.append(visible(words.texts[unit]).strip(), style="bold")
        text.append(f"  {_place(words, unit)}", style="dim")
    if not best:
        text.append(f"\n  {_nothing(words, of_words)}")
    text.append("\n\n")
    for grid in heat.grids:
        for row in pooled(shown[grid.members].reshape(grid.units.grid), _PATCHES):
            for score in row:
                text.append("  ", style=f"on {colour(score, scale)}")
            text.append("\n")
        text.append("\n")
    for piece in heat.pieces:
        if piece.unit is None:
            text.append(printable(piece.text), style="dim")
        else:
            background = colour(shown[piece.unit], scale)
            outlined = " underline" if heat.evidence is not None and heat.evidence[piece.unit] > 0 else ""
            text.append(visible(piece.text), style=f"{ink(background)} on {background}{outlined}")
    noise = f"; up to {heat.noise:.1g} is numerical noise, and white" if heat.noise else ""
    text.append(f"\n\nfull colour = {scale:.3g}{noise}", style="dim")
    for title, scores in others:
        highest = ", ".join(f"“{visible(words.texts[u]).strip()}” {scores[u]:.3g}" for u in _best(words.drawn(scores)))
        text.append(f"\n{printable(title)}: {highest or _nothing(words, scores)}")
    for remark in heat.remarks:
        text.append(f"\n{printable(remark)}", style="dim")
    return text


def _best(scores: Float[np.ndarray, " U"]) -> list[int]:
    """The units with the highest positive scores."""
    return [int(unit) for unit in np.argsort(-scores, kind="stable")[:_HIGHEST] if scores[unit] > 0]


def _nothing(heat: HeatMap, scores: Float[np.ndarray, " U"]) -> str:
    return "nothing moves it beyond numerical noise" if not heat.drawn(scores).any() else "none is positive"


def _place(heat: HeatMap, unit: int) -> str:
    """Where a unit stands."""
    span = None if heat.spans is None else heat.spans[unit]
    return f"characters {span[0]} to {span[1]}" if span else f"unit {unit}"
