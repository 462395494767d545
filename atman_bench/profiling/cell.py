"""One cell of ``atman-bench scale``: what it is, and how it is measured in a process of its own."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from threading import BrokenBarrierError
from typing import Any

import torch

from atman_bench.core.errors import AtmanBenchError, ConfigError, UnknownNameError, first_line_of
from atman_bench.core.measure import count_tokens
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.options import ADDED_LATER, build
from atman_bench.core.records import Dtype, Modality, PatchUnits
from atman_bench.core.tensors import Encoded
from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.models._base import LoadOptions, Pass
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._load import load
from atman_bench.profiling.memory import driver_bytes, limit_further_bytes
from atman_bench.profiling.repeat import Repeat, resident_peak, run_once
from atman_bench.profiling.rows import PLAIN, ScaleStatus
from atman_bench.profiling.workers import Team

WARM_UP_TOKENS = 32
"""On a CPU a short warm-up loads code and weights as well as a long one; CUDA picks its kernels by size."""

IMAGE_TOKENS = 144
"""What a method for images alone explains, at every length: the 12 x 12 image tokens of MAGMA (Fig. 7)."""

_OLDER_THAN_COSTS = frozenset({"granularity", "objective", "without_last"})
"""Options that were added after the first stored maps and before the first stored costs, which count them always."""

ABANDONED = "another worker failed"
"""The error of a worker that had to stop for another; never the cause."""


def _plain_default(model: CausalLM, encoded: Encoded) -> object:
    """As transformers' default has it: all logits, and a cache of keys and values."""
    return model.model(encoded.inputs["input_ids"].to(model.device))


def _plain_lean(model: CausalLM, encoded: Encoded) -> object:
    """Logits of the target's row only, no cache."""
    return model.run(encoded, Pass(rows=encoded.target_rows.tolist()))


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
    def images_only(self) -> bool:
        """Whether the method is defined for images alone."""
        return self.method != PLAIN and METHODS.get(self.method).modalities == {Modality.IMAGE}

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that name the cell: all its fields, the resolved options and the method's version.

        An option that a later version adds counts where it differs from its default, so that stored costs stay.
        """
        options = None if self.options is None else _counted(self.options)
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


def _counted(options: Any) -> dict[str, Any]:
    """Resolved options as a cell's fingerprint counts them."""
    newer = {
        f.name: f.default for f in fields(options) if f.metadata == ADDED_LATER and f.name not in _OLDER_THAN_COSTS
    }
    return {name: value for name, value in asdict(options).items() if name not in newer or value != newer[name]}


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
        model = _load(request)
        parameters = sum(p.numel() for p in model.model.parameters())
        model_bytes = sum(p.numel() * p.element_size() for p in model.model.parameters())
        function = _warmed_up(request.cell, team, model)
        team.wait()
        peaks = [resident_peak(function)] if model.device.type == "cpu" else []
        measured = _repeated(request, team, model, function, peaks)
    except BrokenBarrierError:
        measured = Measured(ScaleStatus.ERROR, error=ABANDONED)
    except Exception as error:  # whatever it is, it is this cell's alone and the sweep goes on
        team.abort()  # the other workers would wait for this one
        measured = Measured(_status_of(error, loaded=parameters is not None), error=first_line_of(error))
    return replace(measured, parameters=parameters, model_bytes=model_bytes)


def _load(request: Request) -> CausalLM:
    cell = request.cell
    if request.memory_limit is not None:
        _limit_memory(torch.device(cell.device), request.memory_limit)
    model = load(cell.model, LoadOptions(device=cell.device, dtype=cell.dtype))
    if not isinstance(model, CausalLM):
        raise ConfigError(f"model {cell.model!r} is no decoder: scale measures language models on token ids")
    return model


def _warmed_up(cell: ScaleCell, team: Team, model: CausalLM) -> Callable[[], object]:
    """What is measured of a cell, after a short run of it."""
    on_cuda = model.device.type == "cuda"
    short = cell.tokens if on_cuda else min(cell.tokens, WARM_UP_TOKENS)
    _measured_function(cell, model, _sample(cell, model, short, None if cell.units is None else [0, short // 2]))()
    sample = _sample(cell, model, cell.tokens, _share(cell, team))
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
        tuple(known((*peaks, *(repeat.peak_bytes for repeat in repeats)))),
        forward_tokens=counter.tokens // len(repeats),
        driver_bytes=driver_bytes(device.index or 0) if device.type == "cuda" else None,
    )


def _status_of(error: Exception, loaded: bool) -> ScaleStatus:
    if is_out_of_memory(error):
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


def _sample(cell: ScaleCell, model: CausalLM, tokens: int, positions: list[int] | None) -> Encoded:
    """Random token ids and one target token, as in the protocol of Figs 5 and 7; the same for every method."""
    generator = torch.Generator().manual_seed(tokens)
    *prompt, target = torch.randint(0, model.vocab_size, (tokens + 1,), generator=generator).tolist()
    encoded = model.encode_ids(prompt, [target], None if positions is None else [[p] for p in positions])
    return as_patches(encoded) if cell.images_only else encoded


def as_patches(encoded: Encoded) -> Encoded:
    """Take every unit for a patch of one image; where in it they lie changes no cost, and no image encoder runs."""
    count = len(encoded.units)
    return replace(encoded, units=PatchUnits((1, count), (0, 0, count, 1), (count, 1)))


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


def known(values: Iterable[Any]) -> list[Any]:
    """Those that are not None."""
    return [value for value in values if value is not None]
