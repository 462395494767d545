"""Single examples explained by every method, words and patches together (the paper's Figs 3 and 17)."""

import pandas as pd
from matplotlib.figure import Figure

from atman_bench.report._scales import scale_name
from atman_bench.report.figures._base import FigureSpec
from atman_bench.report.figures._panels import Panel, draw_panels
from atman_bench.report.tables import cell_name


def plot(frame: pd.DataFrame) -> Figure:
    """A row for each example: its picture if it has one, then a map for each method in the order of the rows.

    Args:
        frame: A row for each map. Beside the columns of rows: ``example``, its title, and ``heat``, a ``HeatMap``.
    """
    rows = []
    for title, maps in frame.groupby("example", sort=False):
        first = maps["heat"].iloc[0]
        panels = [Panel("picture", first, None)] if first.grids else []
        panels += [
            Panel(cell_name(method, variant), heat, heat.scores, scale_name(method, variant))
            for method, variant, heat in maps[["method", "variant", "heat"]].itertuples(index=False, name=None)
        ]
        rows.append((str(title), panels))
    return draw_panels(rows)


SPEC = FigureSpec(
    "single examples by every method, words and patches together (Figs 3, 17)",
    metrics=(),
    columns=("example", "heat"),
    plot=plot,
)
