"""What a run would do and take: nothing is stored, and methods run on a few samples alone, to time them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atman_bench.core.errors import ModelError
from atman_bench.core.memory import free_bytes
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import Prepared, finished_uids, prepare
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.trials import Trials
from atman_bench.methods import METHODS
from atman_bench.models._base import ModelAdapter
from atman_bench.models._causal_lm import CausalLM
from atman_bench.profiling.calibration import Rates, calibrate
from atman_bench.profiling.fake_run import Simulation
from atman_bench.profiling.predict import method_job, simulate_loaded


@dataclass(frozen=True)
class PlannedCell:
    """What a dry run says of one method.

    Attributes:
        method: Name of the method.
        variant: Name of its variant.
        stored: Samples that need no work.
        missing: Samples to explain.
        forwards: Full-length forward passes for them, an upper bound.
        seconds: Predicted time of them.
        timed: How many of them the method was run on for that; 0 where the time is simulated.
        peak_bytes: Predicted peak memory on the longest sample, weights included; None if it cannot be simulated. The
            time of a method that was not timed either is that of all ``forwards``: an upper bound too.
    """

    method: str
    variant: str
    stored: int
    missing: int
    forwards: float
    seconds: float
    timed: int
    peak_bytes: int | None

    @property
    def is_bound(self) -> bool:
        """Whether the time is an upper bound alone."""
        return bool(self.missing) and not self.timed and self.peak_bytes is None


@dataclass(frozen=True)
class Plan:
    """What a dry run says.

    Attributes:
        cells: One entry per method.
        skipped: Reason -> number of samples that could not be used.
    """

    cells: tuple[PlannedCell, ...]
    skipped: Mapping[str, int]


def plan(config: RunConfig) -> Plan:
    """Say what ``runner.evaluate`` would do; writes nothing, and runs methods on a few samples to time them.

    Raises:
        StoreError: Stored results cannot be read.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded.
    """
    run = prepare(config)
    return plan_of(run, config, seconds_per_position(run.selected.samples))


def seconds_per_position(samples: Sequence[PreparedSample]) -> float:
    """What a position of a plain forward pass takes here, by that of a sample of median length."""
    by_length = sorted(samples, key=lambda item: item.length)
    median = by_length[len(by_length) // 2].without_tensors()
    _ = median.plain  # The first pass of a process also pays for starting threads and allocating.
    started = time.perf_counter()
    median.adapter.plain(median.encoded)
    return (time.perf_counter() - started) / median.length


@dataclass(frozen=True)
class _Todo:
    """A method, and the samples that it lacks.

    Attributes:
        cell: The method.
        stored: How many samples it has.
        missing: Those that it lacks, short ones first.
        forwards: Full-length forward passes for each of these.
        positions: Positions that these put through the model.
    """

    cell: Cell
    stored: int
    missing: tuple[PreparedSample, ...]
    forwards: tuple[float, ...]
    positions: tuple[float, ...]


def plan_of(run: Prepared, config: RunConfig, pace: float) -> Plan:
    """What a run would do.

    The quickest methods are timed on a few samples each. Times of the others, and all peaks, are those of a simulation
    of the longest sample.

    Args:
        run: The run.
        config: What it was prepared of.
        pace: Seconds that a position of a plain pass takes.

    Raises:
        StoreError: Stored results cannot be read.
    """
    by_length = sorted(run.selected.samples, key=lambda item: item.length)
    shapes = {item.uid: [(len(one.target_ids), one.length) for one in item.sequences] for item in by_length}
    todo = [_todo(cell, by_length, shapes, config) for cell in run.cells]
    longest = by_length[-1]
    simulated = _Simulated(longest, longest.adapter) if isinstance(longest.adapter, CausalLM) else None
    trials = Trials(config.seed, pace)
    quickest_first = sorted(todo, key=lambda one: sum(one.positions))
    planned = {one.cell: _planned(one, longest.adapter, simulated, trials, pace) for one in quickest_first}
    return Plan(tuple(planned[cell] for cell in run.cells), run.selected.skipped)


def _todo(
    cell: Cell, samples: Sequence[PreparedSample], shapes: Mapping[str, Sequence[tuple[int, int]]], config: RunConfig
) -> _Todo:
    """What a method lacks; ``shapes`` are target tokens and length of the sequences of each sample."""
    rows = [row for row in cell.rows() if row.sign == config.sign]
    finished = finished_uids(rows, cell.endings(), config.metric_names)
    missing = tuple(item for item in samples if item.uid not in finished)
    count = METHODS.get(cell.identity.method).forwards
    forwards, positions = [], []
    for item in missing:
        passes = [count(len(item.label), targets, cell.options) for targets, _ in shapes[item.uid]]
        forwards.append(sum(passes))
        positions.append(sum(n * length for n, (_, length) in zip(passes, shapes[item.uid], strict=True)))
    return _Todo(cell, len(samples) - len(missing), missing, tuple(forwards), tuple(positions))


def _planned(
    todo: _Todo, adapter: ModelAdapter, simulated: "_Simulated | None", trials: Trials, pace: float
) -> PlannedCell:
    """What a method would take: by trials, else by simulation, else at ``pace``; seconds, and bytes with weights."""
    whole_passes = sum(todo.positions)
    seconds, timed, peak_bytes = whole_passes * pace, 0, adapter.weight_bytes if todo.missing else None
    if whole_passes:
        simulation = None if simulated is None else simulated.of(todo.cell)
        trial = None
        if simulation is None or simulation.peak_bytes < free_bytes(adapter.device):
            trial = trials.of(todo.cell, todo.missing, todo.positions)
        if trial is not None:
            seconds, timed = whole_passes * trial.per_position, trial.samples
        elif simulated is not None and simulation is not None:
            seconds = whole_passes * simulated.seconds_per_position(todo.cell, simulation)
        peak_bytes = None if simulation is None else adapter.weight_bytes + round(simulation.peak_bytes)
    return PlannedCell(
        todo.cell.identity.method,
        todo.cell.variant,
        todo.stored,
        len(todo.missing),
        sum(todo.forwards),
        seconds,
        timed,
        peak_bytes,
    )


class _Simulated:
    """What methods cost on one sample, by simulation; only decoders can be simulated.

    Args:
        item: The sample.
        adapter: Its model.
    """

    def __init__(self, item: PreparedSample, adapter: CausalLM):
        self._adapter = adapter
        self._shape = (item.length, len(item.label), item.n_targets)
        self._rates: Rates | None = None

    def of(self, cell: Cell) -> Simulation | None:
        """A method; None where it cannot be simulated."""
        try:
            return simulate_loaded(self._adapter, method_job(cell.identity.method, cell.options, *self._shape))
        except ModelError:  # it depends on data, or reads a picture
            return None

    def seconds_per_position(self, cell: Cell, simulation: Simulation) -> float:
        """Time of a method that was simulated, by the positions of its whole passes."""
        if self._rates is None:
            self._rates = calibrate(self._adapter, *self._shape)
        length, units, targets = self._shape
        forwards = METHODS.get(cell.identity.method).forwards(units, targets, cell.options)
        return self._rates.seconds(simulation.work) / (forwards * length)
