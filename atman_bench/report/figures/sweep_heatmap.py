"""mAP and mAR at every point of a sweep's grid (the paper's Fig. 11)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from atman_bench.methods.floors import FLOORS
from atman_bench.report.figures._base import PAPER_METRICS, WIDTH, FigureSpec
from atman_bench.report.grid import axes_of, axis_title, best, matrix, place_of

DARKEST = 0.6
"""How dark the highest number is: black on it, and a black frame around it, must stay readable."""
UPRIGHT = 14
"""Grids of more columns have upright numbers."""


def plot(frame: pd.DataFrame) -> Figure:
    """A grey square for each point with its number, dark is high, crossed out without one; a frame around the best."""
    *down, across = map(axis_title, axes_of(frame))
    means = {name: matrix(frame, metric) for name, metric in PAPER_METRICS.items()}
    n_rows, n_columns = next(iter(means.values())).shape
    # Up to seven numbers fit half a page, and up to fourteen a page, before they are turned upright.
    halves, height = n_columns <= 7, 0.24 if n_columns <= UPRIGHT else 0.36
    figure = Figure(figsize=(WIDTH, 1.7 + height * n_rows * (1 if halves else 2)), layout="constrained")
    panels = figure.subplots(*((1, 2) if halves else (2, 1)), squeeze=False).ravel()
    chosen = best(frame)
    notes = []
    for axis, (name, metric) in zip(panels, PAPER_METRICS.items(), strict=True):
        _draw(axis, means[name])
        if chosen is not None:
            column, row = place_of(frame, chosen.point)
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=2, clip_on=False))
        axis.set_title(f"{name} × 100")
        axis.set_xlabel(across)
        axis.set_ylabel(" · ".join(down))
        if floors := _floors(frame, metric):
            notes.append(f"{name} of floors: {floors}")
    if chosen is not None:
        on = f"the {chosen.tuning.n} tuning samples" if chosen.held_out else "the samples that are shown"
        notes.append(f"frame: best by mAP on {on}")
    figure.supxlabel("\n".join(notes), fontsize=8)
    return figure


def _draw(axis: Axes, means: pd.DataFrame) -> None:
    values = means.to_numpy()
    # Means of 0 are those of controls that change nothing: a scale from there would leave no contrast for the others.
    finite = values[np.isfinite(values) & (values > 0)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    span = max(high - low, 1e-9) / DARKEST
    axis.imshow(np.ma.masked_invalid(values), cmap="Greys", vmin=low, vmax=low + span, aspect="auto")
    rotation, size = (90, 6) if means.shape[1] > UPRIGHT else (0, 7)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="xx", linewidth=0))
            continue
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", rotation=rotation, fontsize=size)
    axis.set_xticks(range(means.shape[1]), map(str, means.columns), rotation=rotation, fontsize=size)
    axis.set_yticks(range(means.shape[0]), means.index)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _floors(frame: pd.DataFrame, metric: str) -> str:
    """``uniform 12.3``: what the numbers have to beat."""
    rows = frame[frame["metric"].eq(metric) & frame["method"].isin(FLOORS.names)]
    means = 100 * rows.groupby("method")["value"].mean()
    return ", ".join(f"{floor} {mean:.1f}" for floor, mean in means.items())


SPEC = FigureSpec(
    "mAP and mAR at every point of a sweep, as a heat map (Fig. 11)",
    metrics=tuple(PAPER_METRICS.values()),
    columns=("point",),
    plot=plot,
)
