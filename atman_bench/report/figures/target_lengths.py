"""How many units the evidence of a sample has (the paper's Fig. 8a)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.report.figures._base import METHOD_GREY, WIDTH, FigureSpec


def plot(frame: pd.DataFrame) -> Figure:
    """A histogram over samples; the mean is in the axis label, since the distribution has a long tail."""
    lengths = frame.drop_duplicates("uid")["n_positive"].to_numpy()
    figure = Figure(figsize=(0.7 * WIDTH, 2.6), layout="constrained")
    axis = figure.subplots()
    edges = (np.arange(lengths.max() + 1) + 0.5).tolist()
    axis.hist(lengths, bins=edges, color=METHOD_GREY, edgecolor="black", linewidth=0.6)
    axis.set_xlabel(f"units of evidence in a sample (mean {lengths.mean():.1f})")
    axis.set_ylabel("samples")
    return figure


SPEC = FigureSpec(
    "histogram of the number of units of evidence per sample (Fig. 8a)",
    metrics=("average_precision",),
    plot=plot,
)
