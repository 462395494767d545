"""Mean ranks of methods over metrics, with the critical difference of Friedman and Nemenyi.

Blocks are groups (paragraphs, images), which are independent, and not metrics, which are not. On every sample the
methods are ranked by each metric (1 = best, ties share), and get the mean of these ranks; its mean over a group's
samples ranks the methods in that block. Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atman_bench.core.records import Status
from atman_bench.metrics._statistics import FEWEST_GROUPS, LEVEL
from atman_bench.report.means import Cell, Column
from atman_bench.report.tables import CELL


@dataclass(frozen=True)
class Ranking:
    """The cells of one experiment by their mean rank.

    Attributes:
        mean_ranks: Cell -> mean rank over the blocks, best first.
        n_blocks: Groups with a sample that all of these cells have values of.
        n_samples: Those samples.
        p_value: Friedman's test of "all cells are alike"; None for two cells.
        critical_difference: Nemenyi's: cells that differ by less are not told apart at 5 %.
        left_out: Cells that lack a metric, or were run on too few samples.
    """

    mean_ranks: dict[Cell, float]
    n_blocks: int
    n_samples: int
    p_value: float | None
    critical_difference: float
    left_out: tuple[Cell, ...]


def rank_cells(frame: pd.DataFrame, columns: Sequence[Column]) -> Ranking | None:
    """Rank the cells of one experiment on the samples that they have in common.

    Cells that lack one of the metrics altogether are left out, and those with the fewest samples until five groups
    remain. A metric that is undefined for some cell on a sample does not rank there.

    Args:
        frame: Its rows, of the columns of ``tables.frame_of``.
        columns: By which metrics.

    Returns:
        The ranking, or None where there are no two cells with five groups in common.
    """
    names = [column.metric for column in columns]
    known = frame[frame["metric"].isin(names) & frame["status"].eq(Status.OK) & frame["value"].notna()]
    uids = {(str(m), str(v)): set(lines["uid"]) for (m, v), lines in known.groupby(CELL)}
    groups = known.drop_duplicates("uid").set_index("uid")["group"]
    metrics = {(str(m), str(v)): set(lines["metric"]) for (m, v), lines in known.groupby(CELL)}
    wanted = set(known["metric"])
    cells = sorted((c for c in uids if metrics[c] == wanted), key=lambda cell: (-len(uids[cell]), cell))
    left_out = [cell for cell in uids if cell not in cells]
    while len(cells) > 1:
        common = set.intersection(*(uids[cell] for cell in cells))
        if groups.loc[sorted(common)].nunique() >= FEWEST_GROUPS:
            break
        left_out.append(cells.pop())
    else:
        return None
    chosen = known[known["uid"].isin(common)]
    ranks = [_ranks(chosen, column, cells) for column in columns if chosen["metric"].eq(column.metric).any()]
    by_sample = pd.concat(ranks).groupby(level="uid").mean().dropna()
    by_group = by_sample.groupby(groups.loc[by_sample.index]).mean()
    blocks = by_group.rank(axis=1)
    means = blocks.mean().to_numpy()
    mean_ranks = {cells[place]: float(means[place]) for place in np.argsort(means, kind="stable")}
    n_blocks = len(blocks)
    return Ranking(
        mean_ranks,
        n_blocks,
        len(by_sample),
        _friedman(blocks),
        critical_difference(len(cells), n_blocks),
        tuple(left_out),
    )


def critical_difference(n_cells: int, n_blocks: int) -> float:
    """Q sqrt(k (k + 1) / (6 N)) with q the studentised range's quantile at 5 %, of k groups, over sqrt(2).

    Args:
        n_cells: k.
        n_blocks: N.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(LEVEL, n_cells, math.inf)) / math.sqrt(2)
    return q * math.sqrt(n_cells * (n_cells + 1) / (6 * n_blocks))


def _ranks(chosen: pd.DataFrame, column: Column, cells: Sequence[Cell]) -> pd.DataFrame:
    """Ranks (samples x cells) by one metric, of the samples where every cell has a value; cells by their place."""
    of_metric = chosen[chosen["metric"] == column.metric]
    places = {cell: place for place, cell in enumerate(cells)}
    at = [places.get((str(m), str(v)), -1) for m, v in of_metric[CELL].itertuples(index=False, name=None)]
    table = of_metric.assign(cell=at).query("cell >= 0").pivot(index="uid", columns="cell", values="value")
    return table.reindex(columns=range(len(cells))).dropna().rank(axis=1, ascending=not column.higher_is_better)


def _friedman(blocks: pd.DataFrame) -> float | None:
    if blocks.shape[1] < 3 or not (blocks.std(axis=1) > 0).any():
        return None
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*(blocks[column] for column in blocks)).pvalue)
