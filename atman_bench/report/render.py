"""Tables as text: Markdown for files, rich for the terminal. Both show the same strings, the terminal fewer columns."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from atman_bench.core.records import Status
from atman_bench.report._paper_scores import reported
from atman_bench.report.tables import EXPERIMENT, cell_name, folded

NOTHING = "–"
NOT_APPLICABLE = "n/a"

_WIDEST_NAME = 26
"""Characters in the terminal; a long variant gets a second line."""

_MISSING_COLUMN = "missing"
"""Words, which may be wrapped where a line is too narrow; numbers are not."""

_Columns = Mapping[str, Callable[[pd.Series], str]]
_MISSING = (*(s.value for s in Status if s is not Status.OK), "undefined")


@dataclass(frozen=True)
class TextTable:
    """One experiment's table as strings.

    Attributes:
        title: Dataset, model and sign rule.
        note: How to read the numbers.
        columns: Headers; the first column is the name of the cell, all others are numbers.
        lines: Cells of each line.
        floors: Whether a line is a floor.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    floors: tuple[bool, ...]

    def markdown(self) -> str:
        """GitHub's table syntax under a bold title; floors are in italics."""
        numbers = " | ".join(["---:"] * (len(self.columns) - 1))
        header = [f"**{self.title}**", "", _pipe(self.columns), f"| :--- | {numbers} |"]
        body = [
            _pipe((f"*{_escape(line[0])}* (floor)" if floor else _escape(line[0]), *line[1:]))
            for line, floor in zip(self.lines, self.floors, strict=True)
        ]
        return "\n".join([*header, *body, "", self.note, ""])

    def rich(self) -> Table:
        """A table for the terminal; floors are dim, below a line."""
        table = Table(
            title=Text(self.title, "bold"), caption=Text(self.note, "dim"), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        table.add_column(self.columns[0], no_wrap=True)
        for column in self.columns[1:]:
            table.add_column(column, justify="right", no_wrap=column != _MISSING_COLUMN)
        for i, (line, floor) in enumerate(zip(self.lines, self.floors, strict=True)):
            last_method = not floor and self.floors[i + 1 : i + 2] == (True,)
            table.add_row(
                Text("\n  ".join(folded(line[0], _WIDEST_NAME))),
                *map(Text, line[1:]),
                style="dim" if floor else None,
                end_section=last_method,
            )
        return table


def summary_markdown(summary: pd.DataFrame) -> str:
    """Every column of ``tables.summarise`` that has numbers, one table for each experiment."""
    return "\n".join(table.markdown() for table in _summary_tables(summary, _FULL))


def summary_tables(summary: pd.DataFrame) -> list[TextTable]:
    """The tables of ``summary_markdown`` themselves."""
    return list(_summary_tables(summary, _FULL))


def summary_rich(summary: pd.DataFrame) -> list[Table]:
    """The main columns of ``tables.summarise``, to fit 120 characters; one table for each experiment."""
    return [table.rich() for table in _summary_tables(summary, _SHORT)]


def comparison_markdown(comparison: pd.DataFrame, reference: str) -> str:
    """The result of ``tables.compare_to``; ``reference`` is the name of the reference cell."""
    return "\n".join(table.markdown() for table in _comparison_tables(comparison, reference))


def comparison_rich(comparison: pd.DataFrame, reference: str) -> list[Table]:
    """The result of ``tables.compare_to``; ``reference`` is the name of the reference cell."""
    return [table.rich() for table in _comparison_tables(comparison, reference)]


def _summary_tables(summary: pd.DataFrame, columns: _Columns) -> Iterator[TextTable]:
    for title, part in _experiments(summary):
        texts = {column: [write(line) for _, line in part.iterrows()] for column, write in columns.items()}
        shown = {column: text for column, text in texts.items() if any(cell != NOTHING for cell in text)}
        note = "Metrics × 100; [95 % bootstrap interval over groups]; IQ = interquartile mean; floors see no model."
        paper = reported(part["dataset"].iloc[0], part["model"].iloc[0])
        printed = {"paper": "mAP / mAP_IQ / mAR / mAR_IQ", "paper mAP": "mAP"}
        note += "".join(f" Paper ({paper.source}): {printed[name]}." for name in printed if paper and name in shown)
        note += _refusals(part)
        yield _text_table(title, note, part, shown)


def _comparison_tables(comparison: pd.DataFrame, reference: str) -> Iterator[TextTable]:
    for title, part in _experiments(comparison):
        texts = {
            "pairs": [str(n) for n in part["n"]],
            f"minus {reference}": [_interval(line, "difference", "low", "high") for _, line in part.iterrows()],
            "p": [f"{p:.4f}" for p in part["p_value"]],
        }
        note = "Mean difference × 100 on common samples; [95 % interval] and sign-flip p over groups, uncorrected."
        yield _text_table(f"{title} · {part['metric'].iloc[0]}", note, part, texts)


def _experiments(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (dataset, model, sign), part in frame.groupby(EXPERIMENT, sort=False):
        yield f"{dataset} · {model} · sign {sign}", part


def _text_table(title: str, note: str, part: pd.DataFrame, texts: dict[str, list[str]]) -> TextTable:
    names = [cell_name(*cell) for cell in zip(part["method"], part["variant"], strict=True)]
    lines = tuple(zip(names, *texts.values(), strict=True))
    return TextTable(title, note, ("method", *texts), lines, tuple(bool(floor) for floor in part["floor"]))


def _interval(line: pd.Series, value: str, low: str, high: str) -> str:
    """A number with its interval; without one where there is a single group, or no number."""
    if np.isnan(line[low]):
        return _number(line, value)
    return f"{line[value]:.1f} [{line[low]:.1f}, {line[high]:.1f}]"


def _number(line: pd.Series, column: str, form: str = ".1f") -> str:
    return NOTHING if np.isnan(line[column]) else f"{line[column]:{form}}"


def _refusals(part: pd.DataFrame) -> str:
    """Why methods do not apply, as the end of a note; methods with the same reason share it."""
    methods: dict[str, list[str]] = {}
    for _, line in part[part["not_applicable"] != ""].iterrows():
        methods.setdefault(line["not_applicable"], []).append(cell_name(line["method"], line["variant"]))
    return "".join(f" {NOT_APPLICABLE}, {', '.join(names)}: {reason}." for reason, names in methods.items())


def _degenerate(line: pd.Series) -> str:
    return f"{line['degenerate']:.0f}" if line["degenerate"] > 0 else NOTHING


def _missing(line: pd.Series) -> str:
    if line["not_applicable"]:
        return NOT_APPLICABLE
    return ", ".join(f"{line[reason]} {reason}" for reason in _MISSING if line[reason]) or NOTHING


def _paper(line: pd.Series) -> str:
    if np.isnan(line["paper_mAP"]):
        return NOTHING
    return " / ".join(_number(line, f"paper_{column}") for column in ("mAP", "mAP_IQ", "mAR", "mAR_IQ"))


def _pipe(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(name: str) -> str:
    return name.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


_FULL: _Columns = {
    "n": lambda line: str(line["n"]),
    "answered": lambda line: str(line["answered"]),
    "mAP": partial(_interval, value="mAP", low="mAP_low", high="mAP_high"),
    "mAP_IQ": partial(_interval, value="mAP_IQ", low="mAP_IQ_low", high="mAP_IQ_high"),
    "mAP 25–72": partial(_number, column="mAP_IQ_25_72"),
    "mAR": partial(_interval, value="mAR", low="mAR_low", high="mAR_high"),
    "mAR_IQ": partial(_interval, value="mAR_IQ", low="mAR_IQ_low", high="mAR_IQ_high"),
    "mAR 25–72": partial(_number, column="mAR_IQ_25_72"),
    "AUPRC": partial(_number, column="AUPRC"),
    "P@k": partial(_number, column="P@k"),
    "point": partial(_number, column="pointing"),
    "seconds": partial(_number, column="seconds", form=".3g"),
    "tokens": partial(_number, column="forward_tokens", form=",.0f"),
    "degenerate": _degenerate,
    _MISSING_COLUMN: _missing,
    "paper": _paper,
}
"""How each column of the tables is written; those without anything to show are left out."""

_SHORT: _Columns = {
    "n": _FULL["n"],
    "mAP": _FULL["mAP"],
    "mAP_IQ": partial(_number, column="mAP_IQ"),
    "mAR": _FULL["mAR"],
    "point": _FULL["point"],
    "seconds": _FULL["seconds"],
    _MISSING_COLUMN: _FULL[_MISSING_COLUMN],
    "paper mAP": partial(_number, column="paper_mAP"),
}
"""The same for the terminal: what fits 120 characters."""
