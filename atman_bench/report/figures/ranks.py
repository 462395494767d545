"""Mean ranks of methods with Nemenyi's critical difference (Demsar 2006)."""

import pandas as pd
from matplotlib.figure import Figure

from atman_bench.report.figures._base import WIDTH, FigureSpec
from atman_bench.report.figures._styles import style_of
from atman_bench.report.leaderboard_columns import FAMILIES, REQUIRED
from atman_bench.report.ranking import rank_cells
from atman_bench.report.tables import cell_name


def plot(frame: pd.DataFrame) -> Figure:
    """A panel for each family of metrics: whiskers are half a critical difference, so that those that meet tie."""
    rankings = {name: ranking for name, columns in FAMILIES.items() if (ranking := rank_cells(frame, columns))}
    order = list(dict.fromkeys(cell for ranking in rankings.values() for cell in ranking.mean_ranks))
    figure = Figure(figsize=(WIDTH, 1.4 + 0.2 * max(len(order), 3)), layout="constrained")
    axes = figure.subplots(1, max(len(rankings), 1), sharey=True, squeeze=False)[0]
    for axis, (name, ranking) in zip(axes, rankings.items(), strict=False):
        half = ranking.critical_difference / 2
        for cell, rank in ranking.mean_ranks.items():
            style, place = style_of(cell[0]), order.index(cell)
            axis.plot([rank - half, rank + half], [place, place], color=style.colour, linewidth=1.2)
            axis.plot(rank, place, marker=style.marker, color=style.colour, markersize=5)
        numbers = f"CD = {ranking.critical_difference:.1f}, N = {ranking.n_blocks}"
        axis.set_title("\n".join([*name.replace(", ", "\n").split("\n"), numbers]), fontsize=8, loc="left")
        axis.set_xlabel("mean rank, 1 = best", fontsize=8)
        axis.grid(axis="y", linewidth=0.3)
        axis.tick_params(labelsize=7)
    axes[0].set_yticks(range(len(order)), [cell_name(*cell) for cell in order])
    axes[0].invert_yaxis()
    figure.supxlabel("methods whose whiskers overlap are not told apart (Nemenyi, 5 %)", fontsize=8)
    return figure


SPEC = FigureSpec(
    "mean ranks over metrics with the critical difference of Friedman and Nemenyi",
    metrics=REQUIRED,
    plot=plot,
)
