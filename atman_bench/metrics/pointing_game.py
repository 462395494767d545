"""Pointing game: does the most relevant unit lie in the evidence?"""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked, relevant
from atman_bench.metrics._base import MetricSpec


def pointing_game(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """1 if the highest score lies in the evidence, else 0 (Zhang et al., 2018, "Top-down neural attention").

    Tied maxima count with the share of them that lies in the evidence: a constant map has the coverage of the label. A
    unit is evidence if the label covers at least half of it; without such a unit the result is None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    x, y = checked(x, y)
    evidence = relevant(y)
    return float(evidence[x == x.max()].mean()) if evidence.any() else None


SPEC = MetricSpec(
    "whether the most relevant unit is evidence (pointing game)",
    True,
    pointing_game,
    "pointing",
    order=50,
    heading="point",
)
