"""Is one of the three most relevant units evidence?"""

import numpy as np

from atman_bench import MetricSpec


def top_three(x, y):
    """1 if the label covers at least half of one of the three units with the highest scores, else 0."""
    evidence = np.asarray(y) >= 0.5
    if not evidence.any():
        return None
    return float(evidence[np.argsort(-np.asarray(x), kind="stable")[:3]].any())


SPEC = MetricSpec(
    summary="whether one of the three most relevant units is evidence (example plug-in)",
    higher_is_better=True,
    function=top_three,
    column="top3",
    by_default=False,
)
