"""What is said of a run on many workers: while it goes on, and at its end."""

import time
from collections.abc import Callable, Sequence

from atman_bench.core.records import Status
from atman_bench.evaluation.driver.loop import Driver, Member

Progress = Callable[[int, int, str], None]
"""``(explanations done, explanations to do, what is being done)``; those found in the store are in neither number."""


class Report:
    """Says how a run goes: rate, workers, failures.

    Args:
        progress: Who is told.
        total: How many results there will be.
        driver: Who knows the workers.
    """

    def __init__(self, progress: Progress, total: int, driver: Driver):
        self._progress, self._total, self._driver = progress, total, driver
        self._started = time.monotonic()
        self._done = self._failed = 0
        progress(0, total, "starting workers")

    def __call__(self, doing: str, status: Status) -> None:
        """One more result is stored."""
        self._done += 1
        self._failed += status in (Status.ERROR, Status.OOM)
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        workers = f"{self._driver.alive} of {len(self._driver.members)} workers"
        self._progress(self._done, self._total, f"{doing} · {rate:.3g}/s · {workers} · {self._failed} failed")


def who_did_what(members: Sequence[Member]) -> list[str]:
    """A line for each worker's slot that did anything or was lost."""
    lines = []
    for member in members:
        if not member.items and not member.lost:
            continue
        lost = "".join(f"; {reason}" for reason in member.lost)
        lines.append(
            f"{member.name}: {member.samples} samples in {member.items} items, {member.busy:.1f} s of work, "
            f"{member.loading:.1f} s of loading{lost}"
        )
    return lines
