"""Verdicts on what the paper claims, corrected for their number, and counted.

Claims are what the paper says, each with its place there. What the paper does not say but a sound benchmark asks (are
maps better than chance?) is a sanity check: the same tests, counted apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from atman_bench.metrics._statistics import LEVEL


class Ending(StrEnum):
    """The verdict on a claim, as pages say it."""

    HOLDS = "holds here"
    OPPOSITE = "contradicted here"
    NEGLIGIBLE = "no difference that matters here"
    OPEN = "undecided here"
    MIXED = "holds here in some cases only"
    UNTESTED = "not tested here"


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim.

    Attributes:
        claim: In words.
        ending: The verdict, by the paper's metric.
        because: The numbers that say so.
        source: Where the paper says it; empty for a sanity check.
        ranking: The verdict of AUPRC, which asks for the order of the scores alone, beside one of AP; None for others.
        p_value: Of the test behind ``ending``; None if there was none.
        ranking_p: The same of ``ranking``.
    """

    claim: str
    ending: Ending
    because: str
    source: str = ""
    ranking: Ending | None = None
    p_value: float | None = None
    ranking_p: float | None = None

    @property
    def disagree(self) -> bool:
        """Whether AP and the ranking lead to different verdicts."""
        return self.ranking is not None and self.ranking is not self.ending

    @property
    def head(self) -> str:
        """The claim, where it is from, and the verdict."""
        return f"{self.claim} ({self.source or 'sanity check'}): {self.ending}."

    @property
    def details(self) -> str:
        """The verdict by the order of the scores, and the numbers."""
        if self.ranking is None:
            return self.because
        differ = " The verdicts differ: AP rewards maps that are quiet off the evidence." if self.disagree else ""
        return f"By AUPRC, the order alone: {self.ranking}.{differ} {self.because}"

    @property
    def mark(self) -> str:
        """A sign of the verdict, not a colour alone: pages are readable in black and white."""
        return _MARKS[self.ending]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979): the i-th smallest of m is multiplied by m - i + 1, up to 1.

    Returns:
        The adjusted values in the order received; never smaller than that of a smaller p-value.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts that hold or are contradicted by tests that are significant after Holm's correction; others are open.

    Claims and sanity checks, the paper's metric and the ranking are four families of tests.
    """
    found = list(verdicts)
    for of_claims in (True, False):
        family = [i for i, verdict in enumerate(found) if bool(verdict.source) is of_claims]
        tested = [i for i in family if found[i].p_value is not None]
        for i, p in zip(tested, holm([found[i].p_value or 0.0 for i in tested]), strict=True):
            found[i] = replace(
                found[i],
                ending=_kept(found[i].ending, p),
                because=f"{found[i].because} Holm-corrected p = {p:.2g} ({len(tested)} tests).",
            )
        ranked = [i for i in family if found[i].ranking_p is not None]
        for i, p in zip(ranked, holm([found[i].ranking_p or 0.0 for i in ranked]), strict=True):
            ranking = found[i].ranking
            found[i] = replace(
                found[i],
                ranking=None if ranking is None else _kept(ranking, p),
                because=f"{found[i].because} Of AUPRC: {p:.2g} ({len(ranked)} tests).",
            )
    return found


def headline(verdicts: Iterable[Verdict]) -> str:
    """Count the verdicts in words: the paper's claims first, and then the sanity checks."""
    every = list(verdicts)
    claims = [verdict for verdict in every if verdict.source]
    checks = [verdict for verdict in every if not verdict.source]
    sentences = []
    if claims:
        tested = [verdict for verdict in claims if verdict.ending is not Ending.UNTESTED]
        sentences.append(f"Of {len(claims)} claims of the paper {len(tested)} were tested{_counts(tested)}.")
        ranked = [verdict for verdict in tested if verdict.ranking is not None]
        if ranked:
            sentences.append(
                f"By the order of the scores alone (AUPRC), of the {len(ranked)} claims about mAP "
                f"{_counts(ranked, by_ranking=True).removeprefix(': ')}; the two verdicts differ on "
                f"{sum(verdict.disagree for verdict in ranked)}."
            )
    if checks:
        tested = [verdict for verdict in checks if verdict.ending is not Ending.UNTESTED]
        sentences.append(f"Sanity checks, which the paper does not state: {len(tested)} tested{_counts(tested)}.")
    return " ".join(sentences)


def _kept(ending: Ending, p_value: float) -> Ending:
    if ending in (Ending.HOLDS, Ending.OPPOSITE) and p_value >= 1 - LEVEL:
        return Ending.OPEN
    return ending


def _counts(verdicts: Sequence[Verdict], *, by_ranking: bool = False) -> str:
    counts = Counter(verdict.ranking if by_ranking else verdict.ending for verdict in verdicts)
    listed = ", ".join(f"{counts[ending]} {_SHORT[ending]}" for ending in _SHORT if counts[ending])
    return f": {listed}" if listed else ""


_MARKS = {
    Ending.HOLDS: "✓",
    Ending.OPPOSITE: "✗",
    Ending.NEGLIGIBLE: "=",
    Ending.OPEN: "?",
    Ending.MIXED: "≈",
    Ending.UNTESTED: "–",
}

_SHORT = {
    Ending.HOLDS: "hold",
    Ending.OPPOSITE: "are contradicted",
    Ending.NEGLIGIBLE: "show no difference that matters",
    Ending.OPEN: "are undecided",
    Ending.MIXED: "hold in some cases only",
    Ending.UNTESTED: "were not tested",
}
