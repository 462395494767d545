"""What a run would do and take, without running it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atman_bench.core.errors import ModelError
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import Prepared, finished_uids, prepare
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.store import Cell
from atman_bench.methods import METHODS
from atman_bench.models._causal_lm import CausalLM
from atman_bench.profiling.calibration import Rates, calibrate
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
        peak_bytes: Predicted peak memory on the longest sample, weights included; None if it cannot be simulated, and
            then the time is that of all ``forwards``: an upper bound too.
    """

    method: str
    variant: str
    stored: int
    missing: int
    forwards: float
    seconds: float
    peak_bytes: int | None


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
    """Say what ``runner.evaluate`` would do; writes nothing and runs a forward pass to time it.

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


def plan_of(run: Prepared, config: RunConfig, pace: float) -> Plan:
    """What a run would do: a simulation of the longest sample tells what a position of each method takes.

    Args:
        run: The run.
        config: What it was prepared of.
        pace: Seconds that a position of a plain pass takes.

    Raises:
        StoreError: Stored results cannot be read.
    """
    by_length = sorted(run.selected.samples, key=lambda item: item.length)
    shapes = {item.uid: [(len(one.target_ids), one.length) for one in item.sequences] for item in by_length}
    costs = _Costs(by_length[-1])
    planned = []
    for cell in run.cells:
        rows = [row for row in cell.rows() if row.sign == config.sign]
        finished = finished_uids(rows, cell.endings(), config.metric_names)
        missing = [item for item in by_length if item.uid not in finished]
        spec = METHODS.get(cell.identity.method)
        runs = [(len(item.label), *shape) for item in missing for shape in shapes[item.uid]]
        forwards = [spec.forwards(units, targets, cell.options) for units, targets, _ in runs]
        of_position, peak_bytes = costs.of(cell) if missing else (None, None)
        positions = sum(n * length for n, (*_, length) in zip(forwards, runs, strict=True))
        planned.append(
            PlannedCell(
                cell.identity.method,
                cell.variant,
                len(by_length) - len(missing),
                len(missing),
                sum(forwards),
                positions * (pace if of_position is None else of_position),
                peak_bytes,
            )
        )
    return Plan(tuple(planned), run.selected.skipped)


class _Costs:
    """What methods cost on one sample, by simulation; only decoders can be simulated.

    Args:
        item: The sample.
    """

    def __init__(self, item: PreparedSample):
        self._item = item
        self._rates: Rates | None = None

    def of(self, cell: Cell) -> tuple[float | None, int | None]:
        """Seconds of a position of the method's ``forwards``, and peak memory; None where it cannot be simulated."""
        adapter, length, targets = self._item.adapter, self._item.length, self._item.n_targets
        units = len(self._item.label)
        method = cell.identity.method
        forwards = METHODS.get(method).forwards(units, targets, cell.options)
        if not forwards:
            return 0.0, adapter.weight_bytes
        if not isinstance(adapter, CausalLM):
            return None, None
        job = method_job(method, cell.options, length, units, targets)
        try:
            if self._rates is None:
                self._rates = calibrate(adapter, length, units, targets)
            found = simulate_loaded(adapter, job)
        except ModelError:  # it depends on data, or reads a picture
            return None, None
        return self._rates.seconds(found.work) / (forwards * length), adapter.weight_bytes + round(found.peak_bytes)
