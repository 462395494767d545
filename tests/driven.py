"""Workers that start at once, and what a run of theirs has stored."""

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atman_bench.evaluation.driver.local import LocalPool
from atman_bench.evaluation.driver.loop import Driver

TIMES = {"seconds", "peak_bytes"}
"""What differs between two runs of the same code."""


class ForkPool(LocalPool):
    """Workers that are copies of this process, so that they start at once and have its fakes."""

    def __init__(self, size: int, threads: int, devices: object = None):
        super().__init__(size, threads)
        self._context = multiprocessing.get_context("fork")


@contextmanager
def driving(workers: int, pool: type[LocalPool] = ForkPool, **options: float) -> Iterator[Driver]:
    driver = Driver(pool(workers, 1), **options)
    try:
        yield driver
    finally:
        driver.close()


def stored(results: Path) -> dict[str, dict[str, object]]:
    """Every record of a folder by cell, kind and sample; none of them is there twice."""
    found: dict[str, dict[str, object]] = {}
    for path in results.rglob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        of_kind = found.setdefault(f"{path.parent.name}/{path.name.partition('-')[0]}", {})
        for record in records:
            if "header" not in record:
                assert record["uid"] not in of_kind
                of_kind[record["uid"]] = {name: value for name, value in record.items() if name not in TIMES}
    return found
