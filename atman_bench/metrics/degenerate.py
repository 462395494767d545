"""Whether a map has no positive total: stored beside the other metrics, so that tables can count such maps."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked, is_degenerate
from atman_bench.metrics._base import MetricSpec


def degenerate(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """1 for a degenerate map (``is_degenerate``), for which average precision is 0 by definition, else 0; never None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    return float(is_degenerate(checked(x, y)[0]))


SPEC = MetricSpec(
    "whether the map has no relevance to share out (counted in tables)",
    False,
    degenerate,
    "degenerate",
    order=60,
    is_count=True,
)
