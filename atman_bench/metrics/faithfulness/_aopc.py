"""AOPC, and its place between the worst and the best order of the same units (Edin et al. 2024).

The area over the perturbation curve depends on the model and the sample more than on the map: one model's worst order
may have a higher AOPC than another's best. So raw values are not comparable across models, normalised ones are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import AtmanBenchError
from atman_bench.metrics.faithfulness._arrays import finite

MOST_UNITS = 64
"""Beyond, bounds take more than beam x U (U + 1) / 2 = 10,000 passes."""

LogprobsOf = Callable[[Bool[np.ndarray, "n U"]], Float[np.ndarray, " n"]]
"""Subsets, True = kept -> log-probability of the target under each."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest AOPC over orders of the units.

    Attributes:
        lower: Lowest that was found.
        upper: Highest that was found.
        exact: Whether no order was left out; else the true bounds may lie outside, and a normalised value may leave
            [0, 1].
    """

    lower: float
    upper: float
    exact: bool


def aopc(curve: Float[np.ndarray, " N"]) -> float:
    """Mean over i = 1 .. U of log p(full) - log p(without the first i units); higher is better for most relevant first.

    Args:
        curve: Log-probabilities from the full (i = 0) to the empty input, one unit less at every step (N = U + 1).

    Raises:
        AtmanBenchError: There is no step, or a value is not finite.
    """
    heights = finite("curve", curve, None)
    if len(heights) < 2:
        raise AtmanBenchError("AOPC needs at least one step")
    return float((heights[0] - heights[1:]).mean())


def normalised_aopc(value: float, bounds: Bounds) -> float | None:
    """(AOPC - lower) / (upper - lower): 0 for the worst order, 1 for the best; None where all are alike."""
    span = bounds.upper - bounds.lower
    return (value - bounds.lower) / span if span else None


BEAM = 5
"""Sets that a search for bounds keeps at every step."""


def most_subsets_of_bounds(n_units: int) -> int:
    """Subsets that a search for bounds asks for at the most: two searches of U steps, one unit less at each."""
    return 2 * BEAM * n_units * (n_units + 1) // 2


def aopc_bounds(logprobs_of: LogprobsOf, n_units: int, beam: int = BEAM) -> Bounds:
    """Beam search over orders for the lowest and the highest AOPC.

    What an order can still reach depends on the set of units that it has removed, not on their order: of two orders
    that have removed the same set the better one is kept. So a beam as wide as the number of sets of one size is exact.

    Args:
        logprobs_of: See ``LogprobsOf``; called once per step and bound, with at most beam x U subsets.
        n_units: U.
        beam: How many sets are kept at every step.

    Raises:
        AtmanBenchError: More than 64 units, none, or a beam below 1.
    """
    if not 1 <= n_units <= MOST_UNITS or beam < 1:
        raise AtmanBenchError(
            f"bounds of AOPC are searched for 1 to {MOST_UNITS} units with a beam of at least 1; "
            f"received {n_units} units and a beam of {beam}: use fewer, larger units"
        )
    full = float(logprobs_of(np.ones((1, n_units), np.bool_))[0])
    search = partial(_best_total, logprobs_of, full, n_units, beam)
    (lowest, all_low), (highest, all_high) = search(-1.0), search(1.0)
    return Bounds(-lowest / n_units, highest / n_units, all_low and all_high)


def _best_total(logprobs_of: LogprobsOf, full: float, n_units: int, beam: int, sign: float) -> tuple[float, bool]:
    """The highest sign x total loss of log-probability over orders, and whether none was left out."""
    kept, totals, exact = np.ones((1, n_units), np.bool_), np.zeros(1), True
    for _ in range(n_units):
        state, unit = kept.nonzero()
        following = kept[state]
        following[np.arange(len(unit)), unit] = False
        subsets, which = np.unique(following, axis=0, return_inverse=True)
        reached = np.full(len(subsets), -np.inf)
        np.maximum.at(reached, which.ravel(), totals[state])
        reached += sign * (full - logprobs_of(subsets))
        best = np.argsort(-reached, kind="stable")[:beam]
        exact &= len(best) == len(subsets)
        kept, totals = subsets[best], reached[best]
    return float(totals[0]), exact
