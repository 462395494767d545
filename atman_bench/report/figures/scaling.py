"""Time and memory of every method against the sequence length, a panel for each model size (the paper's Figs 5, 7)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from atman_bench.profiling.rows import PLAIN
from atman_bench.report._paper_costs import OOM, READINGS, Reading, above_weights_gb, paper_reading
from atman_bench.report.costs import mark_simulated
from atman_bench.report.figures._base import WIDTH
from atman_bench.report.figures._costs import LIGHTNING, MARKERS, ScaleFigureSpec, explain_marks, mark_failures

_BASELINES = {"plain:lean": "-", "plain:default": "--"}


def select(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells of one worker, if they have several lengths or methods."""
    alone = frame[frame["workers"] == 1]
    explained = alone[alone["method"] != PLAIN]
    return alone if len(explained[["name", "tokens"]].drop_duplicates()) > 1 else alone.iloc[:0]


def plot(frame: pd.DataFrame) -> Figure:
    """Log axes. Horizontal lines are a plain forward pass at the greatest length, as in the paper."""
    frame = mark_simulated(frame)
    models = frame.sort_values("parameters")["model"].drop_duplicates().tolist()
    # The same method looks the same in every panel.
    names = sorted(frame.loc[frame["method"] != PLAIN, "name"].unique(), key=lambda n: (not n.startswith("atman"), n))
    lengths = sorted(frame["tokens"].unique())
    width = max(WIDTH, 1.9 * len(models) + 1.8)
    figure = Figure(figsize=(width, 5.2), layout="constrained")
    axes = figure.subplots(2, len(models), sharex=True, sharey="row", squeeze=False)
    for column, model in enumerate(models):
        rows = frame[frame["model"] == model]
        for axis, number, scale in ((axes[0, column], "time", 1.0), (axes[1, column], "peak", 1e-6)):
            _panel(axis, rows, names, number, scale)
            _mark_paper(axis, rows, number, len(names))
        parameters = rows["parameters"].max()
        size = "" if pd.isna(parameters) else f"\n{parameters / 1e6:,.0f} M parameters"
        axes[0, column].set_title(model.rpartition("/")[2] + size)
        axes[1, column].set_xlabel("tokens")
        # The panels share their axis, and so its ticks.
        axes[1, column].set_xticks(lengths, [str(length) for length in lengths], minor=False, rotation=45)
        axes[1, column].xaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak above the model, MB")
    handles = {label: handle for a in axes.flat for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    explain_marks(figure, frame, [_PAPER] if any(label.startswith("paper: ") for label in handles) else [])
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, names: list[str], number: str, scale: float) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    for name, style in _BASELINES.items():
        plain = rows[(rows["name"] == name) & rows[number].notna()]
        if len(plain):
            longest = plain.sort_values("tokens").iloc[-1]
            label = f"{name} at {longest['tokens']}"
            axis.axhline(scale * longest[number], color="0.5", linewidth=1, linestyle=style, label=label)
    for place, name in enumerate(names):
        cells = rows[rows["name"] == name].sort_values("tokens")
        shown = cells[cells[number].notna()]
        if len(shown):
            estimated = number == "time" and bool(shown["extrapolated"].any())
            axis.plot(
                shown["tokens"],
                scale * shown[number],
                color="black" if name.startswith("atman") else "0.35",
                linewidth=1.4 if name.startswith("atman") else 0.8,
                marker=MARKERS[place % len(MARKERS)],
                markersize=5,
                markerfacecolor="white" if estimated else None,
                label=name,
            )
        mark_failures(axis, cells[cells["status"] != "ok"], "tokens", place)


def _mark_paper(axis: Axes, rows: pd.DataFrame, number: str, row: int) -> None:
    """Cells that the paper's Fig. 5 shows too; those out of memory there stand in a row of their own, in grey."""
    cells = rows[["model", "method", "variant", "tokens"]].drop_duplicates().sort_values("tokens").to_dict("records")
    for place, (method, variant) in enumerate(READINGS):
        found = {
            int(cell["tokens"]): (str(cell["model"]), reading)
            for cell in cells
            if (cell["method"], cell["variant"]) == (method, variant)
            and (reading := paper_reading(cell["model"], method, variant, cell["tokens"])) is not None
        }
        values = {
            tokens: (reading.seconds if number == "time" else _above_weights_mb(model, reading)) or float("nan")
            for tokens, (model, reading) in found.items()
            if reading != OOM
        }
        if values:
            axis.plot(
                list(values),
                list(values.values()),
                color="0.5",
                linestyle="none",
                marker="+x1"[place],
                label=f"paper: {method}" if variant == "default" else f"paper: {method}:{variant}",
            )
        failed = [tokens for tokens, (_, reading) in found.items() if reading == OOM]
        axis.plot(
            failed,
            [0.97 - 0.07 * row] * len(failed),
            color="0.5",
            linestyle="none",
            marker=LIGHTNING,
            markersize=8,
            transform=axis.get_xaxis_transform(),
        )


def _above_weights_mb(model: str, reading: Reading) -> float | None:
    above = above_weights_gb(model, reading)
    return None if above is None else 1000 * above


_PAPER = "paper: read off its Fig. 5, weights taken off, shown above 0.5 GB; grey lightning: out of memory there"

SPEC = ScaleFigureSpec(
    summary="time and memory of every method against the sequence length, by model size (Figs 5 and 7)",
    select=select,
    plot=plot,
)
