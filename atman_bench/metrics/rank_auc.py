"""Rank AUC: the probability that a unit of evidence scores higher than another unit, weighted by coverage."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked
from atman_bench.metrics._base import MetricSpec


def rank_auc(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """Sum over pairs of y_p (1 - y_q) [1 if x_p > x_q, 1/2 if tied] / (sum(y) sum(1 - y)).

    The area under the receiver operating characteristic, in which a unit is evidence to the share that it is covered:
    nothing is cut at one half. In [0, 1]; a constant map, like chance, has 1/2. A unit that is covered in part is
    compared with itself too (a tie), so such labels do not allow 1. Without evidence, or without anything else, the
    result is None.

    It is not the area under the precision-recall curve (``auprc``), which weighs the top of the ranking more.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    evidence, others = float(y.sum()), float((1 - y).sum())
    if not (evidence and others):
        return None
    # Units of one score are one step: they beat all others below, and half of those beside them.
    _, step = np.unique(x, return_inverse=True)
    positive, negative = np.bincount(step, weights=y), np.bincount(step, weights=1 - y)
    return float(positive @ (negative.cumsum() - negative / 2) / (evidence * others))


SPEC = MetricSpec(
    "probability that evidence scores higher than another unit (area under the ROC curve, weighted by coverage)",
    True,
    rank_auc,
    "rank_auc",
    order=70,
    heading="rank AUC",
    by_default=False,
)
