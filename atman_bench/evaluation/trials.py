"""What methods take on a run's samples, by running each on a few of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from atman_bench.core.errors import NotApplicableError
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.explaining import derived_seed, explain_sample
from atman_bench.evaluation.relative_costs import representative
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.store import Cell

SAMPLES = 10
"""That a method is run on at the most, after one that is not counted: it also loads what the method needs."""

ENOUGH = 2.0
"""Seconds after which a method is run on no further sample; one that takes longer is run once."""

BUDGET = 30.0
"""Seconds that all trials of a dry run may take."""


@dataclass(frozen=True)
class Trial:
    """What a method took.

    Attributes:
        samples: How many it was timed on.
        per_position: Seconds, by the positions that its whole passes would put through the model.
    """

    samples: int
    per_position: float


class Trials:
    """Trials of several methods within one budget.

    Args:
        seed: Of the run.
        pace: Seconds of a position of a plain forward pass, by which a method's first run is expected to take its time.
    """

    def __init__(self, seed: int, pace: float):
        self._seed = seed
        self._pace = pace
        self._left = BUDGET
        self._items: dict[str, PreparedSample] = {}

    def of(self, cell: Cell, missing: Sequence[PreparedSample], positions: Sequence[float]) -> Trial | None:
        """Run a method on samples of typical lengths; nothing is stored.

        Args:
            cell: The method.
            missing: Samples that it lacks, at least one.
            positions: Positions of its whole passes for each of them.

        Returns:
            None where one sample is expected to take more than is left, and where none can be explained.
        """
        of_uid = {item.uid: count for item, count in zip(missing, positions, strict=True)}
        chosen = representative(missing, SAMPLES)
        middle = chosen[len(chosen) // 2]
        if of_uid[middle.uid] * self._pace > self._left:
            return None
        runs: list[tuple[float, float]] = []
        started = perf_counter()  # a sample that ends in an error takes its time too
        for item in (middle, *chosen):
            seconds = self._seconds(cell, item)
            if seconds is not None:
                runs.append((seconds, of_uid[item.uid]))
            if perf_counter() - started >= ENOUGH:
                break
        self._left -= perf_counter() - started
        counted = runs[1:] or runs
        if not counted:
            return None
        # The median, since now and then a run takes ten times as long: garbage is collected, or others use the machine.
        return Trial(len(counted), median(taken / count for taken, count in counted))

    def _seconds(self, cell: Cell, item: PreparedSample) -> float | None:
        shared = self._items.setdefault(item.uid, item.without_tensors())
        try:
            return explain_sample(
                shared, cell.identity.method, cell.options, derived_seed(self._seed, item.uid)
            ).seconds
        except (NotApplicableError, DeviceFaultError):  # the run will say so
            return None
