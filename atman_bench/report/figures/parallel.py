"""How far perturbations run in parallel: what larger batches and more workers gain (the paper's Fig. 6)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from atman_bench.report.costs import most_parallel
from atman_bench.report.figures._base import WIDTH
from atman_bench.report.figures._costs import MARKERS, ScaleFigureSpec, explain_marks, mark_failures


def plot(frame: pd.DataFrame) -> Figure:
    """Four panels over the batch, a line for each number of workers."""
    figure = Figure(figsize=(WIDTH + 0.8, 5.4), layout="constrained")
    axes = figure.subplots(2, 2)
    panels = {
        "seconds": frame["time"],
        "peak memory, MB": frame["peak"] / 1e6,
        "speed-up": frame["speed_up"],
        "efficiency": frame["efficiency"],
    }
    batches = sorted(frame["batch"].unique())
    for axis, (label, values) in zip(axes.flat, panels.items(), strict=True):
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
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    case = frame.iloc[0]
    lines = [
        f"{case['method']}:{case['variant']} on {case['model']}, {case['tokens']} tokens; workers share the threads",
        "efficiency: speed-up / how many times as many perturbations run at once (1: both divide the time, as in A.1)",
    ]
    for _, best in frame.nlargest(1, "speed_up").iterrows():
        lines.append(
            f"fastest: {best['batch']:g} per pass, {best['workers']} worker{'' if best['workers'] == 1 else 's'}: "
            f"{best['speed_up']:.2f} times as fast, efficiency {best['efficiency']:.2f}"
        )
    explain_marks(figure, frame, lines, "hollow: extrapolated" if frame["extrapolated"].any() else "")
    return figure


SPEC = ScaleFigureSpec(
    summary="perturbations per pass and workers against time, memory, speed-up and efficiency (Fig. 6)",
    select=most_parallel,
    plot=plot,
)
