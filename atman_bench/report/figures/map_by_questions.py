"""mAP of every method by the number of questions about the same paragraph (the paper's Fig. 8b)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.report.figures._base import WIDTH, FigureSpec, cell_labels, main_cells, of_metric
from atman_bench.report.figures._styles import style_of

BINS = 6


def plot(frame: pd.DataFrame) -> Figure:
    """A line for each method (its main variant), over groups of question counts of about equal numbers of samples.

    The number of samples of each group is below it.
    """
    of_sample = of_metric(frame, "average_precision").drop_duplicates("uid").set_index("uid")["n_questions"].astype(int)
    # Quantiles of few samples leave bins between them empty: those have no place on the axis.
    bins = pd.qcut(of_sample, BINS, duplicates="drop").cat.remove_unused_categories()
    spans = of_sample.groupby(bins, observed=True).agg(["min", "max", "size"])
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    cells = main_cells(frame, "average_precision")
    labels = cell_labels(list(cells), frame)
    for i, (cell, rows) in enumerate(cells.items()):
        style = style_of(cell[0])
        # Side by side, so that whiskers do not hide each other.
        shift = 0.5 * (i / max(len(cells) - 1, 1) - 0.5)
        of_bin = rows.groupby(rows["uid"].map(bins).cat.codes)
        places = np.array([place + shift for place, _ in of_bin])
        axis.plot(
            places,
            [100 * part["value"].mean() for _, part in of_bin],
            color=style.colour,
            linewidth=0.9,
            linestyle=style.line,
            marker=style.marker,
            markersize=5,
            label=labels[i],
        )
        for place, (_, part) in zip(places, of_bin, strict=True):
            if interval := bootstrap_interval(part["value"].to_numpy(), part["group"].to_numpy()):
                axis.plot(
                    [place, place], [100 * interval.low, 100 * interval.high], color="0.6", linewidth=0.8, zorder=1
                )
    counts = [
        f"{low if low == high else f'{low}–{high}'}\nn = {n}"
        for low, high, n in spans.itertuples(index=False, name=None)
    ]
    axis.set_xticks(range(len(spans)), counts)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("questions about the paragraph; n samples")
    axis.set_ylabel("mAP × 100, 95 % interval over groups")
    figure.legend(loc="outside right center")
    return figure


SPEC = FigureSpec(
    "mAP of every method by the number of questions about a paragraph (Fig. 8b)",
    metrics=("average_precision",),
    columns=("n_questions",),
    plot=plot,
)
