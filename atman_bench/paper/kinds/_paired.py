"""The verdict on a claim that one map is better than another on the same samples."""

from abc import abstractmethod

import pandas as pd

from atman_bench.metrics._statistics import LEVEL, compare
from atman_bench.paper.experiments._base import Beats, Claim
from atman_bench.paper.kinds._base import Outcome
from atman_bench.report.page import Ending, Verdict
from atman_bench.report.tables import with_interval


class PairedOutcome(Outcome):
    """What a run gave whose samples have a value of each method, so that two of them can be compared."""

    @abstractmethod
    def side(self, text: str) -> tuple[str, pd.DataFrame]:
        """What tables call one side of a claim, and its rows: none if the run has no such side."""

    def verdict(self, claim: Claim) -> Verdict:
        """The verdict on a claim about two sides."""
        if not isinstance(claim, Beats):
            return super().verdict(claim)
        (left, ours), (right, theirs) = self.side(claim.left), self.side(claim.right)
        return paired_verdict(claim, ours, theirs, (left, right))


def paired_verdict(claim: Beats, left: pd.DataFrame, right: pd.DataFrame, names: tuple[str, str]) -> Verdict:
    """What a paired comparison of two sides says.

    An interval of few groups is too narrow, so the sign-flip test has to agree.
    """
    short = {metric: name for name, metric in with_interval().items()}.get(claim.metric, claim.metric)
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
