"""The driver: everything is done once, whatever becomes of the workers that do it."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from driver_works import Fate, Number, Times
from hypothesis import given
from hypothesis import strategies as st

from atman_bench.core.errors import ConfigError, ModelError, WorkerError
from atman_bench.evaluation.driver import loop
from atman_bench.evaluation.driver.config import shares_of
from atman_bench.evaluation.driver.local import LocalPool
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.pool import Done, Lost, Ready
from atman_bench.evaluation.driver.work import MOST_POSITIONS, MOST_SAMPLES, Lot, Queue
from atman_bench.evaluation.driver.worker import About, Outcome, versions

SAMPLES = tuple(range(60))


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    """Drivers to close at the end."""
    made: list[Driver] = []
    yield made
    for driver in made:
        driver.close()


@pytest.fixture
def driver(drivers, request) -> Driver:
    """One with two workers."""
    drivers.append(Driver(LocalPool(2, 1), **getattr(request, "param", {})))
    return drivers[0]


def lot(work: Times, samples=SAMPLES) -> Lot:
    return Lot.longest_first(work, list(samples), float)


def results_of(driver: Driver, *lots: Lot) -> dict[int, tuple[int | None, str]]:
    """The result of each sample, none of them twice."""
    found = list(driver.run(lots))
    assert max(Counter(sample for sample, _, _ in found).values()) == 1
    return {sample: (value, by) for sample, value, by in found}


@given(
    costs=st.lists(st.lists(st.floats(0, 2 * MOST_POSITIONS)), max_size=4),
    workers=st.integers(1, 64),
)
def test_a_queue_hands_out_every_sample_once_and_the_longest_of_all_first(costs, workers):
    work = Times(Number(1, None))
    lots = [Lot.longest_first(work, list(enumerate(of_lot)), lambda pair: pair[1]) for of_lot in costs]
    queue, items = Queue(lots), []
    while (item := queue.take(workers)) is not None:
        items.append(item)
    assert queue.waiting == 0
    assert sorted(pair for item in items for pair in item.samples) == sorted(
        pair for of_lot in costs for pair in enumerate(of_lot)
    )
    firsts = [item.samples[0][1] for item in items]
    assert firsts == sorted(firsts, reverse=True)
    assert all(len(item.samples) <= MOST_SAMPLES for item in items)
    assert all(len(item.samples) == 1 or item.cost <= MOST_POSITIONS for item in items)


def test_the_last_samples_are_handed_out_one_by_one():
    queue = Queue([lot(Times(Number(1, None)))])
    sizes = [len(item.samples) for item in iter(lambda: queue.take(2), None)]
    assert sizes[0] > 1
    assert sizes[-8:] == [1] * 8


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_results(drivers, tmp_path, workers):
    drivers.append(Driver(LocalPool(workers, 1)))
    found = results_of(drivers[0], lot(Times(Number(3, tmp_path))))
    assert {sample: value for sample, (value, _) in found.items()} == {sample: 3 * sample for sample in SAMPLES}
    # A fast worker may leave others nothing to do, but none loads twice.
    assert 1 <= len(list(tmp_path.glob("load-*"))) <= workers


def test_a_model_is_loaded_once_and_kept_until_items_name_another(driver, tmp_path):
    two, three = Number(2, tmp_path), Number(3, tmp_path)
    for model in (two, two, three):
        found = results_of(driver, lot(Times(model, seconds=0.01)))
        assert found[7][0] == 7 * model.value
    loads = Counter(path.name.rpartition("-")[2] for path in tmp_path.glob("load-*"))
    assert loads == {"2": 2, "3": 2}


def test_workers_that_are_killed_at_random_moments_lose_and_double_nothing(driver, tmp_path):
    moments, kills, done = random.Random(0), [], threading.Event()

    def kill() -> None:
        while len(kills) < 20 and not done.wait(moments.uniform(0.02, 0.15)):
            pids = [member.about.pid for member in driver.members if member.about is not None and member.flights]
            if pids:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid := moments.choice(pids), signal.SIGKILL)
                    kills.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    samples, found = range(400), {}
    # A sample that is at hand at two kills is a row that says so, as it should: it is asked for again.
    while len(found) < len(samples) or len(kills) < 20:
        missing = [sample for sample in samples if sample not in found] or [0]
        again = results_of(driver, lot(Times(Number(3, tmp_path), seconds=0.02), missing))
        assert all("SIGKILL" in by for value, by in again.values() if value is None)
        found |= {sample: value for sample, (value, _) in again.items() if value is not None}
    done.set()
    killer.join()
    assert found == {sample: 3 * sample for sample in samples}
    assert len(kills) == 20


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        (Fate.KILL, "its process was ended by SIGKILL"),
        (Fate.EXIT, "its process ended with exit code 3"),
        (Fate.RAISE, "no such number"),
        (Fate.STICK, "illegal memory access"),
    ],
)
def test_what_a_sample_does_to_two_workers_is_its_result_and_no_other_sample_suffers(driver, tmp_path, fate, said):
    found = results_of(driver, lot(Times(Number(3, tmp_path), {30: fate})))
    assert found[30][0] is None
    assert said in found[30][1]
    assert all(found[sample][0] == 3 * sample for sample in SAMPLES if sample != 30)
    replaced = 2 if fate is not Fate.RAISE else 0
    assert sum(len(member.lost) for member in driver.members) == replaced


def test_a_sample_whose_worker_is_lost_once_is_done_by_another(driver, tmp_path):
    found = results_of(driver, lot(Times(Number(3, tmp_path), dict.fromkeys((5, 30, 59), Fate.KILL_ONCE))))
    assert {sample: value for sample, (value, _) in found.items()} == {sample: 3 * sample for sample in SAMPLES}


@pytest.mark.parametrize("driver", [{"item_timeout": 0.2}], indirect=True)
def test_a_worker_that_hangs_is_ended_and_its_sample_says_why(driver, tmp_path):
    found = results_of(driver, lot(Times(Number(3, tmp_path), {30: Fate.HANG})))
    assert found.pop(30) == (None, "no answer within 0.2 s a sample (--item-timeout)")
    assert all(value == 3 * sample for sample, (value, _) in found.items())


def test_a_worker_that_cannot_load_its_model_leaves_the_work_to_the_others(driver, tmp_path):
    found = results_of(driver, lot(Times(Number(3, tmp_path, failing=1), seconds=0.01)))
    assert all(value == 3 * sample for sample, (value, _) in found.items())
    assert sorted(len(member.lost) for member in driver.members) == [0, 1]


def test_where_no_worker_can_load_the_model_its_error_ends_the_run_and_another_model_does_not_suffer(driver, tmp_path):
    with pytest.raises(ModelError, match="no such weights"):
        list(driver.run([lot(Times(Number(3, tmp_path, failing=9)))]))
    assert results_of(driver, lot(Times(Number(2, tmp_path))))[7][0] == 14


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_the_samples_at_hand(driver, tmp_path, number):
    before = signal.getsignal(number)
    found = []
    for result in driver.run([lot(Times(Number(3, tmp_path), seconds=0.02), range(500))]):
        if not found:
            os.kill(os.getpid(), number)
        found.append(result)
    assert 0 < len(found) < 100
    assert driver.stopping
    assert max(Counter(sample for sample, _, _ in found).values()) == 1
    assert signal.getsignal(number) is before


class NoWorkers:
    """A pool whose workers say something as soon as they start."""

    size, threads = 2, 1

    def __init__(self, event):
        self._event, self._started = event, []

    def start(self, slot):
        self._started.append(slot)

    def events(self, seconds):
        events = [self._event(slot) for slot in self._started]
        self._started.clear()
        return events


class OneAfterTheOther:
    """A pool of two, whose workers start and load one after the other and answer when both have loaded."""

    size, threads = 2, 1

    def __init__(self):
        self.submitted = []
        self._waiting = []
        self._answers = []

    def start(self, slot):
        self._waiting.append(Ready(slot, About("node", slot, versions())))

    def load(self, slot, ticket, model):
        self._waiting.insert(0, Done(slot, ticket, Outcome((), 0.0)))

    def submit(self, slot, ticket, work, samples):
        self.submitted.append(slot)
        self._answers.append(Done(slot, ticket, Outcome(tuple(work.run(1, sample) for sample in samples), 0.0)))

    def events(self, seconds):
        if self._waiting:
            return [self._waiting.pop(0)]
        return [self._answers.pop(0)]


@pytest.mark.parametrize(("samples", "slots"), [(2, [0, 1]), (3, [0, 0, 1])])
def test_no_item_waits_behind_another_where_a_worker_without_one_is_on_its_way(samples, slots):
    pool = OneAfterTheOther()
    assert len(list(Driver(pool).run([lot(Times(Number(1, None)), range(samples))]))) == samples
    assert pool.submitted == slots


def test_a_worker_of_another_version_is_refused_with_both_versions(tmp_path):
    other = {**versions(), "torch": "1.0"}
    driver = Driver(NoWorkers(lambda slot: Ready(slot, About("node", 7, other))))
    with pytest.raises(WorkerError, match=r"process 7 on node.* runs torch 1\.0, the driver \d"):
        list(driver.run([lot(Times(Number(3, tmp_path)))]))


def test_workers_that_cannot_even_start_end_the_run_with_the_reason(tmp_path):
    driver = Driver(NoWorkers(lambda slot: Lost(slot, "its process ended with exit code 1")))
    with pytest.raises(WorkerError, match="exit code 1"):
        list(driver.run([lot(Times(Number(3, tmp_path)))]))
    assert all(len(member.lost) == loop.STARTS for member in driver.members)


@pytest.mark.parametrize(
    ("workers", "gpus", "shares"),
    [
        (2, 0, ["", ""]),
        (4, 1, ["4", "5", "6", "7"]),
        (2, 2, ["4,5", "6,7"]),
        (3, 0.5, ["4", "4", "5"]),
        (1, 4, ["4,5,6,7"]),
    ],
)
def test_gpus_are_dealt_out_in_the_order_in_which_they_are_visible(workers, gpus, shares):
    assert shares_of(list("4567"), workers, gpus) == shares


def test_too_few_gpus_are_refused():
    with pytest.raises(ConfigError, match="3 workers with 2 GPUs each need 6, this machine shows 4"):
        shares_of(list("4567"), 3, 2)
