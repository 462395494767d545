"""What workers do: work over samples, handed out longest first."""

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from atman_bench.evaluation.driver.faults import Fault

S = TypeVar("S")
R = TypeVar("R")
Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made", covariant=True)

MOST_SAMPLES = 32
"""Samples of one item at the most: what a lost worker takes with it has to be computed again."""

MOST_POSITIONS = 65_536
"""Planned positions of an item of several samples, a fraction of a second to some ten seconds of a model's time."""

SHARES = 4
"""An item has no more of the waiting samples than leaves every worker so many items: the last samples go one by one."""


@runtime_checkable
class Loadable(Hashable, Protocol):
    """What work is done with, equal where it need not be loaded again; pickle carries it to workers."""

    def load(self) -> Any:
        """Load it into this process."""


class Work(Protocol[Given, Made]):
    """One thing that is done to many samples, a function of each alone; hashable, and pickle carries it to workers."""

    @property
    def model(self) -> Loadable:
        """What it is done with."""

    def run(self, loaded: Any, sample: Given) -> Made:
        """Do it to one sample, in a worker.

        Raises:
            DeviceFaultError: The process cannot go on.
        """

    def failed(self, sample: Given, fault: Fault) -> Made:
        """The result for a sample that no worker could finish, made by the driver; or the error that ends the run."""


@dataclass(frozen=True)
class Item(Generic[S, R]):
    """Samples that one worker takes at a time.

    Attributes:
        work: What is done to them.
        samples: At least one.
        cost: Planned positions of all of them.
        failures: How many workers failed on it.
    """

    work: Work[S, R]
    samples: tuple[S, ...]
    cost: float
    failures: int = 0

    def singles(self, done: int = 0, *, failed: bool) -> list["Item[S, R]"]:
        """What is left of it after its first samples are done, one by one.

        Args:
            done: How many are.
            failed: Whether the next one may be what a worker failed on.
        """
        each = self.cost / len(self.samples)
        return [Item(self.work, (sample,), each, self.failures + failed) for sample in self.samples[done:]]


@dataclass(frozen=True)
class Lot(Generic[S, R]):
    """Samples under one piece of work, longest first.

    Attributes:
        work: What is done to them.
        samples: In descending order of cost.
        costs: Planned positions of each.
    """

    work: Work[S, R]
    samples: Sequence[S]
    costs: "array[float]" = field(repr=False)

    @classmethod
    def longest_first(cls, work: Work[S, R], samples: Sequence[S], cost: Callable[[S], float]) -> "Lot[S, R]":
        """A lot of samples in any order."""
        costs = [cost(sample) for sample in samples]
        order = sorted(range(len(samples)), key=lambda index: -costs[index])
        return cls(work, [samples[index] for index in order], array("d", (costs[index] for index in order)))


class Queue(Generic[S, R]):
    """Lots that are handed out item by item: the longest sample of all lots next, with others of its lot.

    What an item holds changes nothing in its results, since work is a function of each sample alone.

    Args:
        lots: See above.
    """

    def __init__(self, lots: Sequence[Lot[S, R]]):
        self._lots = lots
        self._next = [0] * len(lots)
        self._heap = [(-lot.costs[0], index) for index, lot in enumerate(lots) if lot.samples]
        heapq.heapify(self._heap)
        self._again: deque[Item[S, R]] = deque()
        self.waiting = sum(len(lot.samples) for lot in lots)

    def give_back(self, items: Sequence[Item[S, R]]) -> None:
        """Put what a worker did not finish in front."""
        self._again.extendleft(reversed(items))
        self.waiting += sum(len(item.samples) for item in items)

    def take(self, workers: int) -> Item[S, R] | None:
        """The next item, None where nothing is waiting.

        Args:
            workers: How many take items.
        """
        item = self._again.popleft() if self._again else self._longest(workers)
        if item is not None:
            self.waiting -= len(item.samples)
        return item

    def _longest(self, workers: int) -> Item[S, R] | None:
        if not self._heap:
            return None
        _, index = heapq.heappop(self._heap)
        lot, first = self._lots[index], self._next[index]
        most = min(MOST_SAMPLES, max(1, self.waiting // (SHARES * workers)))
        last, cost = first + 1, lot.costs[first]
        while last - first < most and last < len(lot.samples) and cost + lot.costs[last] <= MOST_POSITIONS:
            cost += lot.costs[last]
            last += 1
        self._next[index] = last
        if last < len(lot.samples):
            heapq.heappush(self._heap, (-lot.costs[last], index))
        return Item(lot.work, tuple(lot.samples[first:last]), cost)
