"""How much of what is explained the evidence of a sample covers (the paper's Fig. 9): the AP of a uniform map."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.report.figures._base import METHOD_GREY, WIDTH, FigureSpec

BINS = 20


def plot(frame: pd.DataFrame) -> Figure:
    """A histogram over samples, with a line at the mean."""
    samples = frame[frame["n_units"] > 0].drop_duplicates("uid")
    coverage = 100 * (samples["n_positive"] / samples["n_units"]).to_numpy()
    figure = Figure(figsize=(0.7 * WIDTH, 2.6), layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(0, 100, BINS + 1).tolist()
    axis.hist(coverage, bins=edges, color=METHOD_GREY, edgecolor="black", linewidth=0.6)
    axis.axvline(coverage.mean(), color="black", linewidth=1.2, linestyle="--")
    axis.set_xlim(0, 100)
    axis.set_xlabel(f"share of the units that is evidence, in % (mean {coverage.mean():.1f})")
    axis.set_ylabel("samples")
    return figure


SPEC = FigureSpec(
    "histogram of the share of a sample's units that is evidence (Fig. 9)",
    metrics=("average_precision",),
    columns=("n_units",),
    plot=plot,
)
