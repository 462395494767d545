"""What adaptive AtMan keeps of the exact sweep's mAP and mAR, by the share of its forward tokens (the paper's A.15)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.report.figures._base import PAPER_METRICS, WIDTH, FigureSpec, of_metric

LINES = {"average_precision": ("-", "o", "black"), "average_recall": ("--", "s", "white")}
"""Line, marker and its fill."""


def plot(frame: pd.DataFrame) -> Figure:
    """A line for each metric and set of AtMan's options; whiskers are intervals of the paired difference."""
    figure = Figure(figsize=(0.7 * WIDTH, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, metric in PAPER_METRICS.items():
        line, marker, fill = LINES[metric]
        for options, budgets in _pairs(of_metric(frame, metric)):
            budgets.sort(key=_tokens)
            sizes = [len(pairs) for pairs in budgets]
            n = f"n = {min(sizes)}" + (f" to {max(sizes)}" if max(sizes) > min(sizes) else "")
            points = [
                (_tokens(pairs), 100 * (pairs["value"] / pairs["exact_value"].mean()).mean()) for pairs in budgets
            ]
            axis.plot(
                *zip(*points, (100, 100), strict=True),
                color="black",
                linestyle=line,
                linewidth=1,
                marker=marker,
                markersize=5,
                markerfacecolor=fill,
                label=f"{name}, {options}, {n}",
            )
            for (place, _), pairs in zip(points, budgets, strict=True):
                exact = pairs["exact_value"].mean()
                kept = 1 + (pairs["value"] - pairs["exact_value"]).to_numpy() / exact
                if interval := bootstrap_interval(kept, pairs["group"].to_numpy()):
                    ends = 100 * np.array([interval.low, interval.high])
                    axis.plot([place, place], ends, color="0.4", linewidth=0.8, marker="_", markersize=4, zorder=1)
    axis.axhline(100, color="0.6", linewidth=0.6, zorder=0)
    axis.set_xlim(0, 105)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("forward tokens, in % of the exact sweep's")
    axis.set_ylabel("metric, in % of the exact sweep's\n(95 % interval of the paired difference)")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """Options of AtMan, with one table per budget: its samples that the exact sweep explained too."""
    # Budgets alone: what ends a search earlier, or orders it otherwise, stands behind the budget in a variant's name.
    adaptive = frame[(frame["method"] == "adaptive") & frame["variant"].str.fullmatch(r".+-budget[\d.e+-]+")]
    for options, cells in adaptive.groupby(adaptive["variant"].str.rpartition("-budget")[0]):
        exact = frame[(frame["method"] == "atman") & (frame["variant"] == options)].set_index("uid")
        tables = [
            cell.join(exact[["value", "forward_tokens"]].add_prefix("exact_"), on="uid", how="inner")
            for _, cell in cells.groupby("variant")
        ]
        # Without the exact sweep there is nothing to compare with, and nothing to be a share of.
        if tables := [pairs for pairs in tables if pairs["exact_value"].sum() > 0]:
            yield str(options), tables


def _tokens(pairs: pd.DataFrame) -> float:
    """Forward tokens in % of the exact sweep's."""
    return float(100 * pairs["forward_tokens"].sum() / pairs["exact_forward_tokens"].sum())


SPEC = FigureSpec(
    "mAP and mAR of adaptive AtMan by the share of the exact sweep's forward tokens (A.15)",
    metrics=tuple(PAPER_METRICS.values()),
    columns=("forward_tokens",),
    methods=("adaptive", "atman"),
    plot=plot,
)
