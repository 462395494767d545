"""Rows of sanity checks. Nothing here loads torch."""

from dataclasses import dataclass
from enum import StrEnum

from atman_bench.core.records import Status


class Check(StrEnum):
    """What is asked of a method; the text says what a row's number is."""

    RANDOMISED = "randomised"
    """Rank correlation with the trained model's map, a share of the layers randomised from the top."""
    TARGET = "other_target"
    """Rank correlation with the map of another target."""
    DUPLICATE = "duplicate"
    """Of the positive relevance of a fact that is said twice, the share of the place that gets less."""
    ABSENT = "absent"
    """Of the highest score with and without the sentences that give the answer, the share of the latter."""
    FACTOR_ONE = "factor_one"
    """The largest absolute score where nothing is suppressed (f = 0)."""


@dataclass(frozen=True)
class SanityRow:
    """One number of one method on one sample.

    Attributes:
        fingerprint: Of the method's cell, as ``eval`` would store it.
        method: The method.
        variant: Its variant.
        uid: The sample's.
        group: What bootstrap intervals resample.
        check: What was asked.
        share: Of the layers that were randomised; 0 for other checks.
        status: How it ended: ``skipped`` where the check is not defined.
        value: See ``Check``; None where it is undefined.
        error: Why the status is not ``ok``.
    """

    fingerprint: str
    method: str
    variant: str
    uid: str
    group: str
    check: Check
    share: float
    status: Status
    value: float | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What a row answers."""
        return self.fingerprint, self.uid, self.check.value, self.share
