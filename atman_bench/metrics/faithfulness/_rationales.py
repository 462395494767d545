"""Comprehensiveness and sufficiency of the top units as a rationale (ERASER, DeYoung et al. 2020)."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._ranking import count_at
from atman_bench.metrics.faithfulness._arrays import finite

PERCENTS = (1, 5, 10, 20, 50)
"""Sizes of rationales, in per cent of the units. The paper's formula also has the empty one, its code does not."""


def rationale_sizes(n_units: int) -> tuple[int, ...]:
    """How many units each of these rationales has: max(1, ceil(q U / 100))."""
    return tuple(count_at(percent, n_units) for percent in PERCENTS)


def comprehensiveness(p_full: Float[np.ndarray, " n"], p_without: Float[np.ndarray, "n K"]) -> Float[np.ndarray, " n"]:
    """Mean over K rationales of p(y | x) - p(y | x without r); higher is better.

    Without its reasons the answer is lost. Probabilities of the target, not logarithms (``topk_drop`` takes these): a
    target that is unlikely in full has small values whatever the map. In [-1, 1].

    Args:
        p_full: With all units, for each of n samples.
        p_without: Without the units of each rationale.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    return _mean_loss(p_full, "p_without", p_without)


def sufficiency(p_full: Float[np.ndarray, " n"], p_only: Float[np.ndarray, "n K"]) -> Float[np.ndarray, " n"]:
    """Mean over K rationales of p(y | x) - p(y | r); *lower* is better: the reasons alone give the answer.

    May be negative, where the rationale alone makes the target likelier. In [-1, 1].

    Args:
        p_full: With all units, for each of n samples.
        p_only: With the units of each rationale alone.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    return _mean_loss(p_full, "p_only", p_only)


def _mean_loss(p_full: Float[np.ndarray, " n"], name: str, left: Float[np.ndarray, "n K"]) -> Float[np.ndarray, " n"]:
    full = finite("p_full", p_full, None)
    return (full[:, None] - finite(name, left, len(full), None)).mean(1)
