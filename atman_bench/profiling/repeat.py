"""One run of a callable, for its time or for the peak memory that it takes on its device."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from atman_bench.core.malloc import separate_pages
from atman_bench.profiling.memory import watch_resident


@dataclass(frozen=True)
class Repeat:
    """What one run took.

    Attributes:
        seconds: Wall time, synchronised with the device.
        cpu_seconds: Processor time of all threads.
        device_seconds: Time between two CUDA events around the run; None on a CPU.
        peak_bytes: Peak of the CUDA allocator above what was there before; None on a CPU, where it takes its own run.
        reserved_bytes: Peak of what the CUDA allocator held, weights included; None on a CPU.
    """

    seconds: float
    cpu_seconds: float
    device_seconds: float | None
    peak_bytes: int | None
    reserved_bytes: int | None


def run_once(function: Callable[[], object], device: torch.device) -> Repeat:
    """Run a function once and measure it; warm it up before."""
    return _on_cuda(function, device) if device.type == "cuda" else Repeat(*_timed(function), None, None, None)


def resident_peak(function: Callable[[], object]) -> int | None:
    """Run a function once for its peak resident memory above what was there before; None where that cannot be told."""
    with separate_pages(), watch_resident() as peak:
        function()
    return peak.bytes


def _on_cuda(function: Callable[[], object], device: torch.device) -> Repeat:
    torch.cuda.empty_cache()  # blocks cached by an earlier run would count as reserved by this one
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run() -> None:
        first.record()
        function()
        last.record()
        torch.cuda.synchronize(device)

    seconds, cpu_seconds = _timed(run)
    return Repeat(
        seconds,
        cpu_seconds,
        first.elapsed_time(last) / 1000,
        torch.cuda.max_memory_allocated(device) - before,
        torch.cuda.max_memory_reserved(device),
    )


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor
