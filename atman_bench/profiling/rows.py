"""What one explanation costs at one size: the rows behind Figs 5, 6 and 7. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from atman_bench.core.jsonl import record_of
from atman_bench.core.records import SCHEMA

PLAIN = "plain"
"""A forward pass without explanation, the baseline of every figure."""


class ScaleStatus(StrEnum):
    """How a cell ended; all but the first two are shown by a mark of their own."""

    OK = "ok"
    OOM = "oom"
    """Out of memory."""
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    """The method or model refuses: a context window that is too short, layers that cannot be checkpointed."""
    ERROR = "error"


class Source(StrEnum):
    """Where numbers come from; the two are never mixed unmarked."""

    MEASURED = "measured"
    SIMULATED = "simulated"


QUIET_LOAD = 0.2
"""Other processes that run in the mean before a quiet cell, at the most: one that runs a fifth of the time takes about
a tenth of two processor cores, which is how far repeats differ anyway."""

QUIET_SPREAD = 0.25
"""Relative spread of a quiet cell's repeats, at the most. Of the 27 cells with repeats that two idle cores measured
(``results/scale``) 22 lie below it; the median is 0.11."""


@dataclass(frozen=True)
class ScaleRow:
    """One cell: a method on a model at one sequence length. A flat line of ``scale-*.jsonl``.

    Attributes:
        fingerprint: Names everything that identifies the cell.
        model: As the user wrote it.
        dtype: Type of the weights.
        device: ``cpu`` or ``cuda``.
        threads: Processor threads of each worker.
        method: Name of the method; ``plain`` is a forward pass without explanation.
        variant: Its variant, or ``default``.
        tokens: S, positions of the input.
        batch: Perturbations per forward pass; None lets the memory budget decide, or the method has none.
        workers: Processes that share the perturbations.
        units: Perturbed units that were measured; None for methods that explain all S at once.
        status: How it ended.
        parameters: Of the model.
        model_bytes: Of its parameters.
        seconds: Wall time of each repeat; of the slowest worker.
        cpu_seconds: Processor time of each repeat, all workers together.
        device_seconds: Between CUDA events, each repeat; of the slowest worker. Empty on a CPU.
        peak_bytes: Peak memory above the loaded model, all workers together: of each repeat on CUDA; on a CPU the peak
            resident set of one run before them, since measuring it slows a run.
        reserved_bytes: Highest that the CUDA allocator held, weights included.
        driver_bytes: What the driver (NVML) had given by the end, CUDA context included: a check of the one before.
        load: Mean number of other processes that ran or were ready to, just before the cell; None where not known.
        forward_tokens: Positions that went through the layers in one repeat, all workers together.
        time_limit: Seconds that the cell was given, loading included.
        memory_limit: Bytes that each worker was given, weights included.
        error: Why the status is not ok.
        environment: Versions, processor count and more.
        source: Measured or simulated.
    """

    fingerprint: str
    model: str
    dtype: str
    device: str
    threads: int
    method: str
    variant: str
    tokens: int
    batch: int | None
    workers: int
    units: int | None
    status: ScaleStatus
    parameters: int | None = None
    model_bytes: int | None = None
    seconds: tuple[float, ...] = ()
    cpu_seconds: tuple[float, ...] = ()
    device_seconds: tuple[float, ...] = ()
    peak_bytes: tuple[int, ...] = ()
    reserved_bytes: int | None = None
    driver_bytes: int | None = None
    load: float | None = None
    forward_tokens: int | None = None
    time_limit: float | None = None
    memory_limit: int | None = None
    error: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    source: Source = Source.MEASURED
    schema: int = SCHEMA

    @property
    def partial(self) -> bool:
        """Whether fewer units were measured than there are."""
        return self.units is not None and self.units < self.tokens

    @property
    def extrapolated_seconds(self) -> float | None:
        """Estimate of the median time for all S units from that for some, evenly spaced; None if all were measured.

        The plain pass, which is run once, is scaled along: at most 1 / (units + 1) too much.
        """
        if not self.partial or self.units is None or not self.seconds:
            return None
        return median(self.seconds) * (self.tokens / self.workers + 1) / (self.units / self.workers + 1)

    @property
    def spread(self) -> float | None:
        """Longest less shortest repeat, relative to the median; None if there are no two."""
        return (max(self.seconds) - min(self.seconds)) / median(self.seconds) if len(self.seconds) > 1 else None

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What says that the machine was not quiet, with its number; empty if nothing does."""
        found = []
        if self.load is not None and self.load > QUIET_LOAD:
            found.append(f"load {self.load:.1f}")
        if self.spread is not None and self.spread > QUIET_SPREAD:
            found.append(f"spread {self.spread:.1%}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The row as it is stored: its fields, and the spread beside the repeats that it is of."""
        return {**asdict(self), "spread": self.spread}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ScaleRow":
        """A row as ``json`` read it back; rows of before loads were stored have none."""
        return record_of(cls, {name: value for name, value in content.items() if name != "spread"})


@dataclass(frozen=True)
class Agreement:
    """A measured cell beside its simulation.

    Attributes:
        measured: On a CPU, where the resident set is watched.
        simulated: The same cell.
    """

    measured: ScaleRow
    simulated: ScaleRow

    @property
    def ratio(self) -> float:
        """Simulated by measured peak."""
        return max(self.simulated.peak_bytes) / max(self.measured.peak_bytes)
