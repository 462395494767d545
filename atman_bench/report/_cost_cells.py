"""Cells of tables of costs, as text."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from atman_bench.profiling.rows import Source
from atman_bench.report.render import TextTable

Row = Mapping[Hashable, Any]
"""A line of ``costs.frame_of``."""


def table_of(title: str, note: str, columns: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> TextTable:
    """A table without floors."""
    return TextTable(title, note, columns, tuple(lines), (False,) * len(lines))


def status_of(row: Row) -> str:
    """How a cell ended; a simulated one says so, and a measured one what disturbed it."""
    if row["source"] != Source.MEASURED:
        return f"{row['status']} ({row['source']})"
    return f"{row['status']}, not quiet ({row['disturbed']})" if row["disturbed"] else str(row["status"])


def place_of(row: Row) -> str:
    """Model, type of its weights and device of a cell."""
    return f"{row['model']}, {row['dtype']} on {row['device']}"


def gigabytes(row: Row) -> float:
    """Peak memory, weights included."""
    return float(row["total"]) / 1e9


def by_place(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows of one worker by ``place_of``, small models first; measured and simulated ones apart."""
    alone = frame[frame["workers"] == 1].sort_values("parameters", kind="stable")
    groups = alone.groupby(["model", "dtype", "device", "threads", "source"], sort=False)
    return [(place_of(rows.iloc[0].to_dict()), rows) for _, rows in groups]
