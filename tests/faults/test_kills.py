"""Processes that are killed at random moments: the next run ends with the results of one that was never stopped."""

import os
import random
import signal
import time

import pytest
from runs import COMMANDS, Ended, stored, written

KILLS = int(os.environ.get("ATMAN_BENCH_KILLS", "20"))
"""Over all commands."""

DELAY = 0.02


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_and_run_again_nothing_is_lost_or_doubled(nursery, whole, tmp_path, name):
    expected = whole(name)
    started = time.monotonic()
    assert nursery.run(COMMANDS[name], tmp_path / "timed", delay=DELAY) == Ended(0, "")
    seconds = time.monotonic() - started
    moments = random.Random(name)
    for kill in range(KILLS // len(COMMANDS)):
        results = tmp_path / str(kill)
        pid = nursery.start(COMMANDS[name], results, delay=DELAY)
        time.sleep(moments.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        assert nursery.end(pid).code in (-signal.SIGKILL, 0)
        before = {path: path.read_bytes() for path in results.rglob("*.jsonl")}
        assert nursery.run(COMMANDS[name], results) == Ended(0, "")
        assert {path: path.read_bytes() for path in before} == before
        assert stored(results) == stored(expected)
        assert written(results) == written(expected)
