"""How long simulated operations take on this machine, from three runs that are timed on it.

A roofline leaves out what an operation costs beside its arithmetic and its memory traffic: Python, and the launch of a
kernel. With a small model that is most of the time. A plain pass, a short sweep and a gradient have both in different
proportions, so their times tell what each costs.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.optimize import nnls

from atman_bench.core.errors import AtmanBenchError
from atman_bench.core.measure import measure
from atman_bench.methods.atman import AtManConfig
from atman_bench.methods.atman_gradient import AtManGradientConfig
from atman_bench.models._causal_lm import CausalLM
from atman_bench.profiling.fake_run import Work
from atman_bench.profiling.predict import Job, method_job, plain_job, simulate_loaded

SUPPRESSIONS = 12
"""Of the sweep that is timed, which takes some six plain passes."""

REPEATS = 3
LONG_ENOUGH, TOO_LONG = 0.5, 5.0
"""Runs of each, after one that is not timed, until they have taken so many seconds, too, and no more once they have
taken the second number. Their median counts: what other processes add to it, they add to what is predicted."""

SLOW = 2.0
"""Seconds of a plain pass beside which launches are nothing, so that it alone tells what is left."""


@dataclass(frozen=True)
class Rates:
    """Seconds of simulated operations on this machine.

    Attributes:
        per_launch: Of each operation, whatever its size.
        per_roofline_second: Of each second of the roofline without launches.
    """

    per_launch: float
    per_roofline_second: float

    def seconds(self, work: Work) -> float:
        """What operations take."""
        return self.per_launch * work.launches + self.per_roofline_second * work.seconds


def calibrate(adapter: CausalLM, tokens: int, units: int, targets: int) -> Rates:
    """Time a plain pass, a short sweep and a gradient, and simulate them.

    Args:
        adapter: The model that is loaded.
        tokens: S, positions of the input.
        units: U, how many of it could be suppressed.
        targets: T, target tokens.

    Raises:
        ModelError: The model cannot be simulated.
    """
    plain = plain_job("lean", tokens, targets)
    sweep = method_job("atman", AtManConfig(), tokens, min(SUPPRESSIONS, units), targets)
    gradient = method_job("atman_gradient", AtManGradientConfig(), tokens, units, targets)
    work, seconds = simulate_loaded(adapter, plain).work, _seconds(adapter, plain)
    if seconds > SLOW:
        return Rates(0.0, seconds / work.seconds)
    runs = [(work, seconds), (simulate_loaded(adapter, sweep).work, _seconds(adapter, sweep))]
    # As in ``adaptive``: a model may have no gradient, and two runs have to do.
    with suppress(AtmanBenchError, NotImplementedError, RuntimeError):
        runs.append((simulate_loaded(adapter, gradient).work, _seconds(adapter, gradient)))
    return fitted(*zip(*runs, strict=True))


def fitted(works: Sequence[Work], seconds: Sequence[float]) -> Rates:
    """The rates, neither negative, by which the times of runs differ least from measured ones, in relation to these."""
    ratios = [[work.launches / time, work.seconds / time] for work, time in zip(works, seconds, strict=True)]
    rates, _ = nnls(np.array(ratios), np.ones(len(works)))
    return Rates(*rates.tolist())


def _seconds(adapter: CausalLM, job: Job) -> float:
    encoded = job.encode(adapter)
    taken: list[float] = []
    while (len(taken) <= REPEATS or sum(taken) < LONG_ENOUGH) and sum(taken) < TOO_LONG:
        _, cost = measure(lambda: job.explain(adapter, encoded, job.options), adapter.model, adapter.device)
        taken.append(cost.seconds)
    return median(taken[1:] or taken)
