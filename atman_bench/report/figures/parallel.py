"""How far perturbations run in parallel: batch and workers against time, speed-up and memory (the paper's Fig. 6)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from atman_bench.report.figures._base import WIDTH
from atman_bench.report.figures._costs import MARKERS, ScaleFigureSpec, explain_marks, mark_failures

_CASE = ["model", "method", "variant", "tokens"]


def select(frame: pd.DataFrame) -> pd.DataFrame:
    """The method, model and length with most batches and workers; cells whose batch is known."""
    known = frame[frame["batch"].notna()]
    if known.empty:
        return known
    largest = max((part for _, part in known.groupby(_CASE)), key=len)
    return largest if len(largest) > 1 else known.iloc[:0]


def plot(frame: pd.DataFrame) -> Figure:
    """Three panels over the batch, a line for each number of workers; speed-up is over the slowest single worker."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    single = frame.loc[frame["workers"] == frame["workers"].min()]
    slowest = single.loc[single["batch"] == single["batch"].min(), "time"].max()
    panels = {"seconds": frame["time"], "speed-up": slowest / frame["time"], "peak memory, MB": frame["peak"] / 1e6}
    batches = sorted(frame["batch"].unique())
    for axis, (label, values) in zip(axes, panels.items(), strict=True):
        for place, (workers, part) in enumerate(frame.assign(value=values).groupby("workers")):
            shown = part[part["value"].notna()].sort_values("batch")
            estimated = label != "peak memory, MB" and bool(shown["extrapolated"].any())
            axis.plot(
                shown["batch"],
                shown["value"],
                color="black",
                linewidth=1,
                linestyle="-" if place == 0 else "--",
                marker=MARKERS[place % len(MARKERS)],
                markersize=5,
                markerfacecolor="white" if estimated else None,
                label=f"{workers} worker{'' if workers == 1 else 's'}",
            )
            mark_failures(axis, part[part["status"] != "ok"], "batch", place)
        axis.set_xscale("log", base=2)
        axis.set_xticks(batches, [f"{batch:g}" for batch in batches])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(bottom=0)
        axis.set_xlabel("perturbations per pass")
        axis.set_ylabel(label)
    axes[0].legend()
    model, method, variant, tokens = frame[_CASE].iloc[0]
    explain_marks(figure, frame, [f"{method}:{variant} on {model}, {tokens} tokens"])
    return figure


SPEC = ScaleFigureSpec(
    summary="perturbations per pass and workers against time, speed-up and memory (Fig. 6)",
    select=select,
    plot=plot,
)
