"""What glibc does with memory that was freed: keep it for the next tensor, or give it back to the system.

Elsewhere (macOS, Windows, musl) nothing here does anything: tensors are then allocated as the system likes it.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_PAGES_OF_ITS_OWN = 64 * 1024
_STEADY = 32 * 1024**2
"""The largest threshold of ``mmap`` that glibc takes, and where its own ends up in a process that allocates large
tensors; it keeps the threshold for trimming twice as high."""
_NEVER = 2**31 - 1
_LARGEST_GAP = 64 * 1024**2

_SEPARATE: ContextVar[bool] = ContextVar("atman_bench_separate_pages", default=False)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed inside this block for the next tensor, instead of giving it back and asking for it again.

    Every layer of a pass frees what the next one needs. Left alone, glibc returns the top of its heap each time, and
    the system hands it out again page by page, which took about a tenth of a sweep's time (``docs/performance.md``).
    Inside ``separate_pages`` this does nothing. The thresholds of the whole process change; those that stay behind are
    the ones that glibc's own adaptation ends at.
    """
    if _SEPARATE.get():
        yield
        return
    _set_malloc(_STEADY, _NEVER)
    try:
        yield
    finally:
        _set_malloc(_STEADY, 2 * _STEADY)


@contextmanager
def separate_pages() -> Iterator[None]:
    """Give every tensor of 64 KiB and more pages of its own, which go back to the system when it is freed.

    On the heap, gaps between tensors are resident too, and they come and go. Gaps that are there already would be used
    first and stay resident when their tensor is freed, so they are occupied, by blocks whose pages are never touched.
    All this takes time: measure time outside.
    """
    token = _SEPARATE.set(True)
    _set_malloc(_PAGES_OF_ITS_OWN, 2 * _PAGES_OF_ITS_OWN)
    occupied = _occupy_gaps()
    try:
        yield
    finally:
        for address in occupied:
            _libc().free(address)
        _set_malloc(_STEADY, 2 * _STEADY)
        _SEPARATE.reset(token)


class _HeapInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``, of which ``hblks`` counts the blocks that have pages of their own."""

    _fields_ = (("before", ctypes.c_size_t * 3), ("hblks", ctypes.c_size_t), ("after", ctypes.c_size_t * 6))


def _occupy_gaps() -> list[int]:
    """Addresses of blocks that fill all gaps of the heap that a tensor would get, the largest that fit first."""
    occupied: list[int] = []
    size = _LARGEST_GAP
    with suppress(OSError, AttributeError):  # only glibc has these
        libc = _libc()
        libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
        libc.mallinfo2.restype = _HeapInfo
        while size >= _PAGES_OF_ITS_OWN:  # smaller blocks get no pages of their own: the heap would grow without end
            mapped = libc.mallinfo2().hblks
            address = libc.malloc(size)
            if address is not None and libc.mallinfo2().hblks == mapped:
                occupied.append(address)
            else:  # no gap is so large: it got pages of its own, or nothing
                libc.free(address)
                size //= 2
    return occupied


def return_freed() -> None:
    """Give memory that was freed back to the system: it would hide what is allocated next."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has it
        _libc().malloc_trim(0)


def _set_malloc(mmap_threshold: int, trim_threshold: int) -> None:
    with suppress(OSError, AttributeError):  # only glibc has it
        _libc().mallopt(_MMAP_THRESHOLD, mmap_threshold)
        _libc().mallopt(_TRIM_THRESHOLD, trim_threshold)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL("libc.so.6")
