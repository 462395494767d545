"""Recovery at 10 %: the share of the evidence that the 10 % of units with the highest scores cover."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import recovery


def recovery_at_10(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """See ``recovery``, with q = 10."""
    return recovery(x, y, 10)


SPEC = MetricSpec(
    "share of the evidence that the top 10 % of units cover, with expected credit for ties",
    True,
    recovery_at_10,
    "recovery_at_10",
    order=72,
    heading="R@10",
    by_default=False,
)
