"""What runs in a worker: it loads a model when it is told to, keeps it until it is told another, and works with it."""

import hashlib
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from atman_bench.core.provenance import package_versions
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.driver.work import Loadable, Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What libraries read when they are imported."""


@dataclass(frozen=True)
class About:
    """Who a worker is.

    Attributes:
        host: Name of its machine.
        pid: Its process there.
        versions: Of Python and of the packages that numbers depend on.
    """

    host: str
    pid: int
    versions: Mapping[str, str | None]


@dataclass(frozen=True)
class Outcome:
    """What came of one item, or of loading.

    Attributes:
        results: Of its first samples, in their order.
        seconds: How long it took.
        fault: Why there are fewer results than samples; None also where the worker was asked to stop.
    """

    results: tuple[Any, ...]
    seconds: float
    fault: Fault | None = None


_PACKAGE = Path(__file__).parents[2]


@cache
def versions() -> dict[str, str | None]:
    """What has to be equal in the driver and in all workers; of this package its code, which a cluster may be sent."""
    code = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        code.update(f"{path.relative_to(_PACKAGE)}\n".encode() + path.read_bytes())
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **package_versions(), "atman-bench": f"with code {code.hexdigest()[:12]}"}


class Worker:
    """One worker. Making it loads nothing, so that it cannot fail.

    Args:
        threads: Threads of its tensor library, the same for all workers of a run: sums depend on them.
    """

    def __init__(self, threads: int):
        for name in THREAD_VARIABLES:
            os.environ[name] = str(threads)
        self._model: Loadable | None = None
        self._loaded: Any = None
        self._stop = threading.Event()

    def about(self) -> About:
        """Who it is."""
        return About(socket.gethostname(), os.getpid(), versions())

    def load(self, model: Loadable) -> Outcome:
        """Load a model, unless it is the one that is loaded; the one before is forgotten first."""
        started = time.perf_counter()
        if self._model == model:
            return Outcome((), 0.0)
        self._model = self._loaded = None
        try:
            self._loaded = model.load()
        except Exception as error:  # whatever it is, the driver decides what becomes of it
            return Outcome((), time.perf_counter() - started, Fault.of(error))
        self._model = model
        return Outcome((), time.perf_counter() - started)

    def run(self, work: Work[Any, Any], samples: Sequence[Any]) -> Outcome:
        """Do work to samples, one after the other, until one fails or ``stop`` is called."""
        started = time.perf_counter()
        results: list[Any] = []
        fault = None
        for sample in samples:
            if self._stop.is_set():
                break
            try:
                results.append(work.run(self._loaded, sample))
            except Exception as error:  # as above
                fault = Fault.of(error)
                break
        return Outcome(tuple(results), time.perf_counter() - started, fault)

    def stop(self) -> None:
        """Finish the sample at hand and no other one; may be called by another thread."""
        self._stop.set()
