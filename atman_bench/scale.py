"""Measures what methods cost, over models and sequence lengths, one process a cell (Figs 5, 6 and 7).

``RESULTS/scale-<writer>.jsonl`` holds a ``ScaleRow`` per finished cell; the same run goes on where it was stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import torch

from atman_bench.api import load_model
from atman_bench.config import PRESETS, Dtype, build, read_yaml
from atman_bench.engine import is_out_of_memory
from atman_bench.errors import AtmanBenchError, ConfigError, UnknownNameError
from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.models import MODELS
from atman_bench.models._causal_lm import CausalLM
from atman_bench.profiling.measure import count_tokens
from atman_bench.profiling.memory import driver_bytes, limit_further_bytes, separate_pages
from atman_bench.profiling.repeat import Repeat, resident_peak, run_once
from atman_bench.profiling.scaling import ScaleRow, ScaleStatus
from atman_bench.profiling.server import Ending, Outcome, Server, Team
from atman_bench.store import PartWriter, check_writable, environment, read_parts
from atman_bench.tensors import Encoded

SCALE_PRESETS = PRESETS / "scale"
"""Where ``atman-bench scale --config NAME`` is looked up after the path NAME itself."""

PLAIN = "plain"
"""A forward pass without explanation, the baseline of every figure."""

WARM_UP_TOKENS = 32
"""On a CPU a short warm-up loads code and weights as well as a long one; CUDA picks its kernels by size."""

GIGABYTE = 10**9


def _plain_default(model: CausalLM, encoded: Encoded) -> object:
    """As transformers' default has it: all logits, and a cache of keys and values."""
    return model.model(encoded.inputs["input_ids"].to(model.device))


def _plain_lean(model: CausalLM, encoded: Encoded) -> object:
    """Logits of the target's row only, no cache."""
    return model.run(encoded, rows=encoded.target_rows.tolist())


_PLAIN: Mapping[str, Callable[[CausalLM, Encoded], object]] = {"default": _plain_default, "lean": _plain_lean}


@dataclass(frozen=True)
class ScaleCell:
    """What one process measures.

    Attributes:
        model: As users write it.
        dtype: Type of the weights.
        device: ``cpu`` or a CUDA device.
        threads: Processor threads of each worker.
        method: Name of a method, or ``plain``.
        variant: A named variant of it, or ``default``.
        tokens: S, positions of the input.
        batch: Perturbations per forward pass; None lets the memory budget decide.
        workers: Processes that share the perturbations.
        units: How many evenly spaced units are perturbed; None for methods that explain all S at once.
    """

    model: str
    dtype: Dtype
    device: str
    threads: int
    method: str
    variant: str
    tokens: int
    batch: int | None = None
    workers: int = 1
    units: int | None = None

    @cached_property
    def options(self) -> Any:
        """The method's resolved options; None for a plain pass.

        Raises:
            UnknownNameError: The method or variant does not exist.
        """
        if self.method == PLAIN:
            if self.variant not in _PLAIN:
                raise UnknownNameError(f"variant of {PLAIN}", self.variant, _PLAIN)
            return None
        spec = METHODS.get(self.method)
        if self.variant != "default" and self.variant not in spec.variants:
            raise UnknownNameError(f"variant of {self.method}", self.variant, spec.variants)
        named = dict(spec.variants.get(self.variant, {}))
        if issubclass(spec.config, EngineConfig):
            named["batch"] = self.batch
        return build(spec.config, named, f"methods.{self.method}:{self.variant}")

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that name the cell: all its fields, the resolved options and the method's version."""
        options = None if self.options is None else asdict(self.options)
        version = None if self.method == PLAIN else METHODS.get(self.method).version
        text = json.dumps([asdict(self), options, version], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        """For progress and messages."""
        parts = [self.model, f"{self.method}:{self.variant}", f"{self.tokens} tokens"]
        if self.batch is not None:
            parts.append(f"batch {self.batch}")
        if self.workers > 1:
            parts.append(f"{self.workers} workers")
        return ", ".join(parts)


@dataclass(frozen=True)
class ScaleConfig:
    """Everything that ``atman-bench scale`` can be told.

    Attributes:
        models: ``NAME`` or ``NAME:ARGUMENT``; ``random:SIZE`` needs no weights.
        methods: ``METHOD`` or ``METHOD:VARIANT``; ``plain:default`` and ``plain:lean`` are forward passes without
            explanation.
        tokens: Sequence lengths.
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
            MODELS.get(model.partition(":")[0])
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
        measured: How many are new.
        interrupted: Whether Ctrl-C ended it.
    """

    rows: tuple[ScaleRow, ...]
    measured: int
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
    server = Server([__name__], fork=not on_cuda)
    writer = PartWriter(config.results)
    facts = {threads: environment(device="", threads=threads) for threads in {cell.threads for cell in todo}}
    measured, interrupted = 0, False
    try:
        for cell in todo:
            progress(len(config.cells) - len(todo) + measured, len(config.cells), str(cell))
            request = Request(cell, config.repeats, config.repeat_seconds, config.memory_limit_bytes)
            outcomes = server.run(measure_cell, request, workers=cell.workers, seconds=config.time_limit)
            row = replace(
                _combine(cell, outcomes),
                time_limit=config.time_limit,
                memory_limit=config.memory_limit_bytes,
                environment=facts[cell.threads] | {"device": cell.device},
            )
            writer.write("scale", (json.dumps(asdict(row), allow_nan=False) + "\n").encode())
            measured += 1
    except KeyboardInterrupt:
        interrupted = True
    finally:
        writer.close()
    wanted = {cell.fingerprint for cell in config.cells}
    rows = tuple(row for row in read_scale_rows(config.results) if row.fingerprint in wanted)
    return ScaleSummary(rows, measured, interrupted)


@dataclass(frozen=True)
class Request:
    """What a process is told.

    Attributes:
        cell: What it measures.
        repeats: At the most.
        repeat_seconds: No further repeat starts after so many seconds of repeats.
        memory_limit: Bytes, weights included.
    """

    cell: ScaleCell
    repeats: int
    repeat_seconds: float
    memory_limit: int | None


@dataclass(frozen=True)
class Measured:
    """What one worker measured, or why it could not.

    Attributes:
        status: How it ended.
        repeats: All of them.
        peak_bytes: Of each repeat on CUDA, of one run before them on a CPU.
        parameters: Of the model.
        model_bytes: Of its parameters.
        forward_tokens: Positions that went through the layers in one repeat.
        driver_bytes: What the driver had given after the last repeat.
        error: Why the status is not ok.
    """

    status: ScaleStatus
    repeats: tuple[Repeat, ...] = ()
    peak_bytes: tuple[int, ...] = ()
    parameters: int | None = None
    model_bytes: int | None = None
    forward_tokens: int | None = None
    driver_bytes: int | None = None
    error: str | None = None


def measure_cell(request: Request, team: Team) -> Measured:
    """Load the model, warm up, and measure; runs in a process of its own. Errors become a status."""
    torch.set_num_threads(request.cell.threads)
    parameters = model_bytes = None
    try:
        with separate_pages():
            model = _load(request)
            parameters = sum(p.numel() for p in model.model.parameters())
            model_bytes = sum(p.numel() * p.element_size() for p in model.model.parameters())
            function = _warmed_up(request.cell, team, model)
            team.wait()
            peaks = [resident_peak(function)] if model.device.type == "cpu" else []
        measured = _repeated(request, team, model, function, peaks)
    except BrokenBarrierError:
        measured = Measured(ScaleStatus.ERROR, error=_ABANDONED)
    except Exception as error:  # whatever it is, it is this cell's alone and the sweep goes on
        team.abort()  # the other workers would wait for this one
        measured = Measured(_status_of(error, loaded=parameters is not None), error=_one_line(error))
    return replace(measured, parameters=parameters, model_bytes=model_bytes)


def _load(request: Request) -> CausalLM:
    cell = request.cell
    if request.memory_limit is not None:
        _limit_memory(torch.device(cell.device), request.memory_limit)
    model = load_model(cell.model, device=cell.device, dtype=cell.dtype)
    if not isinstance(model, CausalLM):
        raise ConfigError(f"model {cell.model!r} is no decoder: scale measures language models on token ids")
    return model


def _warmed_up(cell: ScaleCell, team: Team, model: CausalLM) -> Callable[[], object]:
    """What is measured of a cell, after a short run of it."""
    on_cuda = model.device.type == "cuda"
    short = cell.tokens if on_cuda else min(cell.tokens, WARM_UP_TOKENS)
    _measured_function(cell, model, _sample(model, short, None if cell.units is None else [0, short // 2]))()
    sample = _sample(model, cell.tokens, _share(cell, team))
    if not on_cuda:
        # Matrix products keep scratch memory that grows with their size; it should not count as the method's.
        plain_pass("lean", model, sample)
    return _measured_function(cell, model, sample)


def _repeated(
    request: Request, team: Team, model: CausalLM, function: Callable[[], object], peaks: list[int | None]
) -> Measured:
    """Time a function as often as the request allows; ``peaks`` are those that are known already."""
    device = model.device
    repeats: list[Repeat] = []
    with count_tokens(model.model) as counter:
        while True:
            team.wait()
            repeats.append(run_once(function, device))
            spent = sum(repeat.seconds for repeat in repeats)
            if team.any(len(repeats) >= request.repeats or spent >= request.repeat_seconds):
                break
    return Measured(
        ScaleStatus.OK,
        tuple(repeats),
        tuple(_known((*peaks, *(repeat.peak_bytes for repeat in repeats)))),
        forward_tokens=counter.tokens // len(repeats),
        driver_bytes=driver_bytes(device.index or 0) if device.type == "cuda" else None,
    )


def _status_of(error: Exception, loaded: bool) -> ScaleStatus:
    if is_out_of_memory(error) or "bad_alloc" in str(error):  # what C++ says when a small allocation fails
        return ScaleStatus.OOM
    # A model that cannot be loaded may be there tomorrow; a refused method will be refused again.
    return ScaleStatus.UNSUPPORTED if isinstance(error, AtmanBenchError) and loaded else ScaleStatus.ERROR


def _limit_memory(device: torch.device, limit: int) -> None:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    else:
        limit_further_bytes(limit)


def _share(cell: ScaleCell, team: Team) -> list[int] | None:
    """Positions that this worker perturbs: every n-th of evenly spaced ones, so that all shares cost about the same."""
    if cell.units is None:
        return None
    # The middle of each of K equal stretches: a restart there costs what the stretch costs on average.
    spaced = [int((i + 0.5) * cell.tokens / cell.units) for i in range(cell.units)]
    return spaced[team.index :: team.size]


def _sample(model: CausalLM, tokens: int, positions: list[int] | None) -> Encoded:
    """Random token ids and one target token, as in the protocol of Figs 5 and 7; the same for every method."""
    generator = torch.Generator().manual_seed(tokens)
    *prompt, target = torch.randint(0, model.vocab_size, (tokens + 1,), generator=generator).tolist()
    return model.encode_ids(prompt, [target], None if positions is None else [[p] for p in positions])


def _measured_function(cell: ScaleCell, model: CausalLM, encoded: Encoded) -> Callable[[], object]:
    """What is measured of a cell: a plain pass, or a method on one sample."""
    if cell.method == PLAIN:
        return lambda: plain_pass(cell.variant, model, encoded)
    spec, options = METHODS.get(cell.method), cell.options
    return lambda: spec.explain(model, encoded, options, 0)


@torch.inference_mode()
def plain_pass(variant: str, model: CausalLM, encoded: Encoded) -> object:
    """A forward pass without explanation: ``default`` or ``lean``."""
    return _PLAIN[variant](model, encoded)


_STATUS = {
    Ending.KILLED_FOR_MEMORY: ScaleStatus.OOM,
    Ending.CRASHED: ScaleStatus.ERROR,
    Ending.TOO_LATE: ScaleStatus.TIMEOUT,
}


_ABANDONED = "another worker failed"


def _combine(cell: ScaleCell, outcomes: Sequence[Outcome[Measured]]) -> ScaleRow:
    """One row from what became of all workers: the slowest one's times, everyone's memory."""
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
        cause = min(failed, key=lambda measured: measured.error == _ABANDONED)
        return replace(row, status=cause.status, error=cause.error)
    turns = list(zip(*(measured.repeats for measured in found), strict=True))  # of each repeat, all workers
    return replace(
        row,
        seconds=tuple(max(r.seconds for r in turn) for turn in turns),
        cpu_seconds=tuple(sum(r.cpu_seconds for r in turn) for turn in turns),
        device_seconds=tuple(max(times) for turn in turns if (times := _known(r.device_seconds for r in turn))),
        peak_bytes=tuple(sum(peaks) for peaks in zip(*(measured.peak_bytes for measured in found), strict=True)),
        reserved_bytes=max((sum(b) for turn in turns if (b := _known(r.reserved_bytes for r in turn))), default=None),
        driver_bytes=sum(b) if (b := _known(measured.driver_bytes for measured in found)) else None,
        forward_tokens=sum(_known(measured.forward_tokens for measured in found)),
    )


def _known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
