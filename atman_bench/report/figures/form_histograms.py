"""AP and AR of single samples with and without correlated suppression, for every form (the paper's Figs 12 and 14)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.report.figures._base import METHOD_GREY, PAPER_METRICS, WIDTH, FigureSpec, of_metric
from atman_bench.report.grid import axes_of, axis_title

BINS = np.linspace(0, 100, 21)
LINES = ("-", "--", ":", "-.")


def plot(frame: pd.DataFrame) -> Figure:
    """A row of panels for each form (and further axis of the grid); the first kappa is filled, the others are lines.

    The means are in the titles, in the order of the legend.
    """
    rows = [axis for axis in axes_of(frame) if axis != "grid.kappa"]
    grid = frame[frame["point"].notna()]
    of_row = list(grid.groupby(rows, observed=True))
    figure = Figure(figsize=(WIDTH, 0.8 + 1.5 * len(of_row)), layout="constrained")
    panels = figure.subplots(len(of_row), 2, sharex=True, sharey=True, squeeze=False)
    for line, (key, part) in zip(panels, of_row, strict=True):
        for axis, (name, metric) in zip(line, PAPER_METRICS.items(), strict=True):
            means: list[str] = []
            for i, (kappa, cell) in enumerate(of_metric(part, metric).groupby("grid.kappa", observed=True)):
                values = 100 * cell["value"].to_numpy()
                axis.hist(
                    values,
                    bins=BINS,
                    histtype="stepfilled" if i == 0 else "step",
                    facecolor=METHOD_GREY if i == 0 else "none",
                    edgecolor="0.5" if i == 0 else "black",
                    linestyle="-" if i == 0 else LINES[(i - 1) % len(LINES)],
                    linewidth=0.6 if i == 0 else 1.3,
                    label=f"kappa {kappa}",
                )
                means.append(f"{values.mean():.1f}")
            form = ", ".join(f"{axis_title(a)} {value}" for a, value in zip(rows, key, strict=True))
            axis.set_title(f"{form}: means {' and '.join(means)}")
            if part is of_row[-1][1]:
                axis.set_xlabel(f"{name.removeprefix('m')} × 100 of a sample")
        line[0].set_ylabel("samples")
        line[0].yaxis.get_major_locator().set_params(integer=True)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


SPEC = FigureSpec(
    "AP and AR of single samples with and without correlated suppression, by form (Figs 12 and 14)",
    metrics=tuple(PAPER_METRICS.values()),
    columns=("grid.form", "grid.kappa"),
    plot=plot,
)
