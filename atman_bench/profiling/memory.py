"""Memory of this process: resident peaks without a GPU, the driver's view of one with a GPU, and a limit."""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.malloc import return_freed

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_KERNEL_COUNTERS = Path("/proc/vmstat")


@dataclass
class ResidentPeak:
    """How far the resident set rose above where it was; None until the block ends, and where there is no /proc.

    Attributes:
        bytes: High-water mark minus resident set before.
    """

    bytes: int | None = None


@contextmanager
def watch_resident() -> Iterator[ResidentPeak]:
    """Measure the peak resident memory of this block above what is resident before it.

    Run the same code on a small input first: the pages of libraries count too when they are touched for the first time.
    """
    peak = ResidentPeak()
    if not _CLEAR_REFS.exists():
        yield peak
        return
    return_freed()
    _CLEAR_REFS.write_text("5")  # resets the high-water mark to the current resident set
    before = status_bytes("VmRSS")
    try:
        yield peak
    finally:
        peak.bytes = status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A size of this process, as ``/proc/self/status`` names it (``VmRSS``, ``VmHWM``, ``VmData``)."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def limit_further_bytes(limit: int) -> None:
    """Let this process allocate this much more; beyond it allocations fail, for good.

    The data segment is limited and not the address space, which maps files and reserves far more than it uses.
    """
    allowed = status_bytes("VmData") + limit
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


def raise_oom_score() -> None:
    """If the system runs out of memory, let it kill this process first and not the one that started it."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def system_oom_kills() -> int | None:
    """How many processes the system has killed for lack of memory since it started; None where it does not say."""
    with suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)$", _KERNEL_COUNTERS.read_text(), re.MULTILINE):
            return int(found[1])
    return None


def driver_bytes(device_index: int) -> int | None:
    """Memory of a GPU that its driver (NVML) has given to this process, with the CUDA context; None if it can't say."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(device_index)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return None
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)
