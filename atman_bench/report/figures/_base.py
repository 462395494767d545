"""What a figure file defines, and the style that all figures share: readable in black and white, same every time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from atman_bench.core.errors import DataError, StoreError
from atman_bench.core.images import reduce_colours
from atman_bench.core.records import Status
from atman_bench.methods.floors import FLOORS
from atman_bench.report import grid
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.tables import CELL, EXPERIMENT, cell_name

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "savefig.dpi": 150,
    # The same rows give the same file: no random ids in SVG.
    "svg.hashsalt": "atman-bench",
}

WIDTH = 7.0
"""Inches; a page of text."""

PAPER_METRICS = {"mAP": "average_precision", "mAR": "average_recall"}
"""The two metrics of the paper, which its figures show side by side."""

_CHARACTERS_PER_INCH = 15
"""Of a caption: as many fit at 9 points."""

METHOD_GREY = "0.75"
"""What has no method."""


@dataclass(frozen=True)
class FigureSpec:
    """A figure.

    Attributes:
        summary: One line for ``atman-bench list``, with the figure of the paper that it corresponds to.
        metrics: Metrics that the rows must have.
        columns: Further columns that the rows must have, not all empty.
        methods: Methods that the rows must have.
        plot: Draws the usable rows of one experiment (status ok, a value; see ``tables``).
    """

    summary: str
    metrics: tuple[str, ...]
    plot: Callable[[pd.DataFrame], Figure]
    columns: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def lacks(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """Metrics, columns and methods that the figure needs and the rows lack; empty if it can be drawn."""
        if "metric" not in frame:
            return ("scores of an evaluation",)
        if "point" in frame and not grid.is_of_grid(self.columns):
            # It would show every point of a sweep as a method of its own.
            return ("rows without a grid",)
        usable = _usable(frame)
        metrics = (metric for metric in self.metrics if not usable["metric"].eq(metric).any())
        columns = (c for c in self.columns if c not in usable or usable[c].isna().all())
        methods = (method for method in self.methods if not usable["method"].eq(method).any())
        return (*metrics, *columns, *methods)

    def draw(self, frame: pd.DataFrame, path: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)) -> None:
        """Write the figure in each format.

        Args:
            frame: Rows of one experiment, from ``tables.frame_of``.
            path: Where to write, without a suffix.
            formats: Each gives a file.

        Raises:
            DataError: The rows lack a metric or column, or are of several experiments.
            StoreError: The files cannot be written.
        """
        if missing := self.lacks(frame):
            raise DataError(f"the figure needs {', '.join(missing)}, which no usable row has: evaluate with these")
        experiments = frame[EXPERIMENT].drop_duplicates()
        if len(experiments) > 1:
            names = "; ".join(", ".join(row) for row in experiments.itertuples(index=False, name=None))
            raise DataError(f"a figure shows one dataset, model and sign; received {names}: select one of them")
        save(lambda: self.plot(_usable(frame)), _caption(frame), path, formats)


def save(plot: Callable[[], Figure], caption: str, path: Path, formats: Sequence[FigureFormat]) -> None:
    """Draw a figure in the common style and write it as ``path`` with the suffix of each format.

    Raises:
        StoreError: The files cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = plot()
        figure.suptitle(wrap(caption, round(_CHARACTERS_PER_INCH * figure.get_figwidth())), fontsize=9)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for kind in formats:
                # The same rows give the same file: an SVG would hold the time.
                metadata = {"Date": None} if kind is FigureFormat.SVG else None
                file = path.with_name(f"{path.name}.{kind}")
                figure.savefig(file, metadata=metadata)
                if kind is FigureFormat.PNG:
                    reduce_colours(file)
        except OSError as error:
            raise StoreError(f"cannot write the figure {path}: {error.strerror}; choose a writable folder") from error


def wrap(caption: str, width: int) -> str:
    """A caption in lines of at most so many characters, broken between its parts; a longer part stays whole."""
    lines = [""]
    for part in caption.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def of_metric(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one metric."""
    return frame[frame["metric"] == metric]


def values_by_cell(frame: pd.DataFrame, metric: str) -> dict[tuple[str, str], pd.DataFrame]:
    """Rows of each cell for one metric: methods by their mean value, best first, then the floors."""
    cells = {(str(method), str(variant)): cell for (method, variant), cell in of_metric(frame, metric).groupby(CELL)}
    return dict(sorted(cells.items(), key=lambda item: (item[0][0] in FLOORS, -item[1]["value"].mean())))


def main_cells(frame: pd.DataFrame, metric: str) -> dict[tuple[str, str], pd.DataFrame]:
    """``values_by_cell`` with one variant of each method: the one with most samples, then the default."""
    cells = values_by_cell(frame, metric)
    by_size = sorted(cells, key=lambda key: (-len(cells[key]), key[1] != "default", key[1]))
    main = {method: variant for method, variant in reversed(by_size)}
    return {key: cell for key, cell in cells.items() if main[key[0]] == key[1]}


def cell_labels(cells: Sequence[tuple[str, str]], frame: pd.DataFrame) -> list[str]:
    """Names of cells, with the number of samples for cells that have fewer than others."""
    samples = frame.groupby(CELL)["uid"].nunique()
    most = samples.max()
    return [cell_name(*c) if samples[c] == most else f"{cell_name(*c)} (n = {samples[c]})" for c in cells]


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["status"] == Status.OK) & frame["value"].notna()]


def _caption(frame: pd.DataFrame) -> str:
    dataset, model, sign = frame[EXPERIMENT].iloc[0]
    usable = _usable(frame)
    what = f"{grid.swept(frame)} on {dataset}" if "point" in frame else dataset
    return f"{what} · {model} · n = {usable['uid'].nunique()} in {usable['group'].nunique()} groups · sign {sign}"
