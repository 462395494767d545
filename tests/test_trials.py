"""What a dry run learns from running methods on a few samples."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from atman_bench.core.errors import NotApplicableError
from atman_bench.evaluation import dry_run, trials
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.trials import BUDGET, ENOUGH, SAMPLES, Trials
from atman_bench.profiling import calibration

LOADING = 0.25


class Item:
    """A sample of so many positions."""

    def __init__(self, length: int):
        self.length = length
        self.uid = f"{length:02d}"

    def without_tensors(self) -> "Item":
        return self


class Machine:
    """Takes ``rate`` seconds for each position, and some more for the first run of all; its clock shows them."""

    def __init__(self, rate: float):
        self.rate = rate
        self.now = 0.0
        self.fails = False
        self.ran: list[int] = []

    def explain_sample(self, item: Item, *_: object) -> SimpleNamespace:
        self.ran.append(item.length)
        seconds = self.rate * item.length + LOADING * (len(self.ran) == 1)
        self.now += seconds
        return SimpleNamespace(seconds=None if self.fails else seconds)


CELL = SimpleNamespace(identity=SimpleNamespace(method="a"), options=None)
ITEMS = [Item(length) for length in range(10, 40)]
POSITIONS = [2 * item.length for item in ITEMS]


@pytest.fixture
def machine(monkeypatch) -> Machine:
    found = Machine(rate=0.001)
    monkeypatch.setattr(trials, "explain_sample", found.explain_sample)
    monkeypatch.setattr(trials, "perf_counter", lambda: found.now)
    return found


def test_a_method_is_timed_on_samples_of_several_lengths_and_what_it_loads_does_not_count(machine):
    trial = Trials(0, pace=0.001).of(CELL, ITEMS, POSITIONS)
    assert trial.samples == SAMPLES == len(set(machine.ran))
    assert trial.per_position == pytest.approx(0.0005)
    middle, *others = machine.ran
    assert min(others) < middle < max(others)


def test_a_slow_method_is_run_once(machine):
    machine.rate = ENOUGH
    trial = Trials(0, pace=0.001).of(CELL, ITEMS, POSITIONS)
    (length,) = machine.ran
    assert (trial.samples, trial.per_position) == (1, pytest.approx((ENOUGH * length + LOADING) / (2 * length)))


def test_a_method_that_would_take_more_than_is_left_is_not_run(machine):
    assert Trials(0, pace=BUDGET).of(CELL, ITEMS, POSITIONS) is None
    assert not machine.ran
    machine.rate = 0.45
    budget = Trials(0, pace=0.225)
    taken = budget.of(CELL, ITEMS, POSITIONS), budget.of(CELL, ITEMS, POSITIONS), budget.of(CELL, ITEMS, POSITIONS)
    assert [trial is None for trial in taken] == [False, False, True]


def test_samples_that_fail_take_their_time_out_of_the_budget_too(machine):
    machine.rate, machine.fails = 0.45, True
    budget = Trials(0, pace=0.225)
    assert [budget.of(CELL, ITEMS, POSITIONS) for _ in range(3)] == [None] * 3
    assert len(machine.ran) == 2


def test_samples_that_end_badly_tell_nothing(monkeypatch):
    seconds = iter([None, 1.0, None, 0.5, *[None] * (SAMPLES - 3)])
    monkeypatch.setattr(trials, "explain_sample", lambda *_: SimpleNamespace(seconds=next(seconds)))
    assert Trials(0, pace=0.001).of(CELL, ITEMS, POSITIONS).samples == 1

    def refuse(*_: object) -> None:
        raise NotApplicableError("a pictures only")

    monkeypatch.setattr(trials, "explain_sample", refuse)
    assert Trials(0, pace=0.001).of(CELL, ITEMS, POSITIONS) is None


@pytest.fixture
def config(tmp_path) -> RunConfig:
    methods = (("atman", {}), ("lime", {"n_samples": 16}), ("uniform", {}))
    return RunConfig(limit=2, methods=methods, device="cpu", results=tmp_path)


@pytest.mark.slow
def test_a_dry_run_says_of_which_methods_times_are_measured_simulated_or_bounds(config, monkeypatch):
    timed = {cell.method: cell for cell in dry_run.plan(config).cells}
    assert {name: cell.timed for name, cell in timed.items()} == {"atman": 2, "lime": 2, "uniform": 0}
    assert not any(cell.is_bound for cell in timed.values())
    monkeypatch.setattr(trials, "BUDGET", 0.0)
    monkeypatch.setattr(calibration, "LONG_ENOUGH", 0.0)
    simulated = {cell.method: cell for cell in dry_run.plan(config).cells}
    assert not any(cell.timed for cell in simulated.values())
    assert {name for name, cell in simulated.items() if cell.is_bound} == {"lime"}
    assert all(simulated[name].seconds > 0 for name in ("atman", "lime"))


def test_a_method_that_does_not_fit_is_not_run(config, monkeypatch):
    monkeypatch.setattr(dry_run, "free_bytes", lambda device: 10)
    monkeypatch.setattr(trials, "explain_sample", lambda *_: pytest.fail("it ran"))
    found = dry_run.plan(replace(config, methods=config.methods[::2]))
    assert [cell.timed for cell in found.cells] == [0, 0]
