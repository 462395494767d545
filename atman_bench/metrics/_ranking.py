"""The units of highest score, with expected credit where scores are tied."""

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.metrics._arrays import Label, checked


def count_at(percent: int, n_units: int) -> int:
    """How many units q % of U are: max(1, ceil(q U / 100)), in whole numbers, so that 10 % of 20 is 2 and never 3."""
    return max(1, -(-percent * n_units // 100))


def expected_top(x: Float[np.ndarray, " U"], y: Float[np.ndarray, " U"] | Bool[np.ndarray, " U"], n: int) -> float:
    """The sum of y over the n highest scores; units tied at the n-th place count with their mean.

    Args:
        x: Scores.
        y: What is summed.
        n: 1 to U.
    """
    threshold = np.partition(x, -n)[-n]
    above, tied = x > threshold, x == threshold
    places_left = n - above.sum()
    return float(y[above].sum() + places_left * y[tied].mean())


def recovery(x: Float[np.ndarray, " U"], y: Label, percent: int) -> float | None:
    """Share of the evidence that the q % of units with the highest scores cover.

    sum of y over the top n / sum(y), n = max(1, ceil(q U / 100)); coverage weighs, nothing is cut at one half, and ties
    at the n-th place have expected credit. In [0, 1]; a constant map has n / U. Evidence of more than n whole units
    cannot be recovered in full, so values compare at equal q only. Without evidence the result is None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    if not y.any():
        return None
    return expected_top(x, y, count_at(percent, x.size)) / float(y.sum())
