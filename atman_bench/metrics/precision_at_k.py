"""Precision among the k most relevant units, k being the number of units of evidence."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked, relevant
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import expected_top


def precision_at_k(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """Share of evidence among the k highest scores, k = number of units of evidence (R-precision).

    Scores tied at the k-th place count with their expected share, as if ties were broken at random: a constant map has
    the coverage of the label. A unit is evidence if the label covers at least half of it; without such a unit the
    result is None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    evidence = relevant(y)
    k = int(evidence.sum())
    if not k:
        return None
    return expected_top(x, evidence, k) / k


SPEC = MetricSpec(
    "share of evidence among the k top units, k = units of evidence", True, precision_at_k, "P@k", order=40
)
