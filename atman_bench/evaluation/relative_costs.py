"""What methods cost, in plain forward passes of the same model on the same sample, measured side by side."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

from atman_bench.core.errors import one_line
from atman_bench.core.measure import measure
from atman_bench.core.memory import is_out_of_memory
from atman_bench.evaluation.explaining import derived_seed
from atman_bench.evaluation.leaderboard_store import RelativeCost
from atman_bench.evaluation.samples import PreparedSample, UsableSample
from atman_bench.evaluation.store import Cell
from atman_bench.methods import METHODS
from atman_bench.models._base import ModelAdapter
from atman_bench.profiling.devices import DEVICES
from atman_bench.profiling.fake_run import Ledger

Item = TypeVar("Item", bound=UsableSample)

PLAIN_REPEATS = 5
"""A plain pass is timed so often around every explanation; the median counts."""


def representative(samples: Sequence[Item], count: int) -> list[Item]:
    """Samples of typical lengths: the middle of each of ``count`` equal parts of all, from short to long."""
    by_length = sorted(samples, key=lambda item: (item.length, item.uid))
    count = min(count, len(by_length))
    return [by_length[int((i + 0.5) * len(by_length) / count)] for i in range(count)]


def relative_cost(cell: Cell, samples: Sequence[PreparedSample], seed: int) -> RelativeCost:
    """Measure one method on some samples; an error becomes the cost's, since results do not depend on it.

    Memory is measured on the middle one, in a run of its own, which also loads what the method needs: counting tensors
    takes time.

    Args:
        cell: The method with its options, as a run has prepared it.
        samples: At least one, from ``representative``.
        seed: Of the run.
    """
    explain, options = METHODS.get(cell.identity.method).explain, cell.options
    seconds, passes, plains = [], [], []
    peaks: list[int] = []
    try:
        for item in _middle_first(samples):
            adapter, encoded = item.adapter, item.encoded
            run = partial(explain, adapter, encoded, options, derived_seed(seed, item.uid))
            plain = partial(adapter.plain, encoded)
            if not peaks:
                peaks = [peak_bytes(plain, adapter), peak_bytes(run, adapter)]
            _, of_plain = measure(plain, adapter.model, adapter.device)
            before = _timed(plain, adapter)
            _, cost = measure(run, adapter.model, adapter.device)
            plains.append(median([*before, *_timed(plain, adapter)]))
            seconds.append(cost.seconds / plains[-1])
            passes.append(cost.forward_tokens / (of_plain.forward_tokens or encoded.length))
    except Exception as error:  # whatever it is, maps and measures are not to be lost for it
        return RelativeCost(error="out of memory" if is_out_of_memory(error) else one_line(error))
    return RelativeCost(
        median(seconds),
        median(passes),
        peaks[1] / peaks[0] if peaks[0] else None,
        median(plains),
        peaks[0],
        len(seconds),
    )


def peak_bytes(function: Callable[[], object], adapter: ModelAdapter) -> int:
    """Most bytes of tensors alive at once while a function runs, among those that it makes; on any device."""
    # Which device the ledger takes matters for the times that it makes up, and for nothing else.
    ledger = Ledger(next(iter(DEVICES.values())))
    ledger.ignore((*adapter.model.parameters(), *adapter.model.buffers()))
    with ledger:
        function()
    return ledger.peak_bytes


def _middle_first(samples: Sequence[PreparedSample]) -> list[PreparedSample]:
    middle = len(samples) // 2
    ordered = [samples[middle], *samples[:middle], *samples[middle + 1 :]]
    return [item.without_tensors() for item in ordered]


def _timed(plain: Callable[[], object], adapter: ModelAdapter) -> list[float]:
    found = []
    for _ in range(PLAIN_REPEATS):
        _, cost = measure(plain, adapter.model, adapter.device)
        found.append(cost.seconds)
    return found
