"""Numbers and lines of tables as text."""

from collections.abc import Iterable, Sequence

import pandas as pd

NOTHING = "–"
"""What a table shows where there is no number."""


def number(value: float | None, form: str = ".1f") -> str:
    """A number by a format specification (``.3g``); ``NOTHING`` for None and NaN."""
    return NOTHING if value is None or pd.isna(value) else f"{value:{form}}"


def with_interval(value: float | None, low: float | None, high: float | None, *, form: str = ".1f") -> str:
    """``12.3 [10.1, 14.5]``, or ``12.3 [too few]`` where its ends are missing: so few groups have no interval."""
    if value is None or pd.isna(value):
        return NOTHING
    if low is None or high is None or pd.isna(low):
        return f"{value:{form}} [too few]"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def escaped(text: str) -> str:
    """Text that Markdown would read as markup or as the end of a table's cell."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def markdown_table(header: Sequence[str], alignment: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """GitHub's table syntax; a line of the table ends with a line break.

    Args:
        header: Of each column.
        alignment: ``:---`` or ``---:`` for each column.
        lines: Their cells.
    """
    # A line break would end the line of the table.
    rows = [[" ".join(cell.split()) for cell in line] for line in (header, alignment, *lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
