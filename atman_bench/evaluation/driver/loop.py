"""The driver: it hands out what is missing, collects what is finished, and decides what becomes of the rest."""

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from atman_bench.core.errors import WorkerError
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.driver.pool import Done, Event, Lost, Pool, Ready
from atman_bench.evaluation.driver.work import Item, Loadable, Lot, Queue, Work
from atman_bench.evaluation.driver.worker import About, Outcome, versions

S = TypeVar("S")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Items of a worker at a time: the one at hand, and the next, so that it need not wait for the driver."""

TRIES = 2
"""Workers that may fail on a sample before it is a row that says so."""

STARTS = 3
"""Workers of a slot that may be lost one after the other before they have loaded a model."""

LATE = 5
"""An item that takes so many times what it should by the pace of its work is reported."""

LATE_SECONDS = 60
"""A shorter one is not."""

_PATIENCE = 0.5
"""Seconds after which the driver looks at clocks and signals, whatever workers do."""


class State(Enum):
    """What a worker's slot holds."""

    EMPTY = auto()
    STARTING = auto()
    READY = auto()
    CLOSED = auto()


@dataclass
class _Flight:
    """Something that was sent to a worker: an item, or a model to load.

    Attributes:
        ticket: Its number.
        item: The item, None where the model is loaded.
        model: What it needs.
        began: When the worker could begin with it; None while it has another one before.
        reported: Whether it was said to be late.
    """

    ticket: int
    item: Item[Any, Any] | None
    model: Loadable
    began: float | None = None
    reported: bool = False


@dataclass
class Member:
    """A worker's slot, and what its workers did.

    Attributes:
        slot: Its number.
        state: What it holds.
        about: Who the worker is that it holds or held last.
        samples: Samples that were finished here.
        items: Items that were.
        busy: Seconds that these took.
        loading: Seconds that models took to load.
        lost: Why workers were lost here.
        model: What its worker has loaded.
        fruitless: Workers that were lost one after the other before they had loaded anything.
        refused: The model that could not be loaded here.
        flights: What was sent to it and not answered.
    """

    slot: int
    state: State = State.EMPTY
    about: About | None = None
    samples: int = 0
    items: int = 0
    busy: float = 0.0
    loading: float = 0.0
    lost: list[str] = field(default_factory=list)
    model: Loadable | None = None
    refused: Loadable | None = None
    fruitless: int = 0
    flights: deque[_Flight] = field(default_factory=deque)

    @property
    def is_coming(self) -> bool:
        """Whether its worker starts, or loads a model, and takes items then."""
        loads = bool(self.flights) and self.flights[0].item is None
        return self.state is State.STARTING or (self.state is State.READY and loads)

    @property
    def name(self) -> str:
        """What messages call its worker."""
        where = "" if self.about is None else f" (process {self.about.pid} on {self.about.host})"
        return f"worker {self.slot}{where}"


class Driver:
    """Runs lots on the workers of a pool, which it starts when they are needed and keeps between runs.

    Args:
        pool: The workers.
        item_timeout: Seconds that a sample may take; a worker that takes longer is ended. None sets no bound.
    """

    def __init__(self, pool: Pool, item_timeout: float | None = None):
        self.members = [Member(slot) for slot in range(pool.size)]
        self.threads = pool.threads
        self.stopping = False
        self._pool = pool
        self._item_timeout = item_timeout
        self._tickets = 0
        self._pace: dict[Any, tuple[float, float]] = {}
        self._reason = Fault("WorkerError", "none was started")

    @property
    def alive(self) -> int:
        """How many workers there are."""
        return sum(member.state is State.READY for member in self.members)

    def call(self, work: Work[S, R], sample: S) -> R:
        """Do work to one sample on any worker.

        Raises:
            KeyboardInterrupt: It was interrupted.
            AtmanBenchError: What the work raised, or no worker is left.
        """
        results = list(self.run([Lot.longest_first(work, [sample], lambda _: 0.0)]))
        if not results:
            raise KeyboardInterrupt
        return results[0]

    def run(self, lots: Sequence[Lot[S, R]]) -> Iterator[R]:
        """The results of all samples of all lots, in the order in which they are finished.

        Ctrl-C and SIGTERM end it early, with what workers have finished by then; the second of them at once.

        Raises:
            WorkerError: No worker is left, or one runs other versions than this process.
            AtmanBenchError: What all workers said when they loaded the model.
        """
        queue = Queue(lots)
        models = {lot.work.model for lot in lots}
        for member in self.members:
            if member.state is State.CLOSED and member.refused not in models:
                member.state, member.fruitless = State.EMPTY, 0
        with self._draining():
            told = False
            while not self._finished(queue):
                if self.stopping and not told:
                    told = True
                    for member in self.members:
                        if member.flights:
                            self._pool.stop(member.slot)
                self._hand_out(queue)
                for event in self._pool.events(_PATIENCE):
                    yield from self._results_of(event, queue)
                for member in self.members:
                    yield from self._check_time(member, queue)

    def dismiss(self) -> None:
        """End all workers, and with them what they hold of devices and memory; the next run starts others."""
        for member in self.members:
            if member.state in (State.STARTING, State.READY):
                self._pool.kill(member.slot)
                member.state, member.model = State.EMPTY, None
                member.flights.clear()

    def close(self) -> None:
        """End all workers, for good."""
        self._pool.close()

    def _finished(self, queue: Queue[Any, Any]) -> bool:
        flying = any(flight.item for member in self.members for flight in member.flights)
        return not flying and (self.stopping or not queue.waiting)

    def _hand_out(self, queue: Queue[Any, Any]) -> None:
        """Start workers, and send the ready ones what they have room for.

        Raises:
            AtmanBenchError: There is nobody to send anything to, and nobody will come.
        """
        if self.stopping:
            return
        empty = [member for member in self.members if member.state is State.EMPTY]
        idle = sum(member.state in (State.STARTING, State.READY) and not member.flights for member in self.members)
        for member in empty[: max(0, queue.waiting - idle)]:
            member.state, member.about = State.STARTING, None
            self._pool.start(member.slot)
        if queue.waiting and all(member.state is State.CLOSED for member in self.members):
            raise self._reason.error()
        # The first item of each before the second of any, which waits if somebody who has none is on the way.
        for room in range(IN_FLIGHT):
            coming = sum(member.is_coming for member in self.members)
            for member in self.members:
                if room and queue.waiting <= coming:
                    return
                if member.state is State.READY and len(member.flights) == room:
                    self._send(member, queue)

    def _send(self, member: Member, queue: Queue[Any, Any]) -> None:
        """Send a worker the next item, or the model that it needs first; nothing is sent behind a model."""
        if member.flights and member.flights[-1].item is None:
            return
        item = queue.take(sum(other.state is not State.CLOSED for other in self.members))
        if item is None:
            return
        self._tickets += 1
        flight = _Flight(self._tickets, item, item.work.model, None if member.flights else time.monotonic())
        if flight.model == member.model:
            self._pool.submit(member.slot, flight.ticket, item.work, item.samples)
        else:
            queue.give_back([item])
            if member.flights:
                return
            flight.item = None
            self._pool.load(member.slot, flight.ticket, flight.model)
        member.flights.append(flight)

    def _results_of(self, event: Event, queue: Queue[S, R]) -> Iterator[R]:
        member = self.members[event.slot]
        match event:
            case Ready(about=about):
                member.about, member.state = about, State.READY
                _check_versions(member, about)
            case Lost(reason=reason):
                yield from self._lost(member, reason, queue)
            case Done(ticket=ticket, outcome=outcome) if member.flights and member.flights[0].ticket == ticket:
                flight = member.flights.popleft()
                if member.flights:
                    member.flights[0].began = time.monotonic()
                if flight.item is None:
                    self._loaded(member, flight.model, outcome)
                else:
                    yield from self._done(member, flight.item, outcome, queue)
            case Done():  # of a worker that has been given up since
                pass

    def _loaded(self, member: Member, model: Loadable, outcome: Outcome) -> None:
        member.loading += outcome.seconds
        if outcome.fault is None:
            member.fruitless, member.model = 0, model
            return
        # What one machine cannot load another may; the same machine would not the next time either.
        self._reason = outcome.fault
        self._pool.kill(member.slot)
        self._note(member, f"cannot load its model: {outcome.fault.message}")
        member.state, member.refused = State.CLOSED, model

    def _done(self, member: Member, item: Item[S, R], outcome: Outcome, queue: Queue[S, R]) -> Iterator[R]:
        if item.cost:  # choosing samples is work, but no sample
            member.samples += len(outcome.results)
            member.items += 1
        member.busy += outcome.seconds
        yield from outcome.results
        fault, done = outcome.fault, len(outcome.results)
        if fault is None:  # all of it, or as much as there was before it was stopped
            if item.cost:
                seconds, cost = self._pace.get(item.work, (0.0, 0.0))
                self._pace[item.work] = seconds + outcome.seconds, cost + item.cost
            return
        if fault.sticky:
            self._pool.kill(member.slot)
            self._retire(member, fault.message, queue)
        queue.give_back(item.singles(done + 1, failed=False))
        yield from self._again(item.singles(done, failed=True)[0], fault, queue)

    def _lost(self, member: Member, reason: str, queue: Queue[S, R]) -> Iterator[R]:
        """A worker is gone: what it had at hand goes to another one, once; what it had not begun as if nothing was."""
        at_hand = member.flights.popleft() if member.flights else None
        self._retire(member, reason, queue)
        if at_hand is not None and at_hand.item is not None:
            for item in at_hand.item.singles(failed=True):
                yield from self._again(item, Fault("WorkerLost", reason), queue)
            return
        member.fruitless += 1
        self._reason = Fault("WorkerLost", reason)
        if member.fruitless >= STARTS:
            member.state = State.CLOSED

    def _retire(self, member: Member, reason: str, queue: Queue[Any, Any]) -> None:
        """Take back what a worker that is gone has not begun; its slot is free for another."""
        self._note(member, f"is lost: {reason}")
        queue.give_back([flight.item for flight in member.flights if flight.item is not None])
        member.flights.clear()
        member.state, member.model = State.EMPTY, None

    def _note(self, member: Member, what: str) -> None:
        _LOG.warning("%s %s", member.name, what)
        member.lost.append(what)

    def _again(self, item: Item[S, R], fault: Fault, queue: Queue[S, R]) -> Iterator[R]:
        """Try a sample that failed once more, unless that would be of no use; the next run does if this one ends."""
        if self.stopping:
            return
        if fault.final or item.failures >= TRIES:
            yield from (item.work.failed(sample, fault) for sample in item.samples)
        else:
            queue.give_back([item])

    def _check_time(self, member: Member, queue: Queue[S, R]) -> Iterator[R]:
        """End a worker that takes too long, and report one that takes long."""
        flight = member.flights[0] if member.flights else None
        if flight is None or flight.item is None or flight.began is None:
            return
        item, passed = flight.item, time.monotonic() - flight.began
        if self._item_timeout is not None and passed > self._item_timeout * len(item.samples):
            self._pool.kill(member.slot)
            limit = f"{self._item_timeout:g} s a sample (--item-timeout)"
            yield from self._lost(member, f"no answer within {limit}", queue)
        elif not flight.reported and passed > LATE_SECONDS:
            seconds, cost = self._pace.get(item.work, (0.0, 0.0))
            planned = item.cost * seconds / cost if cost else 0.0
            if planned and passed > LATE * planned:
                flight.reported = True
                _LOG.warning("%s takes %.0f s so far for what was planned as %.0f s", member.name, passed, planned)

    @contextmanager
    def _draining(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM inside this block stops handing out; the second raises KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_versions(member: Member, about: About) -> None:
    """The worker runs what this process runs.

    Raises:
        WorkerError: It does not.
    """
    ours = versions()
    for name in ours:
        if ours[name] != about.versions.get(name):
            raise WorkerError(
                f"{member.name} runs {name} {about.versions.get(name)}, the driver {ours[name]}: install the same "
                "version on all machines"
            )
