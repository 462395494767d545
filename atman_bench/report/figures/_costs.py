"""Figures of costs: what they share, and the marks of cells that have no number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path

from atman_bench.core.errors import DataError
from atman_bench.profiling.rows import ScaleStatus, Source
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.figures._base import FigureSpec, save

LIGHTNING = Path([(0.3, 1.0), (-0.5, -0.1), (-0.05, -0.1), (-0.3, -1.0), (0.5, 0.2), (0.05, 0.2), (0.3, 1.0)])

MARKS: dict[str, tuple[Path | str, str]] = {
    ScaleStatus.OOM: (LIGHTNING, "lightning: out of memory"),
    ScaleStatus.TIMEOUT: ("$T$", "T: time limit"),
    ScaleStatus.UNSUPPORTED: ("$U$", "U: unsupported"),
    ScaleStatus.ERROR: ("$E$", "E: error"),
}
"""How a cell without a number is shown, and what that means."""

MARKERS = "os^Dv<>phX*Pd"


@dataclass(frozen=True, kw_only=True)
class ScaleFigureSpec(FigureSpec):
    """A figure of costs: drawn from ``report.costs.frame_of`` instead of an evaluation's rows.

    Attributes:
        select: The rows that it shows; empty if it cannot be drawn.
    """

    metrics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("peak_ratio",)
    select: Callable[[pd.DataFrame], pd.DataFrame]

    def lacks(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """What the figure needs and the rows lack; empty if it can be drawn. Rows of an evaluation lack costs."""
        if not set(self.columns) <= set(frame) or self.select(frame).empty:
            return ("costs of several sizes",)
        return ()

    def draw(self, frame: pd.DataFrame, path: FilePath, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)) -> None:
        """Write the figure in each format.

        Args:
            frame: From ``report.costs.frame_of``.
            path: Where to write, without a suffix.
            formats: Each gives a file.

        Raises:
            DataError: No rows can be shown.
            StoreError: The files cannot be written.
        """
        if missing := self.lacks(frame):
            raise DataError(f"the figure needs {', '.join(missing)}: run `atman-bench scale` over several")
        shown = self.select(frame)
        save(lambda: self.plot(shown), _caption(shown), path, formats)


def mark_failures(axis: Axes, failed: pd.DataFrame, x: str, row: int) -> None:
    """Put the marks of cells without a number at the top of a panel, in one row for each method."""
    for status, (marker, _) in MARKS.items():
        places = failed.loc[failed["status"] == status, x]
        if places.empty:
            continue
        axis.plot(
            places,
            [0.97 - 0.07 * row] * len(places),
            marker=marker,
            markersize=8,
            color="black",
            linestyle="none",
            transform=axis.get_xaxis_transform(),
        )


def explain_marks(figure: Figure, frame: pd.DataFrame, lines: list[str], extrapolated: str) -> None:
    """Write below a figure what its marks and signs mean.

    Args:
        figure: To write on.
        frame: Its rows.
        lines: Written above.
        extrapolated: How it shows extrapolated times; empty if it shows none.
    """
    used = [text for status, (_, text) in MARKS.items() if (frame["status"] == status).any()]
    used += [extrapolated] if extrapolated else []
    figure.supxlabel("\n".join([*lines, "; ".join(used)]).rstrip(), fontsize=8)


def _caption(frame: pd.DataFrame) -> str:
    def values(column: str) -> str:
        return "/".join(map(str, frame[column].drop_duplicates()))

    parts = [values("source"), values("device"), values("dtype"), "random tokens, one target token"]
    if (frame["source"] != Source.SIMULATED).any():  # a simulation has no threads and no repeats
        threads = "/".join(map(str, sorted((frame["threads"] * frame["workers"]).unique())))
        parts += [f"{threads} threads", f"median of up to {int(frame['seconds'].map(len).max())} runs"]
    if disturbed := int(frame["disturbed"].ne("").sum()):
        parts.append(f"{disturbed} of {len(frame)} cells not quiet")
    return " · ".join(parts)
