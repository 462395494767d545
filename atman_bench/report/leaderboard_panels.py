"""Panels of a leaderboard: what is stored of each dataset and model, as one data frame."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from atman_bench.core.errors import StoreError
from atman_bench.core.records import Intervention
from atman_bench.evaluation import store
from atman_bench.evaluation.faithfulness_records import Faithfulness, Spent
from atman_bench.evaluation.leaderboard_store import LeaderboardRun, RelativeCost, read_rows, read_runs
from atman_bench.evaluation.scoring import scored
from atman_bench.metrics._signs import Sign
from atman_bench.report.faithfulness import frame_of_faithfulness
from atman_bench.report.leaderboard_columns import LOCALISATION
from atman_bench.report.means import Cell
from atman_bench.report.tables import CELL, cell_name, frame_of


@dataclass(frozen=True)
class Panel:
    """One dataset by one model.

    Attributes:
        dataset: What tables call the dataset.
        model: Name of the model.
        runs: The configurations that were run on it.
        frame: Rows of all metrics, of the columns of ``tables.frame_of``, with ``seconds_ratio`` (to a plain pass).
        faithfulness: Those of faithfulness with the columns of ``frame_of_faithfulness``; empty if it was not measured.
        costs: Cell -> what it costs.
        spent: What running subsets took in the run with most of them, by intervention.
        spent_on: Its samples.
    """

    dataset: str
    model: str
    runs: tuple[LeaderboardRun, ...]
    frame: pd.DataFrame
    faithfulness: pd.DataFrame
    costs: Mapping[Cell, RelativeCost]
    spent: Mapping[Intervention, Spent]
    spent_on: int

    @property
    def name(self) -> str:
        """What pages call it."""
        return f"{self.dataset} · {self.model}"


def panels_of(results: Path) -> list[Panel]:
    """The panels of a results folder, in the order of the names of their runs.

    Raises:
        StoreError: There is none, or what is stored is damaged or incomplete.
    """
    together: dict[tuple[str, str, str], list[LeaderboardRun]] = defaultdict(list)
    for run in read_runs(results):
        together[run.dataset, run.model, run.sign].append(run)
    cells = {cell.identity.fingerprint: cell for cell in store.cells(results)}
    return [_panel(results, runs, cells) for runs in together.values()]


def _panel(results: Path, runs: Sequence[LeaderboardRun], cells: Mapping[str, store.Cell]) -> Panel:
    first = runs[0]
    uids: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for fingerprint in run.fingerprints:
            uids[fingerprint].update(run.uids)
    if lost := [fingerprint for fingerprint in uids if fingerprint not in cells]:
        raise StoreError(f"{results} lacks the maps of cell {lost[0]}: run atman-bench leaderboard run again")
    metrics = [column.metric for column in LOCALISATION]
    located = frame_of(scored(cells[name], metrics, Sign(first.sign), of) for name, of in uids.items())
    rows = {(row.fingerprint, row.uid, row.intervention): row for run in runs for row in read_rows(results, run.name)}
    # Runs on the same samples share subsets, so that their sum would count some twice.
    largest = max(runs, key=lambda run: sum(took.subsets for took in run.spent.values()))
    spent = {Intervention(kind): took for kind, took in largest.spent.items()}
    measures = tuple(dict.fromkeys(measure for run in runs for measure in run.measures))
    found = Faithfulness({}, measures, tuple(rows.values()), spent)
    faithful = frame_of_faithfulness(found, first.dataset, first.model) if rows else pd.DataFrame()
    named = located[[*CELL, "fingerprint"]].drop_duplicates()
    if named.duplicated(CELL).any():
        twice = named[named.duplicated(CELL)].iloc[0]
        name = cell_name(twice["method"], twice["variant"])
        raise StoreError(
            f"{results} has two different cells of {name} on {first.dataset} by {first.model}: "
            "run configurations with other seeds or versions into folders of their own"
        )
    names = {(str(m), str(v)): str(f) for m, v, f in named.itertuples(index=False, name=None)}
    known = {fingerprint: cost for run in runs for fingerprint, cost in run.costs.items()}
    costs = {cell: known[fingerprint] for cell, fingerprint in names.items() if fingerprint in known}
    # Localisation names a sign rule; measures take scores as they are, whatever it is.
    frame = pd.concat([located, faithful.assign(sign=first.sign)], ignore_index=True) if rows else located
    seconds = {cell: np.nan if cost.seconds is None else cost.seconds for cell, cost in costs.items()}
    ratios = [seconds.get((str(m), str(v)), np.nan) for m, v in frame[CELL].itertuples(index=False, name=None)]
    frame = frame.assign(seconds_ratio=np.array(ratios, float), dataset=first.dataset, model=first.model)
    return Panel(first.dataset, first.model, tuple(runs), frame, faithful, costs, spent, len(largest.uids))
