"""A map for every phrase of a generation, all from one sweep (the paper's Fig. 1a)."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from atman_bench.report._scales import scale_name
from atman_bench.report.figures._base import FigureSpec
from atman_bench.report.figures._panels import Panel, draw_panels
from atman_bench.report.heatmap import HeatMap
from atman_bench.report.tables import CELL

MOST_PHRASES = 6
"""Panels beside the picture; generations of more words are cut into so many phrases."""


def plot(frame: pd.DataFrame) -> Figure:
    """A row for each example: its picture if it has one, then a map for each of its phrases, or words without any.

    Args:
        frame: A row for each map, with ``example`` and ``heat`` as in the figure of examples; of several methods those
            that explain tokens one by one.
    """
    rows = []
    for title, method, variant, heat in frame[["example", *CELL, "heat"]].itertuples(index=False, name=None):
        if heat.per_target is not None:
            picture = [Panel("picture", heat, None)] if heat.grids else []
            rows.append((str(title), [*picture, *phrases_of(heat, heat.per_target, scale_name(method, variant))]))
    return draw_panels(rows)


def phrases_of(heat: HeatMap, per_target: Float[np.ndarray, "T U"], scale: str) -> list[Panel]:
    """A panel for each phrase, else for each word of the target, or each of ``MOST_PHRASES`` runs of words."""
    if heat.phrases:
        return [Panel(f"“{phrase.text}”", heat, scores, scale) for phrase, scores in heat.phrase_maps()]
    starts = [*word_starts(heat.target_texts), len(heat.target_texts)]
    words = len(starts) - 1
    parts = min(words, MOST_PHRASES)
    borders = [starts[round(i * words / parts)] for i in range(parts + 1)]
    return [
        Panel(f"“{''.join(heat.target_texts[start:end]).strip() or '␣'}”", heat, per_target[start:end].mean(0), scale)
        for start, end in pairwise(borders)
    ]


def word_starts(texts: Sequence[str]) -> list[int]:
    """Which tokens begin a word: those after white space; of a vocabulary that shows none, all."""
    if not any(text[:1].isspace() or text[-1:].isspace() for text in texts):
        return list(range(len(texts)))
    starts: list[int] = []
    begun = False  # whether the last word has a visible character yet
    for i, text in enumerate(texts):
        if not starts or (begun and (text[:1].isspace() or texts[i - 1][-1:].isspace())):
            starts.append(i)
            begun = False
        begun = begun or bool(text.strip())
    return starts


SPEC = FigureSpec(
    "a map for every phrase of a generation, from one sweep (Fig. 1a)",
    metrics=(),
    columns=("example", "heat"),
    plot=plot,
)
