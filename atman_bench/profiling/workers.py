"""Runs each measurement in a process of its own, started from a server that has everything imported.

What a process leaves behind (allocator caches, thread pools, a crash) cannot touch the next measurement.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, TypeVar

from atman_bench.profiling.memory import raise_oom_score, system_oom_kills

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Ending(StrEnum):
    """How a process ended."""

    DONE = "done"
    KILLED_FOR_MEMORY = "killed for memory"
    CRASHED = "crashed"
    TOO_LATE = "too late"


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """How one process ended, and its result.

    Attributes:
        ending: How it ended.
        result: What the function returned, if the process is done.
        error: What happened, if it is not.
    """

    ending: Ending
    result: Result | None = None
    error: str | None = None


@dataclass(frozen=True)
class Team:
    """The processes that share one measurement.

    Attributes:
        index: This process's number.
        size: How many there are.
    """

    index: int
    size: int
    _barrier: Barrier
    _flag: "Synchronized[int]"

    def wait(self) -> None:
        """Wait at the barrier until every worker has reached it."""
        self._barrier.wait()

    def abort(self) -> None:
        """Abort the barrier: every process that waits at it, now or later, gets a ``BrokenBarrierError``."""
        self._barrier.abort()

    def any(self, flag: bool) -> bool:
        """Logical OR over the workers; the same answer for all."""
        if flag:
            self._flag.value = 1
        self.wait()
        decided = bool(self._flag.value)
        self.wait()  # no worker sets it again before all have read it
        return decided


class Server:
    """Starts processes.

    Args:
        preload: Modules that the functions need; a server process imports them once. It must import them without
            starting threads and before any model is loaded, so that a copy of it is clean.
        fork: Copy the server; false starts each process from nothing, as CUDA needs.
    """

    def __init__(self, preload: Sequence[str], *, fork: bool = True):
        self._context: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
        if fork:
            self._context.set_forkserver_preload(list(preload))

    def run(
        self,
        function: Callable[[Argument, Team], Result],
        argument: Argument,
        *,
        workers: int = 1,
        seconds: float | None = None,
    ) -> list[Outcome[Result]]:
        """Call ``function(argument, team)`` in so many processes at once.

        The first process that fails ends the others too: they would wait for it. A function should return its errors;
        one that raises ends as ``CRASHED``, its traceback on stderr.

        Args:
            function: A module's function.
            argument: What pickle can carry.
            workers: How many processes.
            seconds: Limit for all of it, loading included; None waits forever.

        Returns:
            The outcome of each worker, or that of the first that failed alone.
        """
        barrier, flag = self._context.Barrier(workers), self._context.Value("i", 0)
        kills = system_oom_kills()
        started: dict[Connection, BaseProcess] = {}
        try:
            for index in range(workers):
                receive, send = self._context.Pipe(duplex=False)
                arguments = (function, argument, Team(index, workers, barrier, flag), send)
                process = self._context.Process(target=_work, args=arguments, daemon=True)
                started[receive] = process
                process.start()
                send.close()  # else the pipe would outlive the process, and its death go unnoticed
            return _collect(started, kills, seconds)
        finally:
            for receive, process in started.items():
                if process.pid is not None:
                    process.kill()
                    process.join()
                receive.close()


def _collect(started: dict[Connection, BaseProcess], kills: int | None, seconds: float | None) -> list[Outcome[Any]]:
    deadline = None if seconds is None else time.monotonic() + seconds
    pending, outcomes = dict(started), []
    while pending:
        ready = wait(list(pending), None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not ready:
            return [Outcome(Ending.TOO_LATE, error=f"stopped after {seconds:g} s")]
        for receive in [connection for connection in pending if connection in ready]:
            process = pending.pop(receive)
            try:
                outcomes.append(Outcome(Ending.DONE, receive.recv()))
            except (EOFError, OSError):
                process.join()
                return [_death(process.exitcode, kills)]
    return outcomes


def _death(exit_code: int | None, kills_before: int | None) -> Outcome[Any]:
    if exit_code is None or exit_code >= 0:
        return Outcome(Ending.CRASHED, error=f"the process ended with exit code {exit_code}")
    name = signal.Signals(-exit_code).name
    # A kernel that does not count its kills leaves the usual reason for one.
    if name == "SIGKILL" and (kills_before is None or system_oom_kills() != kills_before):
        return Outcome(Ending.KILLED_FOR_MEMORY, error="killed by the system for lack of memory")
    return Outcome(Ending.CRASHED, error=f"the process was ended by {name}")


def _work(function: Callable[[Any, Team], Any], argument: Any, team: Team, send: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which then ends it
    raise_oom_score()
    send.send(function(argument, team))
    send.close()
