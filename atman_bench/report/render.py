"""Tables as text: Markdown for files, rich for the terminal. Both show the same strings, the terminal fewer columns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from atman_bench.core.records import Status
from atman_bench.metrics import METRICS
from atman_bench.metrics._statistics import FEWEST_GROUPS
from atman_bench.report._format import NOTHING, escaped, markdown_table, number, with_interval
from atman_bench.report.tables import CELL, EXPERIMENT, cell_name, folded, metrics_in_order

NOT_APPLICABLE = "n/a"

GLOSSARY = "https://github.com/atman-bench/atman-bench/blob/main/docs/glossary.md"

_WIDEST_NAME = 23
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

    @property
    def marked_lines(self) -> list[tuple[tuple[str, ...], bool]]:
        """Each line, and whether it is a floor."""
        return list(zip(self.lines, self.floors, strict=True))

    def markdown(self) -> str:
        """GitHub's table syntax under a bold title; floors are in italics."""
        lines = [
            (f"*{escaped(name)}* (floor)" if floor else escaped(name), *cells)
            for (name, *cells), floor in self.marked_lines
        ]
        table = markdown_table(self.columns, (":---", *["---:"] * (len(self.columns) - 1)), lines)
        return f"**{self.title}**\n\n{table}\n{self.note}\n"

    def rich(self) -> Table:
        """A table for the terminal; floors are dim, below a line."""
        table = Table(
            title=Text(self.title, "bold"),
            caption=Text(f"{self.note}\nWhat the words mean: {GLOSSARY}", "dim"),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column(self.columns[0], no_wrap=True)
        for column in self.columns[1:]:
            table.add_column(column, justify="right", no_wrap=column != _MISSING_COLUMN)
        for i, (line, floor) in enumerate(self.marked_lines):
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
    return "\n".join(table.markdown() for table in summary_tables(summary))


def summary_tables(summary: pd.DataFrame) -> list[TextTable]:
    """The tables of ``summary_markdown`` themselves."""
    return list(_summary_tables(summary, terminal=False))


def summary_rich(summary: pd.DataFrame) -> list[Table]:
    """The main columns of ``tables.summarise``, to fit 120 characters; one table for each experiment."""
    return [table.rich() for table in _summary_tables(summary, terminal=True)]


def comparison_markdown(comparison: pd.DataFrame, reference: str) -> str:
    """The result of ``tables.compare_to``; ``reference`` is the name of the reference cell."""
    return "\n".join(table.markdown() for table in _comparison_tables(comparison, reference))


def comparison_rich(comparison: pd.DataFrame, reference: str) -> list[Table]:
    """The result of ``tables.compare_to``; ``reference`` is the name of the reference cell."""
    return [table.rich() for table in _comparison_tables(comparison, reference)]


def _summary_tables(summary: pd.DataFrame, *, terminal: bool) -> Iterator[TextTable]:
    columns = _columns(terminal=terminal)
    for title, part in _experiments(summary):
        texts = {column: [write(line) for _, line in part.iterrows()] for column, write in columns.items()}
        shown = {column: text for column, text in texts.items() if any(cell != NOTHING for cell in text)}
        note = "Metrics × 100; [95 % bootstrap interval over groups]; "
        note += "IQ = interquartile mean; " if any(name.endswith("_IQ") for name in shown) else ""
        note += "floors see no model."
        note += _few_groups(part)
        note += _grouped(part)
        if terminal:
            note += _answered(part)
        paper = part["paper"].iloc[0]
        if paper and "paper" in shown:
            note += f" Paper ({paper}): {'mAP' if terminal else 'mAP / mAP_IQ / mAR / mAR_IQ'}."
        note += _refusals(part)
        yield _text_table(title, note, part, shown)


def _comparison_tables(comparison: pd.DataFrame, reference: str) -> Iterator[TextTable]:
    for title, part in _experiments(comparison):
        by_metric = {metric: lines.set_index(CELL) for metric, lines in part.groupby("metric", sort=False)}
        first = next(iter(by_metric.values()))
        texts = {"pairs": [str(n) for n in first["n"]]}
        for metric, lines in by_metric.items():
            heading = METRICS.get(str(metric)).column
            found = lines.reindex(first.index)
            numbers = found[["difference", "low", "high"]].itertuples(index=False)
            texts[heading] = [with_interval(*line) for line in numbers]
            texts[f"p ({heading})"] = [number(p, ".4f") for p in found["p_value"]]
        note = (
            f"Mean difference to {reference} × 100 on common samples; [95 % interval] and sign-flip p over groups, "
            "uncorrected. mAP and mAR are the paper's (A.11): mAP rewards maps that are quiet off the evidence; AUPRC "
            "asks only for the order of the scores."
        )
        yield _text_table(f"{title} · minus {reference}", note, first.reset_index(), texts)


def _experiments(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (dataset, model, sign), part in frame.groupby(EXPERIMENT, sort=False):
        yield f"{dataset} · {model} · sign {sign}", part


def _text_table(title: str, note: str, part: pd.DataFrame, texts: dict[str, list[str]]) -> TextTable:
    names = [cell_name(*cell) for cell in zip(part["method"], part["variant"], strict=True)]
    lines = tuple(zip(names, *texts.values(), strict=True))
    return TextTable(title, note, ("method", *texts), lines, tuple(bool(floor) for floor in part["floor"]))


def _grouped(part: pd.DataFrame) -> str:
    """That samples share groups (questions of one paragraph, targets of one picture), as the end of a note."""
    most = part.iloc[int(part["n"].argmax())]
    return "" if most["groups"] == most["n"] else f" {most['n']} samples are in {most['groups']} groups."


def _few_groups(part: pd.DataFrame) -> str:
    """Why there is no interval, as the end of a note."""
    if not (part["groups"] < FEWEST_GROUPS).any():
        return ""
    return f" [too few]: fewer than {FEWEST_GROUPS} groups are too few for an interval."


def _answered(part: pd.DataFrame) -> str:
    """The share of samples whose target the model gives itself, as the end of a note."""
    most = part.iloc[int(part["n"].argmax())]
    if not most["n"]:
        return ""
    return f" The model itself gives the target of {most['answered']} of {most['n']} samples."


def _refusals(part: pd.DataFrame) -> str:
    """Why methods do not apply, as the end of a note; methods with the same reason share it."""
    methods: dict[str, list[str]] = {}
    for _, line in part[part["not_applicable"] != ""].iterrows():
        methods.setdefault(line["not_applicable"], []).append(cell_name(line["method"], line["variant"]))
    return "".join(f" {NOT_APPLICABLE}, {', '.join(names)}: {reason}." for reason, names in methods.items())


def _missing(line: pd.Series) -> str:
    if line["not_applicable"]:
        return NOT_APPLICABLE
    return ", ".join(f"{line[reason]} {reason}" for reason in _MISSING if line[reason]) or NOTHING


def _paper(line: pd.Series) -> str:
    if pd.isna(line["paper_mAP"]):
        return NOTHING
    return " / ".join(_mean(line, f"paper_{column}") for column in ("mAP", "mAP_IQ", "mAR", "mAR_IQ"))


def _columns(*, terminal: bool) -> _Columns:
    """How each column is written: every one, or those for which a terminal of 120 characters has room."""
    columns: dict[str, Callable[[pd.Series], str]] = {"n": lambda line: str(line["n"])}
    counts: dict[str, Callable[[pd.Series], str]] = {}
    if not terminal:
        columns["answered"] = lambda line: str(line["answered"])
    for spec in metrics_in_order().values():
        heading = spec.heading or spec.column
        # Metrics that have to be asked for have numbers only where somebody did.
        if terminal and spec.by_default and not spec.in_terminal:
            continue
        if spec.is_count:
            counts[heading] = partial(_count, column=spec.column)
        elif not spec.interval:
            columns[heading] = partial(_mean, column=spec.column)
        else:
            columns[heading] = partial(_interval, column=spec.column)
            if not terminal and spec.interquartile:
                columns[f"{heading}_IQ"] = partial(_interval, column=f"{spec.column}_IQ")
                columns[f"{heading} 25–72"] = partial(_mean, column=f"{spec.column}_IQ_25_72")
    columns["seconds"] = partial(_mean, column="seconds", form=".3g")
    if not terminal:
        columns["tokens"] = partial(_mean, column="forward_tokens", form=",.0f")
    paper = partial(_mean, column="paper_mAP") if terminal else _paper
    return {**columns, **counts, _MISSING_COLUMN: _missing, "paper": paper}


def _mean(line: pd.Series, column: str, form: str = ".1f") -> str:
    return number(line[column], form)


def _interval(line: pd.Series, column: str) -> str:
    return with_interval(line[column], line[f"{column}_low"], line[f"{column}_high"])


def _count(line: pd.Series, column: str) -> str:
    return number(line[column] or None, ".0f")
