"""Recovery at 20 %: the share of the evidence that the 20 % of units with the highest scores cover."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import recovery


def recovery_at_20(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """See ``recovery``, with q = 20."""
    return recovery(x, y, 20)


SPEC = MetricSpec(
    "share of the evidence that the top 20 % of units cover, with expected credit for ties",
    True,
    recovery_at_20,
    "recovery_at_20",
    order=74,
    heading="R@20",
    by_default=False,
)
