"""What every metric does first: check a map and its label, and say whether the map is degenerate."""

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import AtmanBenchError

Label = Float[np.ndarray, " U"] | Bool[np.ndarray, " U"]
"""Membership of each of the U units in the evidence: booleans, or shares in [0, 1] of a unit that is covered."""

ROUNDING = 1e-7
"""A total below this share of the map's absolute total is rounding: float32 scores cannot tell it from zero."""


def checked(x: np.ndarray, y: np.ndarray) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, " U"]]:
    """Return a map and its label in float64.

    Raises:
        AtmanBenchError: Not one axis of the same length, no unit, a score that is not finite, a label outside [0, 1].
    """
    scores, label = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if scores.ndim != 1 or scores.shape != label.shape or not scores.size:
        raise AtmanBenchError(
            f"a metric takes one score and one label per unit; received shapes {scores.shape} and {label.shape}"
        )
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise AtmanBenchError(
            f"{bad} of {scores.size} scores are not finite; expected finite relevance: try a wider dtype (float32)"
        )
    if not ((label >= 0) & (label <= 1)).all():
        raise AtmanBenchError(f"labels are shares of a unit in [0, 1]; received {label.min()} to {label.max()}")
    return scores, label


def relevant(y: Float[np.ndarray, " U"]) -> Bool[np.ndarray, " U"]:
    """Units that count as evidence for metrics of a ranking: at least half of the unit is covered."""
    return y >= 0.5


def is_degenerate(x: Float[np.ndarray, " U"]) -> bool:
    """Whether a map has no relevance to share out: its sum is not above zero, beyond rounding.

    All-zero maps are degenerate, and signed maps in which the negative scores outweigh the positive ones. Average
    precision is 0 for them by definition, and tables count them.
    """
    scores = np.asarray(x, np.float64)
    return bool(scores.sum() <= ROUNDING * np.abs(scores).sum())
