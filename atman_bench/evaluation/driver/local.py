"""Workers that are processes of this machine."""

import atexit
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.driver.pool import Done, Event, Lost, Ready
from atman_bench.evaluation.driver.work import Loadable, Work
from atman_bench.evaluation.driver.worker import About, Outcome, Worker

CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"

_STOP = b""
"""What asks a worker to finish the sample at hand only."""

_GRACE = 5.0
"""Seconds that a process which has closed its pipe is given to end."""


@dataclass
class _Process:
    """One worker as this process sees it.

    Attributes:
        process: The process.
        connection: Where it answers.
        outbox: What a thread sends to it: a process that does not read must not hold up the others.
    """

    process: BaseProcess
    connection: Connection
    outbox: "queue.SimpleQueue[bytes | None]"


class LocalPool:
    """Processes that are started from nothing (CUDA needs that), each with threads and devices of its own.

    Args:
        size: How many workers.
        threads: Threads of each.
        devices: What each sees of the GPUs, as ``CUDA_VISIBLE_DEVICES`` has it; None leaves that as it is.
    """

    def __init__(self, size: int, threads: int, devices: Sequence[str] | None = None):
        self.size, self.threads = size, threads
        self._devices = devices
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, _Process] = {}
        # Before multiprocessing's own, which waits for processes that ignore its signal.
        atexit.register(self.close)

    def start(self, slot: int) -> None:
        """See ``Pool``."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self.threads), daemon=True)
        with _environment({} if self._devices is None else {CUDA_VARIABLE: self._devices[slot]}):
            process.start()
        theirs.close()  # else the pipe would outlive the process, and its death go unnoticed
        made = _Process(process, ours, queue.SimpleQueue())
        threading.Thread(target=_send, args=(ours, made.outbox), daemon=True).start()
        self._processes[slot] = made

    def load(self, slot: int, ticket: int, model: Loadable) -> None:
        """See ``Pool``."""
        self._put(slot, ticket, (model, None))

    def submit(self, slot: int, ticket: int, work: Work[Any, Any], samples: Sequence[Any]) -> None:
        """See ``Pool``."""
        self._put(slot, ticket, (work, samples))

    def _put(self, slot: int, ticket: int, content: tuple[Any, Sequence[Any] | None]) -> None:
        """Send something; that its ticket can be read does not depend on what it is."""
        self._processes[slot].outbox.put(pickle.dumps((ticket, pickle.dumps(content))))

    def stop(self, slot: int) -> None:
        """See ``Pool``."""
        self._processes[slot].outbox.put(_STOP)

    def kill(self, slot: int) -> None:
        """See ``Pool``."""
        gone = self._processes.pop(slot)
        gone.process.kill()
        _forget(gone)

    def events(self, seconds: float) -> list[Event]:
        """See ``Pool``."""
        slots = {held.connection: slot for slot, held in self._processes.items()}
        return [self._event(slots[ready]) for ready in wait(list(slots), seconds) if isinstance(ready, Connection)]

    def _event(self, slot: int) -> Event:
        held = self._processes[slot]
        try:
            said = held.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # cut off in the middle of an answer, perhaps
            del self._processes[slot]
            held.process.join(_GRACE)
            held.process.kill()
            _forget(held)
            return Lost(slot, _ending(held.process.exitcode))
        if isinstance(said, About):
            return Ready(slot, said)
        ticket, outcome = said
        return Done(slot, ticket, outcome)

    def close(self) -> None:
        """See ``Pool``."""
        atexit.unregister(self.close)
        for slot in list(self._processes):
            self.kill(slot)


def _forget(gone: _Process) -> None:
    gone.process.join()
    gone.outbox.put(None)
    gone.connection.close()


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    perhaps = " (by the system for lack of memory, perhaps)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{perhaps}"


def _send(connection: Connection, outbox: "queue.SimpleQueue[bytes | None]") -> None:
    with suppress(OSError, ValueError):  # the process or the connection is gone, which whoever reads finds out
        while (message := outbox.get()) is not None:
            connection.send_bytes(message)


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """Change variables for what is started inside this block."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, threads: int) -> None:
    """The life of a worker's process: it ends when the driver does, or when an error sticks to it."""
    for name in (signal.SIGINT, signal.SIGTERM):  # they are for the driver, which drains and then ends its workers
        signal.signal(name, signal.SIG_IGN)
    worker = Worker(threads)
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox, worker), daemon=True).start()
    connection.send(worker.about())
    while True:
        ticket, outcome = _answer(worker, inbox.get())
        connection.send((ticket, outcome))
        if outcome.fault is not None and outcome.fault.sticky:
            return


def _answer(worker: Worker, message: bytes) -> tuple[int, Outcome]:
    ticket, content = pickle.loads(message)
    try:
        what, samples = pickle.loads(content)
    except Exception as error:  # a module that only the driver has, or one that cannot be imported here
        return ticket, Outcome((), 0.0, Fault.of(error))
    return ticket, worker.load(what) if samples is None else worker.run(what, samples)


def _receive(connection: Connection, inbox: "queue.SimpleQueue[bytes]", worker: Worker) -> None:
    """Read ahead, so that the next item is here when the one at hand is done."""
    try:
        while True:
            message = connection.recv_bytes()
            if message == _STOP:
                worker.stop()
            else:
                inbox.put(message)
    except (EOFError, OSError):
        os._exit(0)  # the driver is gone, and with it all that this process is for
