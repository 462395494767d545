"""Tables of means with intervals: a line for each method, a column for each metric that is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.faithfulness_records import FaithfulnessRow
from atman_bench.evaluation.sanity_records import SanityRow
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import METRICS
from atman_bench.metrics.faithfulness import MEASURES
from atman_bench.report._format import NOTHING, with_interval
from atman_bench.report.machine import SCALE, records
from atman_bench.report.render import TextTable
from atman_bench.report.tables import CELL, cell_name

Cell = tuple[str, str]
"""A method and its variant."""

_MISSING = tuple(status.value for status in Status if status is not Status.OK)


def shared_columns(row: FaithfulnessRow | SanityRow, dataset: str, model: str) -> dict[str, str | None]:
    """What a row tells beside its metric, by the columns of ``tables.frame_of``.

    Args:
        row: One sample under one method.
        dataset: What tables call the dataset.
        model: Name of the model.
    """
    return {
        "fingerprint": row.fingerprint,
        "dataset": dataset,
        "model": model,
        "method": row.method,
        "variant": row.variant,
        "uid": row.uid,
        "status": row.status.value,
        "group": row.group,
        "error": row.error,
    }


@dataclass(frozen=True)
class Column:
    """A metric as tables and rankings show it.

    Attributes:
        metric: Its name in the frame.
        heading: Of its column.
        higher_is_better: Its direction.
        scale: What its mean is multiplied by.
    """

    metric: str
    heading: str
    higher_is_better: bool
    scale: int = SCALE

    @property
    def form(self) -> str:
        """How its numbers are written."""
        return ".1f" if self.scale == SCALE else ".2f"

    @property
    def marked(self) -> str:
        """Its heading, with an arrow down where lower is better."""
        return self.heading if self.higher_is_better else f"{self.heading} ↓"


def localisation_column(metric: str) -> Column:
    """A registered metric: how a map agrees with the ground truth."""
    spec = METRICS.get(metric)
    return Column(metric, spec.heading or spec.column, spec.higher_is_better)


def measure_column(measure: str, intervention: Intervention) -> Column:
    """A measure of faithfulness under an intervention."""
    about = MEASURES[measure]
    name = f"{measure}_{intervention}"
    return Column(name, f"{about.heading}, {intervention}", about.higher_is_better, about.scale)


def scales_of(columns: Sequence[Column]) -> dict[str, int]:
    """What ``machine`` multiplies these metrics by."""
    return {column.metric: column.scale for column in columns}


@dataclass(frozen=True)
class Means:
    """The means of some metrics for every cell of one experiment.

    Attributes:
        columns: The metrics, those that have no value left out.
        by_cell: Cell -> metric -> record of ``machine.records``: methods in the order of the first metric, then floors.
        samples: Cell -> how many samples have a value of any of them.
        missing: Cell -> reason -> how many samples ended so.
    """

    columns: tuple[Column, ...]
    by_cell: dict[Cell, dict[str, dict[str, Any]]]
    samples: dict[Cell, int]
    missing: dict[Cell, dict[str, int]]

    def text(self, cell: Cell, column: Column) -> str:
        """The mean and its interval, with n where it is undefined for some samples."""
        found = self.by_cell[cell].get(column.metric)
        if found is None or found["mean"] is None:
            return NOTHING
        text = with_interval(found["mean"], found["low"], found["high"], form=column.form)
        return text if found["n"] == self.samples[cell] else f"{text} (n = {found['n']})"

    def missing_text(self, cell: Cell) -> str:
        """Samples without a map, by reason."""
        return ", ".join(f"{count} {reason}" for reason, count in self.missing[cell].items()) or NOTHING

    def table(self, title: str, note: str) -> TextTable:
        """All of them; what is undefined for some samples is in the JSON and the CSV, by reason."""
        lines = tuple(
            (
                cell_name(*cell),
                str(self.samples[cell]),
                *(self.text(cell, column) for column in self.columns),
                self.missing_text(cell),
            )
            for cell in self.by_cell
        )
        headings = ("method", "n", *(column.marked for column in self.columns), "missing")
        return TextTable(title, note, headings, lines, tuple(cell[0] in FLOORS for cell in self.by_cell))


def means_of(frame: pd.DataFrame, columns: Sequence[Column]) -> Means:
    """The means of one experiment.

    Args:
        frame: Its rows, of the columns of ``tables.frame_of``.
        columns: Which metrics.
    """
    chosen = frame[frame["metric"].isin([column.metric for column in columns])]
    by_cell: dict[Cell, dict[str, dict[str, Any]]] = {}
    for record in records(chosen, scales_of(columns)):
        by_cell.setdefault((record["method"], record["variant"]), {})[record["metric"]] = record
    valued = {metric for found in by_cell.values() for metric, record in found.items() if record["n"]}
    shown = tuple(column for column in columns if column.metric in valued)
    samples, missing = {}, {}
    for (method, variant), lines in chosen.groupby(CELL):
        known = set(lines.loc[lines["value"].notna(), "uid"])
        lacking = lines[~lines["uid"].isin(known)].drop_duplicates("uid")["status"].value_counts()
        cell = str(method), str(variant)
        samples[cell] = len(known)
        missing[cell] = {reason: int(lacking[reason]) for reason in _MISSING if reason in lacking}
    order = sorted(by_cell, key=lambda cell: (cell[0] in FLOORS, -_first(by_cell[cell], shown), cell))
    return Means(shown, {cell: by_cell[cell] for cell in order}, samples, missing)


def _first(found: dict[str, dict[str, Any]], columns: Sequence[Column]) -> float:
    """What cells are sorted by: the first column's mean, higher where that is better; cells without one come last."""
    if not columns or (record := found.get(columns[0].metric)) is None or record["mean"] is None:
        return float("-inf")
    return float(record["mean"] if columns[0].higher_is_better else -record["mean"])
