"""What runs of experiments gave: their tables, their figures, and what became of the paper's claims.

``illustrations.py`` has those of single examples.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atman_bench.evaluation.answer_store import AnswerCell
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import RunSummary
from atman_bench.evaluation.scoring import dataset_name
from atman_bench.evaluation.store import Cell
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._signs import Sign
from atman_bench.metrics._statistics import LEVEL, compare
from atman_bench.paper.experiments._base import Beats, Cheaper, Claim, Experiment, Maps
from atman_bench.report import grid
from atman_bench.report._paper_scores import Reported, scores_of
from atman_bench.report.accuracy import accuracy_table
from atman_bench.report.figures import FIGURES
from atman_bench.report.page import Ending, Verdict
from atman_bench.report.picture_maps import Selection, frame_of_maps, picture_maps
from atman_bench.report.render import NOTHING, TextTable, summary_tables
from atman_bench.report.tables import WITH_INTERVAL, cell_name, summarise

_MOST_POINTS = 20
"""Points of a sweep that are listed; more are shown as matrices."""


@dataclass(frozen=True)
class Outcome(ABC):
    """What one run gave.

    Attributes:
        manifest: What was run, and on what.
        notes: Samples that were skipped, and why explanations failed.
    """

    manifest: Mapping[str, Any]
    notes: tuple[str, ...]

    @abstractmethod
    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """Its numbers."""

    @abstractmethod
    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """Write the figures of an experiment into a folder; file name without suffix -> what it shows."""

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """What became of the claims."""
        return tuple(self._verdict(claim) for claim in experiment.claims)

    def _verdict(self, claim: Claim) -> Verdict:
        return Verdict(claim.words or claim.left, Ending.UNTESTED, "The run has no such rows.")


@dataclass(frozen=True)
class Evaluated(Outcome):
    """Rows of an evaluation.

    Attributes:
        config: What was run.
        frame: Its rows, from ``tables.frame_of``.
        cells: Its stored cells, in the order of its methods.
    """

    config: RunConfig
    frame: pd.DataFrame
    cells: tuple[Cell, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """All methods, with the paper's numbers beside ours."""
        summary = summarise(self.frame)
        if experiment.reported is not None:
            _show_paper(summary, experiment.reported)
        tables = summary_tables(summary)
        if experiment.reported is None:
            return tuple(tables)
        source = f" Paper ({experiment.reported.source}): mAP / mAP_IQ / mAR / mAR_IQ."
        return tuple(
            _paper_first(replace(table, note=table.note.partition(" Paper (")[0] + source)) for table in tables
        )

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """Figures of rows, and maps."""
        drawn = draw_figures(experiment.figures, self.frame, folder)
        if experiment.maps is not None:
            drawn |= _draw_maps(experiment.title, self.config, self._selection(experiment.maps), folder)
        return drawn

    def _verdict(self, claim: Claim) -> Verdict:
        if not isinstance(claim, Beats):
            return super()._verdict(claim)
        left, right = self._cell(claim.left), self._cell(claim.right)
        names = [cell_name(*cell) if cell else side for cell, side in ((left, claim.left), (right, claim.right))]
        return _compared(claim, self._rows(left), self._rows(right), names)

    def _cell(self, side: str) -> tuple[str, str] | None:
        """Method and variant of one side of a claim; None if the run has no such cell."""
        present = [(cell.identity.method, cell.variant) for cell in self.cells]
        method, colon, _ = side.partition(":")
        if not colon:
            return next((cell for cell in present if cell[0] == method), None)
        (wanted,) = replace(self.config, methods=((side, {}),)).cells
        cell = wanted.method, wanted.variant
        return cell if cell in present else None

    def rows(self, side: str) -> pd.DataFrame:
        """The rows of one side of a claim; none if the run has no such cell."""
        return self._rows(self._cell(side))

    def _rows(self, cell: tuple[str, str] | None) -> pd.DataFrame:
        if cell is None:
            return self.frame.iloc[:0]
        return self.frame[self.frame["method"].eq(cell[0]) & self.frame["variant"].eq(cell[1])]

    def _selection(self, maps: Maps) -> Selection:
        first = self.cells[0]
        uids = None
        if maps.one_picture:
            stored = [m for m in first.maps().values() if m.finished and m.scores]
            groups: dict[str, list[str]] = {}
            for found in stored:
                groups.setdefault(found.group, []).append(found.uid)
            uids = max(groups.values(), key=lambda of_picture: min(len(of_picture), maps.n))[: maps.n]
        chosen = [cell for cell in map(self._cell, maps.methods) if cell is not None]
        return _selected(self.cells, [cell_name(*cell) for cell in chosen], uids, maps.n)


@dataclass(frozen=True)
class Swept(Outcome):
    """Rows of a sweep.

    Attributes:
        config: What was run.
        frame: Its rows, from ``report.sweeps``.
        points: The stored cells of the grid's points.
    """

    config: RunConfig
    frame: pd.DataFrame
    points: tuple[Cell, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """Every point in a line, or a matrix for each metric where there are many."""
        if self.frame["point"].nunique() <= _MOST_POINTS:
            return (grid.points_table(self.frame),)
        return tuple(grid.matrix_table(self.frame, name) for name in WITH_INTERVAL)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """Figures of the grid, and maps of all its points."""
        drawn = draw_figures(experiment.figures, self.frame, folder)
        if experiment.maps is not None:
            selection = _selected(self.points, (), None, experiment.maps.n)
            drawn |= _draw_maps(experiment.title, self.config, selection, folder)
        return drawn

    def _verdict(self, claim: Claim) -> Verdict:
        if not isinstance(claim, Beats):
            return super()._verdict(claim)
        left, right = (self.frame[self.frame["point"].eq(side)] for side in (claim.left, claim.right))
        return _compared(claim, left, right, [claim.left, claim.right])


@dataclass(frozen=True)
class Costed(Outcome):
    """Rows of ``atman-bench scale``.

    Attributes:
        frame: From ``report.scaling``.
    """

    frame: pd.DataFrame

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each model, length and method."""
        lines = tuple(
            (
                f"{row['model']}, {row['tokens']} tokens, {row['name']}"
                + (f", {row['workers']} workers" if row["workers"] > 1 else ""),
                ("≈ " if row["extrapolated"] else "") + _number(row["time"], "{:.3g}"),
                _number(row["time_ratio"], "{:.3g}"),
                _number(row["peak"] / 1e6, "{:,.0f}"),
                _number(row["peak_ratio"], "{:.2f}"),
                str(row["status"]) if row["source"] == "measured" else f"{row['status']} ({row['source']})",
            )
            for _, row in self.frame.iterrows()
        )
        note = "Peak memory above the loaded model; × plain: of a plain pass that keeps the target's logits only."
        if self.frame["extrapolated"].any():
            note += " ≈ some perturbations, evenly spaced, were timed, and the time scaled to all."
        columns = ("model, length, method", "time, s", "× plain", "peak, MB", "× plain", "status")
        return (TextTable("Time and memory", note, columns, lines, (False,) * len(lines)),)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """Figures of costs."""
        return draw_figures(experiment.figures, self.frame, folder)

    def _verdict(self, claim: Claim) -> Verdict:
        if not isinstance(claim, Cheaper):
            return super()._verdict(claim)
        words = claim.words or f"{claim.left} costs less than {claim.right}"
        at = ["model", "tokens"]
        alone = self.frame[self.frame["workers"].eq(1) & self.frame[claim.number].notna()]
        left, right = (alone[alone["name"].eq(side)].set_index(at)[claim.number] for side in (claim.left, claim.right))
        ratios = (left / right).dropna()
        if ratios.empty:
            return Verdict(words, Ending.UNTESTED, "No model and length has both.")
        cheaper = int((ratios < 1).sum())
        ending = {0: Ending.OPPOSITE, len(ratios): Ending.HOLDS}.get(cheaper, Ending.MIXED)
        because = (
            f"{cheaper} of {len(ratios)} sizes and lengths; {claim.left} takes {ratios.min():.2g} to "
            f"{ratios.max():.2g} times the {claim.number} of {claim.right}."
        )
        return Verdict(words, ending, because)


@dataclass(frozen=True)
class Compared(Outcome):
    """Several evaluations.

    Attributes:
        sides: Name -> what it gave.
    """

    sides: Mapping[str, Evaluated]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The tables of each."""
        return tuple(
            replace(table, title=f"{name}: {table.title}")
            for name, side in self.sides.items()
            for table in side.tables(experiment)
        )

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """Figures of each."""
        drawn = {}
        for name, side in self.sides.items():
            of_side = draw_figures(experiment.figures, side.frame, folder, "-" + re.sub(r"\W+", "-", name.lower()))
            drawn.update({file: f"{name}: {summary}" for file, summary in of_side.items()})
        return drawn

    def _verdict(self, claim: Claim) -> Verdict:
        if not isinstance(claim, Beats):
            return super()._verdict(claim)
        rows, names = [], []
        for text in (claim.left, claim.right):
            name, _, method = text.partition("/")
            side = self.sides.get(name)
            rows.append(side.rows(method) if side else pd.DataFrame(columns=["uid", "metric", "value", "group"]))
            names.append(text.replace("/", ": "))
        return _compared(claim, rows[0], rows[1], names)


@dataclass(frozen=True)
class Quizzed(Outcome):
    """Answers to questions (Table 4).

    Attributes:
        cells: Where they are.
    """

    cells: tuple[AnswerCell, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each model, dataset and number of examples, with the paper's numbers beside it."""
        return (accuracy_table(self.cells),)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """None: the paper has none."""
        return {}


def manifest_of(summary: RunSummary, config: RunConfig) -> dict[str, Any]:
    """What an evaluation was run with: its options, data, model and methods, each with its fingerprint."""
    shared = asdict(summary.cells[0].identity)
    for name in ("method", "method_version", "method_options", "seed"):
        shared.pop(name)
    return {
        **shared,
        "sign": str(Sign(config.sign)),
        "limit": config.limit,
        "usable": summary.usable,
        "cells": {cell_name(c.identity.method, c.variant): c.identity.fingerprint for c in summary.cells},
    }


def _show_paper(summary: pd.DataFrame, found: Reported) -> None:
    """Replace the paper's columns by the numbers of the experiment, in place."""
    cells = summary[["method", "variant"]].itertuples(index=False, name=None)
    printed = [scores_of(found, *cell) for cell in cells]
    for column in ("mAP", "mAP_IQ", "mAR", "mAR_IQ"):
        summary[f"paper_{column}"] = [scores.get(column, np.nan) for scores in printed]


def _paper_first(table: TextTable) -> TextTable:
    """The paper's numbers right after the name of the method, where a wide table still shows them."""
    if "paper" not in table.columns:
        return table
    at = table.columns.index("paper")

    def moved(line: tuple[str, ...]) -> tuple[str, ...]:
        return line[0], line[at], *line[1:at], *line[at + 1 :]

    return replace(table, columns=moved(table.columns), lines=tuple(map(moved, table.lines)))


def draw_figures(names: Sequence[str], frame: pd.DataFrame, folder: Path, suffix: str = "") -> dict[str, str]:
    """Draw what the rows can be drawn as; a suffix tells files of several frames apart."""
    drawn = {}
    for name in names:
        figure = FIGURES.get(name)
        if not figure.lacks(frame):
            figure.draw(frame, folder / f"{name}{suffix}")
            drawn[f"{name}{suffix}"] = figure.summary
    return drawn


def _selected(cells: Sequence[Cell], names: Sequence[str], uids: Sequence[str] | None, n: int) -> Selection:
    """Maps of some cells of a run, or of all but floors: its results folder may hold those of other runs."""
    about = cells[0].identity
    every = [cell_name(cell.identity.method, cell.variant) for cell in cells if cell.identity.method not in FLOORS]
    return Selection(dataset_name(about), about.model, list(names) or every, uids, n)


def _draw_maps(title: str, config: RunConfig, selection: Selection, folder: Path) -> dict[str, str]:
    maps = picture_maps(config.results, config.data, config.sign, selection)
    FIGURES.get("maps").draw(frame_of_maps(maps), folder / "maps")
    return {"maps": f"{title}: {selection.dataset}, {selection.model}"}


def _compared(claim: Beats, left: pd.DataFrame, right: pd.DataFrame, names: Sequence[str]) -> Verdict:
    """What a paired comparison says; an interval of few groups is too narrow, so the sign-flip test has to agree."""
    short = {metric: name for name, metric in WITH_INTERVAL.items()}.get(claim.metric, claim.metric)
    words = claim.words or f"{names[0]} has a higher {short} than {names[1]}"
    values = [rows[rows["metric"].eq(claim.metric) & rows["value"].notna()].set_index("uid") for rows in (left, right)]
    common = values[0].index.intersection(values[1].index)
    if common.empty:
        absent = " and ".join(name for name, rows in zip(names, values, strict=True) if rows.empty) or "both"
        return Verdict(words, Ending.UNTESTED, f"No sample has a value of {absent}.")
    ours, theirs = (rows.loc[common] for rows in values)
    groups = ours["group"].to_numpy()
    paired = compare(ours["value"].to_numpy(), theirs["value"].to_numpy(), groups)
    on = f"on {paired.n} samples in {len(set(groups))} groups"
    difference = 100 * paired.difference
    if paired.interval is None:
        return Verdict(words, Ending.OPEN, f"{short} {names[0]} − {names[1]} = {difference:+.1f} {on}: no interval.")
    low, high = 100 * paired.interval.low, 100 * paired.interval.high
    clear = paired.p_value < 1 - LEVEL
    ending = Ending.HOLDS if clear and low > 0 else Ending.OPPOSITE if clear and high < 0 else Ending.OPEN
    because = (
        f"{short} {names[0]} − {names[1]} = {difference:+.1f} [{low:+.1f}, {high:+.1f}], 95 % paired interval, "
        f"sign-flip p = {paired.p_value:.4f}, {on}."
    )
    return Verdict(words, ending, because)


def _number(value: float, form: str) -> str:
    return NOTHING if pd.isna(value) else form.format(value)
