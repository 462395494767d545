"""Rows of ``atman-bench scale`` that tests share."""

from atman_bench.profiling.rows import ScaleRow, ScaleStatus

MEGABYTE = 1 << 20


def row(**changes: object) -> ScaleRow:
    cell = {
        "fingerprint": "f",
        "model": "random:10M",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "method": "chefer",
        "variant": "default",
        "tokens": 128,
        "batch": None,
        "workers": 1,
        "units": None,
        "status": ScaleStatus.OK,
        "parameters": 10_000_000,
        "seconds": (2.0, 1.0, 9.0),
        "peak_bytes": (30_000_000,),
    }
    return ScaleRow(**{**cell, **changes})
