"""The verdict on a claim that one map is better than another on the same samples."""

from abc import abstractmethod
from dataclasses import dataclass

import pandas as pd

from atman_bench.metrics import METRICS
from atman_bench.metrics._statistics import FEWEST_GROUPS, LEVEL, Paired, compare
from atman_bench.paper.experiments._base import PRECISION, RECALL, Beats, Claim
from atman_bench.paper.kinds._base import Outcome
from atman_bench.report.verdicts import Ending, Verdict

RANKING = "auprc"
"""Tested beside AP: that rewards maps that are quiet off the evidence, this asks for the order of the scores alone."""


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


@dataclass(frozen=True)
class PairedTest:
    """A paired test of one number of two sides.

    Attributes:
        ending: What it says of a claim that the left side has the higher number.
        words: Heading, difference and interval.
        paired: The numbers; differences are fractions.
        groups: How many groups the samples are in.
    """

    ending: Ending
    words: str
    paired: Paired
    groups: int

    @property
    def on(self) -> str:
        """On how many samples, and why there is no interval if there is none."""
        few = f" Fewer than {FEWEST_GROUPS} groups: too few for an interval." if self.paired.interval is None else ""
        return f"on {self.paired.n} samples in {self.groups} groups.{few}"


def paired_test(heading: str, ours: pd.DataFrame, theirs: pd.DataFrame, smallest: float) -> PairedTest | None:
    """Test whether the left side has the higher number, on the samples that both sides have.

    It holds if the 95 % interval of the mean difference lies above 0, the sign-flip test agrees (intervals of few
    groups are too narrow) and the difference is as large as the smallest that matters; it is contradicted if all that
    is so the other way round. If the whole interval lies within the smallest difference, there is none that matters.

    Args:
        heading: What the number is called.
        ours: Columns ``value`` (a fraction) and ``group``, by uid.
        theirs: The same of the right side.
        smallest: The smallest difference that matters, in points (x 100).

    Returns:
        The test, or None if the sides have no sample in common.
    """
    common = ours.index.intersection(theirs.index)
    if common.empty:
        return None
    groups = ours.loc[common, "group"].to_numpy()
    paired = compare(ours.loc[common, "value"].to_numpy(), theirs.loc[common, "value"].to_numpy(), groups)
    difference = 100 * paired.difference
    words = f"{heading} {difference:+.1f}"
    if paired.interval is None:
        return PairedTest(Ending.OPEN, words, paired, len(set(groups)))
    low, high = 100 * paired.interval.low, 100 * paired.interval.high
    clear = paired.p_value < 1 - LEVEL
    ending = Ending.OPEN
    if -smallest < low and high < smallest:
        ending = Ending.NEGLIGIBLE
    elif clear and low > 0 and difference >= smallest:
        ending = Ending.HOLDS
    elif clear and high < 0 and difference <= -smallest:
        ending = Ending.OPPOSITE
    numbers = f"{words} [{low:+.1f}, {high:+.1f}], p = {paired.p_value:.4f}"
    return PairedTest(ending, numbers, paired, len(set(groups)))


def paired_verdict(claim: Beats, left: pd.DataFrame, right: pd.DataFrame, names: tuple[str, str]) -> Verdict:
    """What a paired comparison of two sides says: by the claim's metric, and beside AP by the ranking.

    A claim about AR has a twin about AP: the ranking of the two sides is tested there, once; its numbers stand here.
    """
    words = claim.words or f"{names[0]} has a higher {METRICS.get(claim.metric).column} than {names[1]}"

    def test(metric: str) -> PairedTest | None:
        return paired_test(METRICS.get(metric).column, _values(left, metric), _values(right, metric), claim.smallest)

    main = test(claim.metric)
    if main is None:
        absent = [name for name, rows in zip(names, (left, right), strict=True) if _values(rows, claim.metric).empty]
        return Verdict(
            words, Ending.UNTESTED, f"No sample has a value of {' and '.join(absent) or 'both'}.", claim.source
        )
    order = test(RANKING)
    ranking = order if claim.metric == PRECISION else None
    beside = test(next(metric for metric in (PRECISION, RECALL) if metric != claim.metric))
    numbers = "; ".join(found.words for found in (main, order, beside) if found is not None)
    because = f"{names[0]} − {names[1]}: {numbers}, 95 % paired intervals; smallest that matters {claim.smallest:g}; "
    because += main.on
    return Verdict(
        words,
        main.ending,
        because,
        claim.source,
        None if ranking is None else ranking.ending,
        main.paired.p_value,
        None if ranking is None else ranking.paired.p_value,
    )


def _values(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The samples that have a value, by uid."""
    return rows[rows["metric"].eq(metric) & rows["value"].notna()].set_index("uid")
