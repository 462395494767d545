"""Stored rows as flat lines, one for each metric, which tests compare and make tables of."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from atman_bench.core.records import Row, ScoredCell, Status
from atman_bench.evaluation import store
from atman_bench.evaluation.scoring import dataset_name
from atman_bench.report.tables import frame_of

_SHARED = [f.name for f in fields(Row) if f.name not in ("uid", "sign", "status", "values")]


@dataclass(frozen=True)
class Line:
    """One metric of one explanation, with the names of its cell."""

    fingerprint: str
    dataset: str
    model: str
    method: str
    variant: str
    uid: str
    metric: str
    sign: str
    value: float | None
    status: Status
    group: str = ""
    n_questions: int | None = None
    n_units: int = 0
    n_positive: float = 0
    target_logprob: float | None = None
    answered: bool | None = None
    seconds: float | None = None
    forward_tokens: int | None = None
    peak_bytes: int | None = None
    error: str | None = None


def lines_of(cells: Iterable[ScoredCell]) -> list[Line]:
    """The lines of scored cells."""
    return [
        Line(
            cell.fingerprint,
            cell.dataset,
            cell.model,
            cell.method,
            cell.variant,
            row.uid,
            metric,
            row.sign,
            value,
            row.status,
            **{name: getattr(row, name) for name in _SHARED},
        )
        for cell in cells
        for row in cell.rows
        for metric, value in row.values.items()
    ]


def lines_in(results: Path) -> list[Line]:
    """The lines of all rows that a results folder holds, of whatever run."""
    return lines_of(
        ScoredCell(
            cell.identity.fingerprint,
            dataset_name(cell.identity),
            cell.identity.model,
            cell.identity.method,
            cell.variant,
            tuple(cell.rows()),
        )
        for cell in store.cells(results)
    )


def cells_of(lines: Iterable[Line]) -> list[ScoredCell]:
    """Lines as scored cells, one for each name and fingerprint."""
    cells: dict[tuple[str, ...], list[Row]] = {}
    for line in lines:
        shared = {name: getattr(line, name) for name in _SHARED}
        row = Row(line.uid, line.sign, line.status, {line.metric: line.value}, **shared)
        cells.setdefault((line.fingerprint, line.dataset, line.model, line.method, line.variant), []).append(row)
    return [ScoredCell(*names, tuple(rows)) for names, rows in cells.items()]


def frame_of_lines(lines: Iterable[Line]) -> pd.DataFrame:
    """What tables and figures are made of."""
    return frame_of(cells_of(lines))
