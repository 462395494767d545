"""Units removed or kept one after the other, by their scores: deletion, insertion, ABPC and top-k drop.

The convention, since published ones differ: units are ordered by signed score, descending, ties by index. Step i of K
concerns the first n_i = ceil(i U / K) units, i = 0 .. K. A curve holds the K + 1 log-probabilities of the target. Its
values are normalised between the full and the empty input, v = (log p - log p_empty) / (log p_full - log p_empty), not
clipped, not made monotone.

In shapes N = K + 1.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from atman_bench.core.errors import AtmanBenchError
from atman_bench.metrics.faithfulness._arrays import finite

STEPS = 10
"""K where the caller does not say otherwise."""


def removal_order(scores: Float[np.ndarray, " U"]) -> Int[np.ndarray, " U"]:
    """Units from the highest to the lowest score, ties by index; reversed it is the order of least relevance first.

    Raises:
        AtmanBenchError: A score is not finite.
    """
    return np.argsort(-finite("scores", scores, None), kind="stable")


def step_counts(n_units: int, steps: int = STEPS) -> tuple[int, ...]:
    """n_i = ceil(i U / K) for i = 0 .. K."""
    return tuple(-(-i * n_units // steps) for i in range(steps + 1))


def only_first(order: Int[np.ndarray, " U"], counts: Sequence[int]) -> Bool[np.ndarray, "C U"]:
    """Subsets that keep the first units of an order; a count beyond U means all."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place < np.asarray(counts, np.int64)[:, None]


def without_first(order: Int[np.ndarray, " U"], counts: Sequence[int]) -> Bool[np.ndarray, "C U"]:
    """Subsets that lack the first units of an order; a count beyond U means all."""
    return ~only_first(order, counts)


def curve_auc(y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"] | None = None) -> float:
    """Area under a curve divided by the range that it covers: trapezoids, so the mean height.

    Args:
        y: Heights, at least two.
        x: Where they are, ascending; None means equal steps.

    Raises:
        AtmanBenchError: There are fewer than two points, shapes differ, a value is not finite, or x does not ascend.
    """
    heights = finite("y", y, None)
    places = np.arange(len(heights)) if x is None else finite("x", x, len(heights))
    steps = np.diff(places)
    if len(heights) < 2 or (steps < 0).any() or places[-1] == places[0]:
        raise AtmanBenchError("an area needs at least two points with ascending x")
    return float(steps @ (heights[1:] + heights[:-1]) / 2 / (places[-1] - places[0]))


def deletion_auc(curve: Float[np.ndarray, " N"], *, normalised: bool = True) -> float | None:
    """Mean height of the deletion curve, most relevant units removed first; lower is better (RISE, 2018).

    sum over i of (v_(i-1) + v_i) / (2 K). None where the full and the empty input have the same log-probability; where
    they nearly have, the value is large: the target hardly depends on the units at all.

    Args:
        curve: Log-probabilities from the full input (i = 0) to the empty one (i = K).
        normalised: False leaves the heights as they are.

    Raises:
        AtmanBenchError: See ``curve_auc``.
    """
    return _area(curve, full=0, empty=-1) if normalised else curve_auc(curve)


def insertion_auc(curve: Float[np.ndarray, " N"], *, normalised: bool = True) -> float | None:
    """Mean height of the insertion curve, most relevant units kept first; higher is better. None as ``deletion_auc``.

    Args:
        curve: Log-probabilities from the empty input (i = 0) to the full one (i = K).
        normalised: False leaves the heights as they are.

    Raises:
        AtmanBenchError: See ``curve_auc``.
    """
    return _area(curve, full=-1, empty=0) if normalised else curve_auc(curve)


def abpc(least_first: Float[np.ndarray, " N"], most_first: Float[np.ndarray, " N"]) -> float | None:
    """Area between perturbation curves: AUC(least relevant removed first) - AUC(most relevant removed first).

    Both as ``deletion_auc``, normalised; higher is better, 0 for an order that says nothing (AttnLRP, Achtibat et al.
    2024). The two orders are exact reversals, ties included.

    Args:
        least_first: Log-probabilities from the full to the empty input.
        most_first: The deletion curve.

    Raises:
        AtmanBenchError: See ``curve_auc``.
    """
    least, most = deletion_auc(least_first), deletion_auc(most_first)
    return None if least is None or most is None else least - most


def topk_drop(full: float, without: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Log p(full) - log p(without the top k units), for each k; higher is better, not normalised.

    Args:
        full: Log-probability of the target with all units.
        without: The same without the top units, one value for each k (1, 3, 5 in tables).

    Raises:
        AtmanBenchError: A value is not finite.
    """
    return finite("full", np.asarray(full)) - finite("without", without)


def _area(curve: Float[np.ndarray, " N"], full: int, empty: int) -> float | None:
    heights = finite("curve", curve, None)
    span = heights[full] - heights[empty]
    return curve_auc((heights - heights[empty]) / span) if span else None
