"""Recovery at 5 %: the share of the evidence that the 5 % of units with the highest scores cover."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import recovery


def recovery_at_5(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """See ``recovery``, with q = 5."""
    return recovery(x, y, 5)


SPEC = MetricSpec(
    "share of the evidence that the top 5 % of units cover, with expected credit for ties",
    True,
    recovery_at_5,
    "recovery_at_5",
    order=71,
    heading="R@5",
    by_default=False,
)
