"""Ctrl-C, and Ctrl-C again before the command has ended: it says that it can go on, and the next run does."""

import os
import random
import signal
import time

import pytest
from runs import COMMANDS, Ended, stored, written

TIMES = int(os.environ.get("ATMAN_BENCH_KILLS", "20")) // 10
"""For each command."""

INTERRUPTED = 130


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_ctrl_c_still_says_what_is_stored(nursery, whole, tmp_path, name):
    moments = random.Random(name)
    for attempt in range(TIMES):
        results = tmp_path / str(attempt)
        pid = nursery.start(COMMANDS[name], results, delay=0.02)
        while not results.exists():
            time.sleep(0.005)
        for _ in range(2):
            time.sleep(moments.uniform(0, 0.4))
            os.kill(pid, signal.SIGINT)
        ended = nursery.end(pid)
        # What Ctrl-C meets in the middle of a garbage collection is lost, and Python itself says so before our line.
        assert ended.code in (0, INTERRUPTED), ended.printed
        assert ended.code == 0 or ended.printed.splitlines()[-1].startswith("stopped: "), ended.printed
        assert nursery.run(COMMANDS[name], results) == Ended(0, "")
        assert stored(results) == stored(whole(name))
        assert written(results) == written(whole(name))
