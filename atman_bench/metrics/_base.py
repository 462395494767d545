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
        column: Name of its column in summaries.
        interval: Whether tables show its 95 % interval beside the mean.
        interquartile: Whether tables show its interquartile means too, as the paper prints them.
        order: Place of its column: columns are ordered by this number, then by heading.
        is_count: Whether tables show the sum over samples, as a number of samples, and not 100 times the mean.
        heading: Heading of its column in printed tables; ``column`` where that is empty.
        in_terminal: Whether it has a column in the table of the terminal, which has room for few.
        by_default: Whether runs and tables compute it where no metrics are named; others have to be asked for by name.
    """

    summary: str
    higher_is_better: bool
    function: Callable[[Float[np.ndarray, " U"], Float[np.ndarray, " U"] | Bool[np.ndarray, " U"]], float | None]
    column: str
    interval: bool = False
    interquartile: bool = False
    order: int = 100
    is_count: bool = False
    heading: str = ""
    in_terminal: bool = False
    by_default: bool = True
