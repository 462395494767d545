"""Top-area IoU: overlap of the evidence with as many of the most relevant units as the evidence is large."""

import math

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._ranking import expected_top


def top_area_iou(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """E / (n + sum(y) - E), E = expected covered evidence among the n highest scores, n = ceil(sum(y)).

    Intersection over union in units of area. Ties at the n-th place have expected credit: E is a mean over the orders
    of tied units (the ratio of means, not the mean of ratios). In [0, 1]; a unit that is covered in part keeps the
    value below 1. Without evidence the result is None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    area = float(y.sum())
    if not area:
        return None
    n = math.ceil(round(area, 9))  # shares that add up to a whole number may exceed it by rounding
    covered = expected_top(x, y, max(1, n))
    return covered / (n + area - covered)


SPEC = MetricSpec(
    "overlap (IoU) of the evidence with equally many of the top units",
    True,
    top_area_iou,
    "top_area_iou",
    order=81,
    heading="top IoU",
    by_default=False,
)
