"""Measures what methods cost, over models and sequence lengths, one process a cell (Figs 5, 6 and 7).

``RESULTS/scale-<writer>.jsonl`` holds a ``ScaleRow`` per finished cell; the same run goes on where it was stopped.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import torch

from atman_bench.core.errors import ConfigError
from atman_bench.core.jsonl import PartWriter, check_writable, read_parts
from atman_bench.core.options import MOST, PRESETS, build, read_yaml
from atman_bench.core.provenance import environment
from atman_bench.core.records import Dtype
from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.models import MODELS
from atman_bench.models._names import family_and_argument
from atman_bench.profiling.cell import ABANDONED, IMAGE_TOKENS, Measured, Request, ScaleCell, known, measure_cell
from atman_bench.profiling.load import other_load
from atman_bench.profiling.rows import ScaleRow, ScaleStatus
from atman_bench.profiling.workers import Ending, Outcome, Server

SCALE_PRESETS = PRESETS / "scale"
"""Where ``atman-bench scale --config NAME`` is looked up after the path NAME itself."""

GIGABYTE = 10**9

_MOST = {"tokens": 10_000_000, "batches": MOST, "workers": 1024, "atman_tokens": MOST, "repeats": MOST, "threads": 4096}
"""The largest numbers that are begun with."""


@dataclass(frozen=True)
class ScaleConfig:
    """Everything that ``atman-bench scale`` can be told.

    Attributes:
        models: ``NAME`` or ``NAME:ARGUMENT``; ``random:SIZE`` needs no weights.
        methods: ``METHOD`` or ``METHOD:VARIANT``; ``plain:default`` and ``plain:lean`` are forward passes without
            explanation.
        tokens: Sequence lengths; methods for images alone explain 144 image tokens instead.
        batches: Perturbations per forward pass, for methods that perturb; null lets the memory budget decide.
        workers: Processes that share the perturbations, for the same methods.
        atman_tokens: How many evenly spaced units methods that perturb one unit at a time measure; null takes all.
        extrapolate: Show an estimate of the time of all units made from those, marked as such; it is never stored.
        repeats: Timed runs after the warm-up, at the most.
        repeat_seconds: No further repeat starts after so many seconds of repeats.
        time_limit: Seconds for a cell, loading included; null for none.
        memory_limit: GB for each process, weights included; null for none.
        threads: Processor threads, shared by the workers; null takes torch's choice.
        dtype: Type of the weights.
        device: A torch device, or null for CUDA where there is one.
        results: Folder of the rows.
    """

    models: tuple[str, ...] = ("random:10M",)
    methods: tuple[str, ...] = ("plain:default", "plain:lean", "atman", "chefer", "input_x_gradient")
    tokens: tuple[int, ...] = (128, 256, 512)
    batches: tuple[int | None, ...] = (1,)
    workers: tuple[int, ...] = (1,)
    atman_tokens: int | None = None
    extrapolate: bool = False
    repeats: int = 5
    repeat_seconds: float = 10
    time_limit: float | None = None
    memory_limit: float | None = None
    threads: int | None = None
    dtype: Dtype = Dtype.FLOAT32
    device: str | None = None
    results: Path = Path("results/scale")

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            ConfigError: See above.
        """
        for name in ("models", "methods", "tokens", "batches", "workers"):
            if not getattr(self, name):
                raise ConfigError(f"{name} must name at least one, received none")
        for name in (
            "tokens",
            "batches",
            "workers",
            "atman_tokens",
            "repeats",
            "time_limit",
            "memory_limit",
            "threads",
        ):
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if value is not None and value <= 0:
                    raise ConfigError(f"{name} must be positive, received {value}")
                if value is not None and value > _MOST.get(name, inf):
                    raise ConfigError(f"{name} must be at most {_MOST[name]:,}, received {value}")

    @property
    def memory_limit_bytes(self) -> int | None:
        """``memory_limit`` in bytes."""
        return None if self.memory_limit is None else int(self.memory_limit * GIGABYTE)

    @cached_property
    def cells(self) -> tuple[ScaleCell, ...]:
        """The grid, each cell once: by model, length and then method, so that a stopped run has whole panels.

        Raises:
            UnknownNameError: A model family, method or variant does not exist.
        """
        for model in self.models:
            MODELS.get(family_and_argument(model)[0])
        cells = (
            cell
            for model, tokens, name in product(self.models, self.tokens, self.methods)
            for cell in self._cells_of(model, tokens, name)
        )
        return tuple(dict.fromkeys(cells))

    def _cells_of(self, model: str, tokens: int, name: str) -> Iterator[ScaleCell]:
        method, _, variant = name.partition(":")
        method = method.replace("-", "_")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        threads = self.threads or os.cpu_count() or 1
        base = ScaleCell(model, self.dtype, device, threads, method, variant or "default", tokens)
        if base.images_only:
            base = replace(base, tokens=IMAGE_TOKENS)
        perturbs = isinstance(base.options, EngineConfig)
        one_by_one = perturbs and not METHODS.get(method).stochastic
        units = min(self.atman_tokens or tokens, tokens) if one_by_one else None
        for batch, workers in product(self.batches if perturbs else (None,), self.workers if one_by_one else (1,)):
            yield replace(base, batch=batch, workers=workers, units=units, threads=max(1, threads // workers))


def load_scale_config(preset: str | None, flags: Mapping[str, Any]) -> ScaleConfig:
    """Merge a YAML file and then flags onto the defaults, and check all of it.

    Args:
        preset: Path of a YAML file, or name of a preset in ``configs/scale``, or None.
        flags: Fields of ``ScaleConfig`` given on the command line; None means not given.

    Raises:
        UnknownNameError: A key, method, variant or model family does not exist.
        ConfigError: The file is missing or malformed, or a value has the wrong type.
    """
    tree = read_yaml(preset, SCALE_PRESETS) if preset else {}
    config = build(ScaleConfig, tree | {key: value for key, value in flags.items() if value is not None})
    _ = config.cells  # a misspelt name fails before anything runs
    return config


@dataclass(frozen=True)
class ScaleSummary:
    """What a run did.

    Attributes:
        rows: One row per cell of the configuration that has one, stored ones included.
        computed: How many are new.
        interrupted: Whether Ctrl-C ended it.
    """

    rows: tuple[ScaleRow, ...]
    computed: int
    interrupted: bool = False


def read_scale_rows(results: Path) -> list[ScaleRow]:
    """All rows of a folder: of several for one cell the latest that is ok, else the latest.

    Raises:
        StoreError: A line is corrupted or of another schema version.
    """
    best: dict[str, ScaleRow] = {}
    for row in read_parts(results, "scale", ScaleRow.from_json):
        known = best.get(row.fingerprint)
        if known is None or row.status is ScaleStatus.OK or known.status is not ScaleStatus.OK:
            best[row.fingerprint] = row
    return list(best.values())


def missing_cells(config: ScaleConfig, rows: Iterable[ScaleRow]) -> list[ScaleCell]:
    """The cells that a resumed run has to measure.

    A cell that did not fit, or not in time, is tried again under other limits; one that failed is always.
    """
    stored = {row.fingerprint: row for row in rows}

    def finished(row: ScaleRow) -> bool:
        same_limits = (row.time_limit, row.memory_limit) == (config.time_limit, config.memory_limit_bytes)
        limited = row.status in (ScaleStatus.OOM, ScaleStatus.TIMEOUT)
        return row.status in (ScaleStatus.OK, ScaleStatus.UNSUPPORTED) or (limited and same_limits)

    return [cell for cell in config.cells if not ((row := stored.get(cell.fingerprint)) and finished(row))]


def run(
    config: ScaleConfig, progress: Callable[[int, int, str], None] = lambda *_: None, *, overwrite: bool = False
) -> ScaleSummary:
    """Measure all cells that are not stored yet; each row is on disk before the next cell starts.

    Args:
        config: What to measure.
        progress: Called with (done, total, what is measured now).
        overwrite: Measure stored cells again; the new rows take the place of the old.

    Raises:
        StoreError: The results folder cannot be read or written.
    """
    check_writable(config.results)
    todo = list(config.cells) if overwrite else missing_cells(config, read_scale_rows(config.results))
    on_cuda = any(cell.device.startswith("cuda") for cell in todo)
    server = Server([measure_cell.__module__], fork=not on_cuda)
    facts = {threads: environment(device="", threads=threads) for threads in {cell.threads for cell in todo}}

    def measured(cell: ScaleCell) -> ScaleRow:
        load = other_load()  # now, while nothing of ours runs
        request = Request(cell, config.repeats, config.repeat_seconds, config.memory_limit_bytes)
        outcomes = server.run(measure_cell, request, workers=cell.workers, seconds=config.time_limit)
        return replace(
            _combine(cell, outcomes),
            load=load,
            time_limit=config.time_limit,
            memory_limit=config.memory_limit_bytes,
            environment=facts[cell.threads] | {"device": cell.device},
        )

    return store_rows(config.results, config.cells, todo, measured, progress)


def store_rows(
    results: Path,
    cells: Sequence[ScaleCell],
    todo: Sequence[ScaleCell],
    row_of: Callable[[ScaleCell], ScaleRow],
    progress: Callable[[int, int, str], None],
) -> ScaleSummary:
    """Make the rows of some cells, each on disk before the next is made; Ctrl-C ends it cleanly.

    Args:
        results: Folder of the rows.
        cells: All cells that the summary is of.
        todo: Those that have no row yet.
        row_of: Measures or simulates a cell.
        progress: Called with (done, total, which cell is next).

    Raises:
        StoreError: The rows cannot be read or written.
    """
    writer = PartWriter(results)
    done, interrupted = 0, False
    try:
        for cell in todo:
            progress(len(cells) - len(todo) + done, len(cells), str(cell))
            writer.write("scale", (json.dumps(row_of(cell).to_json(), allow_nan=False) + "\n").encode())
            done += 1
    except KeyboardInterrupt:
        interrupted = True
    finally:
        writer.close()
    wanted = {cell.fingerprint for cell in cells}
    rows = tuple(row for row in read_scale_rows(results) if row.fingerprint in wanted)
    return ScaleSummary(rows, done, interrupted)


_STATUS = {
    Ending.KILLED_FOR_MEMORY: ScaleStatus.OOM,
    Ending.CRASHED: ScaleStatus.ERROR,
    Ending.TOO_LATE: ScaleStatus.TIMEOUT,
}


def _combine(cell: ScaleCell, outcomes: Sequence[Outcome[Measured]]) -> ScaleRow:
    """One row from the outcomes of all workers: the times of the slowest, the memory of all together."""
    found = [o.result or Measured(_STATUS[o.ending], error=o.error) for o in outcomes]
    row = ScaleRow(
        **{**asdict(cell), "dtype": cell.dtype.value},
        fingerprint=cell.fingerprint,
        status=ScaleStatus.OK,
        parameters=found[0].parameters,
        model_bytes=found[0].model_bytes,
    )
    failed = [measured for measured in found if measured.status is not ScaleStatus.OK]
    if failed:
        cause = min(failed, key=lambda measured: measured.error == ABANDONED)
        return replace(row, status=cause.status, error=cause.error)
    turns = list(zip(*(measured.repeats for measured in found), strict=True))  # of each repeat, all workers
    return replace(
        row,
        seconds=tuple(max(r.seconds for r in turn) for turn in turns),
        cpu_seconds=tuple(sum(r.cpu_seconds for r in turn) for turn in turns),
        device_seconds=tuple(max(times) for turn in turns if (times := known(r.device_seconds for r in turn))),
        peak_bytes=tuple(sum(peaks) for peaks in zip(*(measured.peak_bytes for measured in found), strict=True)),
        reserved_bytes=max((sum(b) for turn in turns if (b := known(r.reserved_bytes for r in turn))), default=None),
        driver_bytes=sum(b) if (b := known(measured.driver_bytes for measured in found)) else None,
        forward_tokens=sum(known(measured.forward_tokens for measured in found)),
    )
