"""A map for every phrase of a generation, all from one sweep (the paper's Fig. 1a)."""

from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from atman_bench.report.figures._base import FigureSpec
from atman_bench.report.figures._panels import Panel, draw_panels
from atman_bench.report.heatmap import HeatMap

MOST_TOKENS = 6
"""Panels beside the picture; longer generations are cut into so many phrases."""


def plot(frame: pd.DataFrame) -> Figure:
    """A row for each example: its picture if it has one, then a map for each of its phrases, or tokens without any.

    Args:
        frame: A row for each map, with ``example`` and ``heat`` as in the figure of examples; of several methods those
            that explain tokens one by one.
    """
    rows = []
    for title, heat in frame[["example", "heat"]].itertuples(index=False, name=None):
        if heat.per_target is not None:
            picture = [Panel("picture", heat, None)] if heat.grids else []
            rows.append((str(title), [*picture, *phrases_of(heat, heat.per_target)]))
    return draw_panels(rows)


def phrases_of(heat: HeatMap, per_target: Float[np.ndarray, "T U"]) -> list[Panel]:
    """A panel for each phrase, else for each token of the target, or each of ``MOST_TOKENS`` runs of a longer one."""
    if heat.phrases:
        return [Panel(f"“{phrase.text}”", heat, scores) for phrase, scores in heat.phrase_maps()]
    count = len(heat.target_texts)
    borders = [round(i * count / min(count, MOST_TOKENS)) for i in range(min(count, MOST_TOKENS) + 1)]
    return [
        Panel(f"“{''.join(heat.target_texts[start:end]).strip() or '␣'}”", heat, per_target[start:end].mean(0))
        for start, end in pairwise(borders)
    ]


SPEC = FigureSpec(
    "a map for every phrase of a generation, from one sweep (Fig. 1a)",
    metrics=(),
    columns=("example", "heat"),
    plot=plot,
)
