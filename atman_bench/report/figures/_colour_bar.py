"""The colour bar of maps that share a scale."""

import numpy as np
from matplotlib.axes import Axes

from atman_bench.report._overlay import overlay


def draw_bar(axis: Axes, full: float, label: str, *, signed: bool = False, ticks: int = 3) -> None:
    """Draw a horizontal colour bar whose ticks say which score each colour is.

    Args:
        axis: Where.
        full: The score of full colour; 0 says that no map has a score above the noise.
        label: Below it.
        signed: From minus full colour on, instead of from 0.
        ticks: Scores that are written from 0 to full colour: 2 or 3.
    """
    axis.spines[:].set_visible(False)
    axis.set_yticks([])
    axis.tick_params(labelsize=6, length=2, pad=1)
    axis.set_xlabel(label, fontsize=6.5, labelpad=1)
    low = -1.0 if signed else 0.0
    strength = np.linspace(low, 1, 256)[None]
    white = np.full((1, 256, 3), 255, np.uint8)
    axis.imshow(overlay(white, strength, 1.0 if full > 0 else 0.0), extent=(low, 1, 0, 1), aspect="auto")
    if full <= 0:
        axis.set_xticks([0], ["nothing above the noise"])
        return
    # Colour is the square root of the score, so half the colour is a quarter of the score.
    places = np.linspace(0, 1, ticks)
    if signed:
        places = np.unique(np.concatenate([-places, places]))
    axis.set_xticks(places, [f"{np.sign(p) * p * p * full:.2g}" for p in places])
