"""Recovery at 50 %: the share of the evidence that the 50 % of units with the highest scores cover."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import recovery


def recovery_at_50(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """See ``recovery``, with q = 50."""
    return recovery(x, y, 50)


SPEC = MetricSpec(
    "share of the evidence that the top 50 % of units cover, with expected credit for ties",
    True,
    recovery_at_50,
    "recovery_at_50",
    order=80,
    heading="R@50",
    by_default=False,
)
