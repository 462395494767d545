"""Average precision of the paper (A.11): the share of a map's relevance that lies on the evidence.

The field calls it *relevance mass accuracy* (Arras et al., 2022); what it calls average precision is our ``auprc``.
"""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked, is_degenerate
from atman_bench.metrics._base import MetricSpec


def average_precision(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """AP = sum(x y) / sum(x), AtMan paper, appendix A.11.

    In [0, 1] for maps without negative scores; a uniform map has the coverage of the label. It does not depend on the
    map's scale (the released code's 1e-7 in the denominator, which made it do so, is left out).

    Undefined cases: an empty label gives None. A degenerate map (``is_degenerate``: all zero, or a signed map whose sum
    is not positive) gives 0: a share of nothing, or of a negative total, would rank anti-explanations first. Other
    signed maps are taken as they are, and the value may leave [0, 1].

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    if not y.any():
        return None
    return 0.0 if is_degenerate(x) else float(x @ y / x.sum())


SPEC = MetricSpec(
    "share of the relevance that lies on the evidence (AP of A.11; relevance mass accuracy)",
    True,
    average_precision,
    "mAP",
    interval=True,
    interquartile=True,
    order=10,
    in_terminal=True,
)
