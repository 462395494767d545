"""What the driver needs of whatever runs its workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atman_bench.evaluation.driver.work import Loadable, Work
from atman_bench.evaluation.driver.worker import About, Outcome


@dataclass(frozen=True)
class Ready:
    """A worker has started."""

    slot: int
    about: About


@dataclass(frozen=True)
class Done:
    """A worker has finished what was sent to it under a ticket."""

    slot: int
    ticket: int
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with all that was sent to it and not answered.

    Attributes:
        slot: Which one.
        reason: How it ended, as far as that is known.
    """

    slot: int
    reason: str


Event = Ready | Done | Lost


class Pool(Protocol):
    """Workers in numbered slots: each holds one at a time, which does what it is sent in that order."""

    size: int
    """How many slots there are."""

    threads: int
    """Threads of each worker's tensor library."""

    def start(self, slot: int) -> None:
        """Start a worker in a slot that holds none; ``Ready`` or ``Lost`` says what came of it."""

    def load(self, slot: int, ticket: int, model: Loadable) -> None:
        """Send a worker a model to load; does not wait."""

    def submit(self, slot: int, ticket: int, work: Work[Any, Any], samples: Sequence[Any]) -> None:
        """Send a worker samples; does not wait."""

    def stop(self, slot: int) -> None:
        """Ask a worker to finish the sample at hand only; one that cannot be reached before its item ends ends that."""

    def kill(self, slot: int) -> None:
        """End a worker at once; no event follows."""

    def events(self, seconds: float) -> list[Event]:
        """What has happened, after waiting for something for so long at the most."""

    def close(self) -> None:
        """End all workers."""
