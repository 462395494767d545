"""Average recall of the paper (A.11): how much of the evidence is as relevant as the most relevant unit."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked
from atman_bench.metrics._base import MetricSpec


def average_recall(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """AR = sum(x y) / (max(x) sum(y)), AtMan paper, appendix A.11.

    In [0, 1] for maps without negative scores; a uniform map has 1, whatever the label: read it beside that floor, and
    never compare it across ways of turning signed scores into maps.

    Undefined cases: an empty label gives None. A map without a positive score gives 0. Other signed maps are taken as
    they are, and the value may be negative.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    if not y.any():
        return None
    peak = x.max()
    return float(x @ y / (peak * y.sum())) if peak > 0 else 0.0


SPEC = MetricSpec(
    "relevance of the evidence relative to the most relevant unit (AR of A.11)",
    True,
    average_recall,
    "mAR",
    interval=True,
    interquartile=True,
    order=20,
    in_terminal=True,
)
