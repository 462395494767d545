"""Averages over samples with bootstrap intervals, and paired comparisons; resampled over groups, not samples.

Questions about one paragraph (or crops of one image) are not independent, so whole groups are drawn with replacement. N
samples, G groups, R resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from atman_bench.core.errors import AtmanBenchError

FEWEST_GROUPS = 5
"""With fewer there is no interval: resamples of so few repeat a handful of sums, and are far too narrow."""

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 2_000_000
"""Entries of the (R, N) arrays that are held at once: 16 MB each."""


@dataclass(frozen=True)
class Average:
    """The mean of the values v between two quantiles of theirs: q(lower) <= v <= q(upper), numpy's linear quantiles.

    Between the quartiles of two values there is none of them: their interquartile mean is their mean.
    """

    lower: float
    upper: float


MEAN = Average(0.0, 1.0)
IQ_MEAN = Average(0.25, 0.75)
"""The interquartile mean (mAP_IQ and mAR_IQ of the paper's tables)."""
IQ_25_72 = Average(0.25, 0.72)
"""What the released notebooks compute under that name; it reproduces the paper's Table 3."""


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap percentile interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """One method against another on the same samples.

    Attributes:
        n: Number of samples.
        difference: Mean of a - b.
        interval: Of the difference; None for fewer than ``FEWEST_GROUPS`` groups.
        p_value: Two-sided sign-flip test over groups of "the difference is symmetric about 0".
    """

    n: int
    difference: float
    interval: Interval | None
    p_value: float


def average(values: Float[np.ndarray, " N"], kind: Average = MEAN) -> float:
    """Average of at least one finite value."""
    _check(values)
    low, high = np.quantile(values, [kind.lower, kind.upper])
    inner = values[(values >= low) & (values <= high)]
    return float((inner if len(inner) else values).mean())


def bootstrap_interval(
    values: Float[np.ndarray, " N"], groups: Shaped[np.ndarray, " N"], kind: Average = MEAN, seed: int = 0
) -> Interval | None:
    """95 % percentile interval of an average, over resampled groups.

    Returns:
        The interval, or None for fewer than ``FEWEST_GROUPS`` groups.

    Raises:
        AtmanBenchError: No value, or one that is not finite.
    """
    _check(values)
    order = np.argsort(values)
    ascending, codes = values[order], np.unique(groups, return_inverse=True)[1][order]
    if codes.max() + 1 < FEWEST_GROUPS:
        return None
    draws = resample(int(codes.max()) + 1, rows=max(1, _CHUNK // len(values)), seed=seed)
    if kind == MEAN:  # sums and sizes of groups are enough
        totals, sizes = np.bincount(codes, weights=ascending), np.bincount(codes)
        estimates = [(counts @ totals) / (counts @ sizes) for counts in draws]
    else:
        estimates = [weighted_averages(ascending, counts[:, codes], kind) for counts in draws]
    return _percentiles(np.concatenate(estimates))


def compare(
    a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"], groups: Shaped[np.ndarray, " N"], seed: int = 0
) -> Paired:
    """Compare two methods on the same samples: mean difference, its interval and a sign-flip test, both over groups.

    Under the hypothesis of the test, swapping the methods within a group changes nothing; p counts the random swaps
    whose difference is as large, the observed one included, so it is at least 1 / (R + 1).

    Raises:
        AtmanBenchError: No value, or one that is not finite.
    """
    gains = a - b
    interval = bootstrap_interval(gains, groups, seed=seed)
    totals = np.bincount(np.unique(groups, return_inverse=True)[1], weights=gains)
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(totals))
    flipped = [np.abs((2.0 * rng.integers(0, 2, (size, len(totals))) - 1) @ totals) for size in _sizes(RESAMPLES, rows)]
    # Swaps that only reorder the sum must count as equal to the observed difference.
    observed = abs(totals.sum()) * (1 - 1e-9)
    as_large = sum(int((sums >= observed).sum()) for sums in flipped)
    return Paired(len(gains), float(gains.mean()), interval, (1 + as_large) / (1 + RESAMPLES))


def resample(n_groups: int, rows: int, seed: int) -> Iterator[Int[np.ndarray, "R G"]]:
    """How often each group occurs in each resample of G groups with replacement; at most ``rows`` resamples at once."""
    rng = np.random.default_rng(seed)
    for size in _sizes(RESAMPLES, rows):
        drawn = rng.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)


def weighted_averages(
    ascending: Float[np.ndarray, " N"], counts: Int[np.ndarray, "R N"], kind: Average
) -> Float[np.ndarray, " R"]:
    """``average`` of R samples in which each of the values, sorted ascending, occurs ``counts`` times."""
    up_to = np.cumsum(counts, axis=1)
    total = np.cumsum(counts * ascending, axis=1)
    first = np.searchsorted(ascending, _quantiles(ascending, up_to, kind.lower), side="left")
    last = np.searchsorted(ascending, _quantiles(ascending, up_to, kind.upper), side="right") - 1
    empty = _in_range(up_to, first, last) == 0
    first, last = np.where(empty, 0, first), np.where(empty, len(ascending) - 1, last)
    return _in_range(total, first, last) / _in_range(up_to, first, last)


def _in_range(
    cumulated: Shaped[np.ndarray, "R N"], first: Int[np.ndarray, " R"], last: Int[np.ndarray, " R"]
) -> Shaped[np.ndarray, " R"]:
    """Sum from the first to the last index of each resample; 0 where the last comes before the first."""
    row = np.arange(len(cumulated))
    return cumulated[row, last] - np.where(first > 0, cumulated[row, first - 1], 0)


def _quantiles(
    ascending: Float[np.ndarray, " N"], up_to: Int[np.ndarray, "R N"], quantile: float
) -> Float[np.ndarray, " R"]:
    """The linear quantile (numpy's) of each resample, from the cumulated counts."""
    place = (up_to[:, -1] - 1) * quantile
    below, above = (ascending[(up_to <= rank[:, None]).sum(axis=1)] for rank in (np.floor(place), np.ceil(place)))
    return below + (place - np.floor(place)) * (above - below)


def _percentiles(estimates: Float[np.ndarray, " R"]) -> Interval:
    low, high = np.quantile(estimates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _sizes(total: int, rows: int) -> Iterator[int]:
    for start in range(0, total, rows):
        yield min(rows, total - start)


def _check(values: Float[np.ndarray, " N"]) -> None:
    if not len(values) or not np.isfinite(values).all():
        raise AtmanBenchError(f"an average takes at least one finite value; received {values!r}")
