"""Memory and time over model sizes, a panel for each method, a colour for each length (the paper's Figs 5 and 7)."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from math import ceil
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from atman_bench.profiling.rows import PLAIN, ScaleStatus
from atman_bench.report._paper_costs import OOM, Reading, paper_reading
from atman_bench.report.costs import mark_simulated
from atman_bench.report.figures._costs import LIGHTNING, MARKERS, MARKS, ScaleFigureSpec, explain_marks

BASELINE_GREEN = "#009e73"
"""Of a plain pass, as in the paper; told from the colours of the lengths by the colour-blind too."""

_PANEL = 2.5, 2.2
"""Inches."""

_BAND = 0.075
"""Share of a panel's height that the marks of one line take, above everything else."""

_LOG_FROM = 10
"""Sizes that differ by more than this factor would lie on each other on a linear axis."""

_NUMBERS = {"total": (1e-9, "-", "+"), "time": (1.0, "--", "x")}
"""What is drawn, memory on the left axis and time on the right: the scale of its unit, its line, the paper's marker."""


@dataclass(frozen=True)
class _Line:
    """How cells of one sequence length look; with one model there is one line, over the lengths."""

    label: str
    colour: str
    marker: str


def select(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells of one worker, if they have several lengths or methods."""
    alone = frame[frame["workers"] == 1]
    explained = alone[alone["method"] != PLAIN]
    return alone if len(explained[["name", "tokens"]].drop_duplicates()) > 1 else alone.iloc[:0]


def plot(frame: pd.DataFrame) -> Figure:
    """Solid: peak memory with the weights, left. Dashed: time, right. Green: a plain pass at the greatest length.

    With one model there is no size to go along, and the sequence length is on the x-axis.
    """
    frame = mark_simulated(frame)
    frame = frame.assign(parameters=frame.groupby("model")["parameters"].transform("max"))
    if frame["parameters"].notna().any():  # a model that did not load has no size to be placed at
        frame = frame[frame["parameters"].notna()]
    one_model = frame["parameters"].nunique() <= 1
    frame = frame.assign(x=frame["tokens" if one_model else "parameters"], line=0 if one_model else frame["tokens"])
    explained, baseline = frame[frame["method"] != PLAIN], _baseline(frame)
    lines = _lines(sorted(explained["line"].unique()))
    names = sorted(explained["name"].unique(), key=lambda name: (not name.startswith("atman"), name))
    columns = min(len(names), 3 if len(names) <= 6 else 4)
    rows = ceil(len(names) / columns)
    figure = Figure(figsize=(_PANEL[0] * columns + 2.0, _PANEL[1] * rows + 0.8), layout="constrained")
    for place, name in enumerate(names):
        axis = figure.add_subplot(rows, columns, place + 1)
        cells = explained[explained["name"] == name]
        axis.set_title(f"{name}, time ≈" if cells["extrapolated"].any() else name)
        right = _panel(axis, cells, baseline, lines)
        _set_x(axis, frame, one_model)
        if place % columns == 0:
            axis.set_ylabel("GB, weights included")
        if place % columns == columns - 1 or place == len(names) - 1:
            right.set_ylabel("seconds")
        if place + columns >= len(names):
            axis.set_xlabel("tokens" if one_model else "model size")
    figure.legend(handles=list(_handles(explained, baseline, lines)), loc="outside right center", handlelength=2.8)
    extrapolated = "≈: extrapolated from some perturbations" if explained["extrapolated"].any() else ""
    explain_marks(figure, explained, [], extrapolated)
    return figure


def _baseline(frame: pd.DataFrame) -> pd.DataFrame:
    """Plain passes of the greatest length: with transformers' defaults, as in the paper, if all sizes have them."""
    plain = frame[(frame["method"] == PLAIN) & frame["total"].notna()]
    longest = plain[plain["tokens"] == plain["tokens"].max()]
    variants = [longest[longest["variant"] == variant] for variant in ("default", "lean")]
    chosen = max(variants, key=lambda cells: cells["model"].nunique())
    if len(chosen) == 1:  # a level line across all lengths
        ends = frame["x"].agg(["min", "max"])
        return pd.concat([chosen.assign(x=x) for x in ends])
    return chosen.sort_values("x")


def _lines(keys: list[int]) -> Mapping[int, _Line]:
    """A colour and a marker for each length: from dark to light, so that they differ in grey too."""
    if keys == [0]:
        return {0: _Line("all lengths", "black", "o")}
    shades = matplotlib.colormaps["plasma"](np.linspace(0, 0.85, len(keys)))
    return {
        tokens: _Line(f"{tokens} tokens", to_hex(shade), marker)
        for tokens, shade, marker in zip(keys, shades, cycle(MARKERS), strict=False)
    }


def _panel(axis: Axes, cells: pd.DataFrame, baseline: pd.DataFrame, lines: Mapping[int, _Line]) -> Axes:
    """Draw one method; returns the axis of its times."""
    right = axis.twinx()
    right.spines["right"].set_visible(True)
    marked = _mark_failures(axis, cells, lines)
    for side, (number, (scale, style, cross)) in zip((axis, right), _NUMBERS.items(), strict=True):
        side.plot(baseline["x"], scale * baseline[number], color=BASELINE_GREEN, linestyle=style, linewidth=1.8)
        highest = [scale * baseline[number].max()]
        for key, line in lines.items():
            part = cells[(cells["line"] == key) & (cells["status"] == ScaleStatus.OK) & cells[number].notna()]
            if part.empty:
                continue
            part = part.sort_values(["x", "units"]).drop_duplicates("x", keep="last")
            side.plot(
                part["x"],
                scale * part[number],
                color=line.colour,
                linestyle=style,
                linewidth=1.2,
                marker=line.marker,
                markersize=4,
                markerfacecolor=line.colour if number == "total" else "white",
            )
            highest.append(scale * part[number].max())
        for row, reading in _readings(cells):
            value = reading.seconds if number == "time" else reading.gigabytes
            if value is not None:
                side.plot(row["x"], value, cross, markersize=5, color=lines[row["line"]].colour)
                highest.append(value)
        top = pd.Series(highest).max()
        side.set_ylim(0, 1.08 * (1 if pd.isna(top) else top) / (1 - _BAND * marked))
    return right


def _mark_failures(axis: Axes, cells: pd.DataFrame, lines: Mapping[int, _Line]) -> int:
    """Put cells without a number at the top of a panel, a row for each line that has any; returns how many rows."""
    of_paper = {row["fingerprint"] for row, reading in _readings(cells) if reading == OOM}
    failed = cells[(cells["status"] != ScaleStatus.OK) | cells["fingerprint"].isin(of_paper)]
    keys = [key for key in lines if failed["line"].eq(key).any()]
    for row in failed.to_dict("records"):
        line, height = lines[row["line"]], 1 - _BAND * (keys.index(row["line"]) + 0.5)
        ours = row["status"] != ScaleStatus.OK
        marker = MARKS[row["status"]][0] if ours else LIGHTNING
        axis.plot(
            row["x"],
            height,
            linestyle="none",
            marker=marker,
            markersize=8,
            color=line.colour,
            markerfacecolor=line.colour if ours else "white",
            transform=axis.get_xaxis_transform(),
        )
    return len(keys)


def _readings(cells: pd.DataFrame) -> Iterator[tuple[dict[Hashable, Any], Reading]]:
    """Cells that the paper's Fig. 5 shows too, with what it shows."""
    for row in cells.to_dict("records"):
        reading = paper_reading(row["model"], row["method"], row["variant"], row["tokens"])
        if reading is not None:
            yield row, reading


def _set_x(axis: Axes, frame: pd.DataFrame, one_model: bool) -> None:
    """Ticks at the lengths, or at the models by their names; panels share them."""
    ticks = frame[["x", "model"]].drop_duplicates("x").sort_values("x")
    low, high = ticks["x"].min(), ticks["x"].max()
    logarithmic = high > _LOG_FROM * low
    axis.set_xscale("log" if logarithmic else "linear")
    margin = (high / low) ** 0.08 if logarithmic else 0.08 * ((high - low) or high)
    axis.set_xlim((low / margin, high * margin) if logarithmic else (low - margin, high + margin))
    labels = [str(x) if one_model else _size_of(model, x) for x, model in ticks.itertuples(index=False, name=None)]
    axis.set_xticks(ticks["x"], labels, rotation=60, fontsize=7)
    axis.xaxis.set_minor_locator(NullLocator())


def _size_of(model: str, parameters: float) -> str:
    """A model by its size: ``random:SIZE`` is named after it."""
    family, _, size = model.partition(":")
    return size if family == "random" else f"{parameters / 1e6:.0f}M"


def _handles(explained: pd.DataFrame, baseline: pd.DataFrame, lines: Mapping[int, _Line]) -> Iterator[Line2D]:
    """What the legend explains."""
    if len(lines) > 1:
        for line in lines.values():
            yield Line2D([], [], color=line.colour, marker=line.marker, markersize=4, label=line.label)
    if len(baseline):
        name = f"{PLAIN}:{baseline['variant'].iloc[0]}, {baseline['tokens'].iloc[0]} tokens"
        yield Line2D([], [], color=BASELINE_GREEN, linewidth=1.8, label=name)
    black = partial(Line2D, [], [], color="black")
    yield black(linestyle="-", marker="o", markersize=4, label="peak memory (left)")
    yield black(linestyle="--", marker="o", markersize=4, markerfacecolor="white", label="time (right)")
    readings = [reading for _, reading in _readings(explained)]
    if any(reading != OOM for reading in readings):
        yield black(linestyle="none", marker="+", label="memory in the paper")
        yield black(linestyle="none", marker="x", label="time in the paper")
    if OOM in readings:
        label = "did not fit in the paper"
        yield black(linestyle="none", marker=LIGHTNING, markersize=8, markerfacecolor="white", label=label)


SPEC = ScaleFigureSpec(
    summary="peak memory with weights and time over model sizes, a panel for each method (Figs 5 and 7)",
    select=select,
    plot=plot,
)
