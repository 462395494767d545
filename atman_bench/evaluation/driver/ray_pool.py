"""Workers that are actors of a Ray cluster: the one that runs already, or one of this machine alone."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atman_bench.core.errors import ConfigError, WorkerError, one_line
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.driver.pool import Done, Event, Lost, Ready
from atman_bench.evaluation.driver.work import Loadable, Work
from atman_bench.evaluation.driver.worker import Outcome, Worker

LOCAL = "local"
"""The address of a cluster of this machine alone, which is started for the run."""

AUTO = "auto"
"""The address of whatever cluster runs here; where none does, it is ``LOCAL``."""

_HELLO = -1
"""The ticket of a worker's first answer."""


@dataclass
class _Actor:
    """One worker as this process sees it.

    Attributes:
        handle: Ray's.
        answers: What it was asked, in order: ticket, and the reference of its answer.
    """

    handle: Any
    answers: deque[tuple[int, Any]] = field(default_factory=deque)


class RayPool:
    """Actors with named resources. Ray restarts and repeats nothing: the driver does.

    Args:
        address: ``AUTO``, ``LOCAL``, or that of a running cluster. A session that this process has already is used, and
            left as it is.
        size: How many workers, None as many as the cluster has room for.
        threads: CPUs of each, and threads of its tensor library.
        gpus: GPUs of each, or a share of one; None takes one where the cluster has any.

    Raises:
        ConfigError: Ray is not installed, or no machine has room for a worker.
        WorkerError: There is no cluster at the address.
    """

    def __init__(self, address: str, size: int | None, threads: int, gpus: float | None):
        if find_spec("ray") is None:
            raise ConfigError("--ray needs the package ray: pip install 'atman-bench[ray]'")
        import ray

        self._ray, self.threads = ray, threads
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(ray, address)
        if gpus is None:
            gpus = 1.0 if any(node["Resources"].get("GPU") for node in _nodes(ray)) else 0.0
        room = self._room(threads, gpus)
        if not room:
            self.close()
            raise ConfigError(
                f"no machine of the Ray cluster has {threads} CPUs and {gpus:g} GPUs for a worker: lower "
                "--cpus-per-worker or --gpus-per-worker"
            )
        self.size = size or room
        # The code of this process, with whatever was added to it, and not what a node has installed.
        resources = {"num_cpus": threads, "num_gpus": gpus}
        self._actor = ray.remote(Worker).options(**resources, max_restarts=0, max_task_retries=0)
        self._actors: dict[int, _Actor] = {}

    def _room(self, threads: int, gpus: float) -> int:
        """How many workers the machines of the cluster have room for."""
        found = 0
        for node in _nodes(self._ray):
            has = node["Resources"]
            by_gpu = has.get("GPU", 0.0) // gpus if gpus else float("inf")
            found += int(min(has.get("CPU", 0.0) // threads, by_gpu))
        return found

    def start(self, slot: int) -> None:
        """See ``Pool``."""
        made = _Actor(self._actor.remote(self.threads))
        made.answers.append((_HELLO, made.handle.about.remote()))
        self._actors[slot] = made

    def load(self, slot: int, ticket: int, model: Loadable) -> None:
        """See ``Pool``."""
        actor = self._actors[slot]
        actor.answers.append((ticket, actor.handle.load.remote(model)))

    def submit(self, slot: int, ticket: int, work: Work[Any, Any], samples: Sequence[Any]) -> None:
        """See ``Pool``."""
        actor = self._actors[slot]
        actor.answers.append((ticket, actor.handle.run.remote(work, samples)))

    def stop(self, slot: int) -> None:
        """See ``Pool``. What an actor is doing cannot be reached; what waits behind it is taken back."""
        for _, answer in list(self._actors[slot].answers)[1:]:
            self._ray.cancel(answer)

    def kill(self, slot: int) -> None:
        """See ``Pool``."""
        self._ray.kill(self._actors.pop(slot).handle, no_restart=True)

    def events(self, seconds: float) -> list[Event]:
        """See ``Pool``."""
        # The first answer of each is enough: they come in order.
        waiting = {actor.answers[0][1]: slot for slot, actor in self._actors.items() if actor.answers}
        if not waiting:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        return [self._event(waiting[answer]) for answer in ready]

    def _event(self, slot: int) -> Event:
        actor, errors = self._actors[slot], self._ray.exceptions
        ticket, answer = actor.answers.popleft()
        try:
            said = self._ray.get(answer)
        except (errors.RayActorError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            del self._actors[slot]
            return Lost(slot, one_line(error))
        except errors.RayError as error:  # of this item alone: its answer got lost, or there was no place for it
            return Done(slot, ticket, Outcome((), 0.0, Fault(type(error).__name__, one_line(error))))
        return Ready(slot, said) if ticket == _HELLO else Done(slot, ticket, said)

    def close(self) -> None:
        """See ``Pool``."""
        for slot in list(getattr(self, "_actors", ())):
            self.kill(slot)
        if self._is_ours:
            self._ray.shutdown()


def _nodes(ray: Any) -> list[Any]:
    return [node for node in ray.nodes() if node["Alive"]]


def _connect(ray: Any, address: str) -> None:
    """Begin a session; a cluster that runs already is sent the code of this process, with whatever was added to it.

    Raises:
        WorkerError: There is no cluster at the address.
    """
    quiet = {"logging_level": logging.WARNING, "log_to_driver": False}
    shipped = {"py_modules": [str(Path(__file__).parents[2])]}
    try:
        if address == AUTO:
            try:
                ray.init(address=AUTO, runtime_env=shipped, **quiet)
                return
            except ConnectionError:  # none runs here
                address = LOCAL
        if address == LOCAL:
            ray.init(address=LOCAL, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, runtime_env=shipped, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise WorkerError(f"no Ray cluster at {address}: {one_line(error)}") from error
