"""Recovery at 30 %: the share of the evidence that the 30 % of units with the highest scores cover."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import recovery


def recovery_at_30(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """See ``recovery``, with q = 30."""
    return recovery(x, y, 30)


SPEC = MetricSpec(
    "share of the evidence that the top 30 % of units cover, with expected credit for ties",
    True,
    recovery_at_30,
    "recovery_at_30",
    order=76,
    heading="R@30",
    by_default=False,
)
