"""What a metric file defines."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class MetricSpec:
    """A metric of one map against one label.

    Attributes:
        summary: One line for ``atman-bench list metrics``, with the source.
        higher_is_better: The metric's direction.
        function: ``(x (U,), y (U,)) -> value``, or None where it is undefined (each metric says when).
    """

    summary: str
    higher_is_better: bool
    function: Callable[[Float[np.ndarray, " U"], Float[np.ndarray, " U"] | Bool[np.ndarray, " U"]], float | None]
