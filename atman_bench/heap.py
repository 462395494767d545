"""What glibc does with memory that was freed: keep it for the next tensor, or give it back to the system.

Elsewhere (macOS, Windows, musl) nothing here does anything: tensors are then allocated as the system likes it.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_PAGES_OF_ITS_OWN = 64 * 1024
_STEADY = 32 * 1024**2
"""The largest threshold that glibc takes, and where its own ends up in a process that allocates large tensors."""
_NEVER = 2**31 - 1
_LARGEST_GAP = 64 * 1024**2

_SEPARATE: ContextVar[bool] = ContextVar("atman_bench_separate_pages", default=False)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed inside this block for the next tensor, instead of giving it back and asking for it again.

    Every layer of a pass frees what the next one needs. Left alone, glibc returns the top of its heap each time, and
    the system hands it out again page by page, which took about a tenth of a sweep's time (``docs/performance.md``).
    """
    if _SEPARATE.get():
        yield
        return
    _set_malloc(_STEADY, _NEVER)
    try:
        yield
    finally:
        _set_malloc(_STEADY, 2 * _STEADY)  # as glibc ties them together


@contextmanager
def separate_pages() -> Iterator[None]:
    """Give every tensor of 64 KiB and more pages of its own, which go back to the system when it is freed.

    On the heap, gaps between tensors count as resident too, and they come and go. It takes time, so measure time
    outside. What is free on the heap is used first: ``gaps_closed`` sees to that.
    """
    token = _SEPARATE.set(True)
    _set_malloc(_PAGES_OF_ITS_OWN, 2 * _PAGES_OF_ITS_OWN)
    try:
        yield
    finally:
        _set_malloc(_STEADY, 2 * _STEADY)
        _SEPARATE.reset(token)


@contextmanager
def gaps_closed() -> Iterator[None]:
    """Occupy what is free on the heap, so that no tensor lies there; for use inside ``separate_pages`` only.

    A gap that a tensor has used stays resident when it is freed, beside the pages of the tensors after it. The pages of
    what occupies it here are never touched, so they are not resident.
    """
    assert _SEPARATE.get(), "elsewhere the heap grows instead, without end"
    occupied: list[int] = []
    with suppress(OSError, AttributeError):  # only glibc has these
        occupied = _occupy_gaps(_typed_libc())
    try:
        yield
    finally:
        for address in occupied:
            _typed_libc().free(address)


class _HeapInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``, of which ``hblks`` counts the blocks that have pages of their own."""

    _fields_ = (("before", ctypes.c_size_t * 3), ("hblks", ctypes.c_size_t), ("after", ctypes.c_size_t * 6))


def _typed_libc() -> ctypes.CDLL:
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
    libc.mallinfo2.restype = _HeapInfo
    return libc


def _occupy_gaps(libc: ctypes.CDLL) -> list[int]:
    """Addresses of blocks that fill all gaps of 64 KiB and more, the largest that fit first."""
    occupied: list[int] = []
    size = _LARGEST_GAP
    while size >= _PAGES_OF_ITS_OWN:
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
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set_malloc(mmap_threshold: int, trim_threshold: int) -> None:
    with suppress(OSError, AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_THRESHOLD, mmap_threshold)
        mallopt(_TRIM_THRESHOLD, trim_threshold)
