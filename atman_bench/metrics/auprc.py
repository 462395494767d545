"""Area under the precision-recall curve of a map as a ranking of the units."""

import numpy as np
from jaxtyping import Float

from atman_bench.metrics._arrays import Label, checked, relevant
from atman_bench.metrics._base import MetricSpec


def auprc(x: Float[np.ndarray, " U"], y: Label) -> float | None:
    """Scikit-learn's average precision: the mean over recall steps of the precision, tied scores as one step.

    Only the order of the scores counts. A constant map (all zero too) has the coverage of the label, as chance has. A
    unit is evidence if the label covers at least half of it; without such a unit the result is None.

    Raises:
        AtmanBenchError: See ``checked``.
    """
    # Tables read this file for its heading alone; scikit-learn takes a second to import.
    from sklearn.metrics import average_precision_score

    x, y = checked(x, y)
    evidence = relevant(y)
    return float(average_precision_score(evidence, x)) if evidence.any() else None


SPEC = MetricSpec(
    "area under the precision-recall curve (scikit-learn's average_precision_score)",
    True,
    auprc,
    "AUPRC",
    interval=True,
    order=15,
    in_terminal=True,
)
