"""Whether anything else runs on this machine, which would slow down what is measured."""

import time
from contextlib import suppress
from pathlib import Path

_LOADAVG = Path("/proc/loadavg")
_SAMPLES = 25
_SECONDS_BETWEEN = 0.02


def other_load() -> float | None:
    """Mean number of other processes and threads that run or are ready to, over half a second in which this one sleeps.

    The system's load average counts the same, but over the last minute, most of which was our own measurements.

    Returns:
        None where the system does not say.
    """
    counts = []
    with suppress(OSError, ValueError, IndexError):
        for _ in range(_SAMPLES):
            time.sleep(_SECONDS_BETWEEN)
            # "0.20 0.18 0.12 1/80 11206": the fourth field is running / all; the one that reads it runs.
            counts.append(int(_LOADAVG.read_text().split()[3].partition("/")[0]) - 1)
    # A sandbox may write zeros, as if not even the reader ran.
    return sum(counts) / len(counts) if counts and min(counts) >= 0 else None
