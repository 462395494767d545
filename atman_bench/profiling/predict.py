"""What an explanation would cost on a device: the code that would run, on a model without weights.

It is what ``scale --simulate``, ``plan`` and ``eval --dry-run`` show. Three things keep it fast. An explanation by
perturbation makes hundreds of forward passes that differ only in where they start and how many perturbations they hold:
a first run with empty passes shows which they are, a second executes a few of them, and the others are interpolated. Of
thousands of perturbations of a long input some stand for their neighbours. And layers are alike, so a deep model is
continued from two shallow ones, both in memory and in time.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from atman_bench.attention.edit import WALK
from atman_bench.core.device_traits import CPU
from atman_bench.core.errors import AtmanBenchError, ModelError, first_line_of
from atman_bench.core.hub import offline_where_unreachable
from atman_bench.core.jsonl import check_writable
from atman_bench.core.measure import count_tokens
from atman_bench.core.memory import free_bytes
from atman_bench.core.records import Dtype, Modality
from atman_bench.core.tensors import Encoded
from atman_bench.methods import METHODS
from atman_bench.methods._engine import EngineMode, plan
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.methods.adaptive import AdaptiveConfig
from atman_bench.methods.atman import AtManConfig
from atman_bench.methods.chefer import Backward, CheferConfig
from atman_bench.methods.integrated_gradients import IntegratedGradientsConfig
from atman_bench.models._base import WHOLE, Pass
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._names import family_and_argument
from atman_bench.models._pull import PulledKind, pulled_folder
from atman_bench.models._silence import silent_transformers
from atman_bench.models._sizes import config_of
from atman_bench.profiling.cell import ScaleCell, as_patches, plain_pass
from atman_bench.profiling.devices import Device, find_device
from atman_bench.profiling.fake_run import (
    Ledger,
    Simulation,
    Work,
    evenly_spaced,
    fake_model,
    interpolated,
    weight_bytes,
)
from atman_bench.profiling.grid import ScaleConfig, ScaleSummary, read_scale_rows, store_rows
from atman_bench.profiling.rounds import run_rounds, tokens_of
from atman_bench.profiling.rows import PLAIN, Agreement, ScaleRow, ScaleStatus, Source

DEPTHS = 3, 4
"""Layers of the two models that a deeper one is continued from: between the first and the last all cost the same."""

STEPS = 3, 4
"""Steps of the two integrals that a longer one is continued from: from the third on, what a step holds of the steps
before it no longer grows."""

MOST_UNITS = 1024
"""Units that are perturbed in a simulation: the last of the input, which fill the largest batches, and others evenly
spaced, each of which stands for its stretch. The table of factors (U x S, on the host) has a row for these only."""


@dataclass(frozen=True)
class Job:
    """What is simulated: a method on an input, as far as its cost depends on it.

    Attributes:
        explain: ``(adapter, encoded, options)``; options are None for a plain pass.
        options: The method's.
        tokens: S, positions of the input.
        units: U, stretches of the prompt as long as each other.
        targets: T, target tokens.
        one_by_one: Whether every unit is perturbed for itself, so that a share of them tells what all cost.
        images_only: Whether the method explains nothing but patches.
    """

    explain: Callable[[CausalLM, Encoded, Any], object]
    options: Any
    tokens: int
    units: int
    targets: int = 1
    one_by_one: bool = False
    images_only: bool = False

    @property
    def edges(self) -> list[int]:
        """Where the U units begin, and where the last one ends."""
        return np.linspace(0, self.tokens - self.targets + 1, self.units + 1).astype(int).tolist()

    @property
    def simulated_units(self) -> list[int]:
        """Which units the simulated input has."""
        if not self.one_by_one or self.units <= MOST_UNITS:
            return list(range(self.units))
        spaced, rest = MOST_UNITS - CPU.most_rows, self.units - CPU.most_rows
        # The middle of each stretch: a restart there costs what the stretch costs on average.
        middles = ((np.arange(spaced) + 0.5) * rest / spaced).astype(int).tolist()
        return [*middles, *range(rest, self.units)]

    @property
    def stretch(self) -> float:
        """Units that each of the evenly spaced ones stands for."""
        left_out = self.units - len(self.simulated_units)
        return 1 + left_out / (MOST_UNITS - CPU.most_rows)

    def encode(self, adapter: CausalLM) -> Encoded:
        """The input. Which tokens it holds does not matter."""
        prompt = self.tokens - self.targets + 1
        units = [range(self.edges[unit], self.edges[unit + 1]) for unit in self.simulated_units]
        encoded = adapter.encode_ids([0] * prompt, [0] * self.targets, units)
        return as_patches(encoded) if self.images_only else encoded


def method_job(method: str, options: Any, tokens: int, units: int, targets: int = 1) -> Job:
    """A method as it is simulated.

    Which perturbations ``adaptive`` makes depends on the losses, which are not simulated: see ``rounds``.
    """
    spec = METHODS.get(method)
    one_by_one = isinstance(options, EngineConfig) and not spec.stochastic

    def explain(adapter: CausalLM, encoded: Encoded, changed: Any) -> object:
        return spec.explain(adapter, encoded, changed, 0)

    images_only = spec.modalities == {Modality.IMAGE}
    job = Job(explain, options, tokens, units, targets, one_by_one, images_only)

    def explain_within(adapter: CausalLM, encoded: Encoded, changed: AdaptiveConfig) -> None:
        run_rounds(adapter, encoded, changed, job.edges[:-1], job.stretch)

    within = isinstance(options, AdaptiveConfig) and options.share(1 + units) < 1
    return replace(job, explain=explain_within) if within else job


def plain_job(variant: str, tokens: int, targets: int = 1) -> Job:
    """A forward pass without explanation, ``default`` or ``lean``."""
    return Job(lambda adapter, encoded, _: plain_pass(variant, adapter, encoded), None, tokens, 1, targets)


def forward_positions(method: str, options: Any, tokens: int, units: int, targets: int) -> float:
    """Positions that a method puts through a model's layers for one sample, as the engine plans its batches.

    The engine restarts each perturbation at the first position that it changes, here in the batches of a CPU; those of
    a GPU are larger and recompute a little more. Memory sets no bound here, and no perturbation reaches back to an
    earlier position, as neighbours (kappa) may. A method or mode that reuses no prefix has its whole passes, backward
    ones included (``MethodSpec.forwards``).

    Args:
        method: Its name.
        options: Its options.
        tokens: S, positions of the input.
        units: U, the first positions of the input, each a unit.
        targets: T, target tokens.
    """
    job = method_job(method, options, tokens, units, targets)
    if not job.one_by_one or options.engine is not EngineMode.FAST:
        return METHODS.get(method).forwards(units, targets, options) * tokens

    if isinstance(options, AdaptiveConfig) and options.share(1 + units) < 1:
        return tokens_of(options, range(units), tokens, targets)

    def rows_at(start: int) -> int:
        return options.batch or min(CPU.most_rows, -(-CPU.pass_tokens // (tokens - start)))

    batches = plan(range(units), tokens, rows_at)
    restarted = sum(len(batch.perturbations) * (tokens - batch.start) for batch in batches)
    return tokens + restarted


def configuration(model: str, length: int) -> PreTrainedConfig:
    """The configuration of a decoder, by the model's name alone; no weights are read.

    Args:
        model: ``random:SIZE``, ``pulled:NAME``, ``hf:ID_OR_FOLDER``, or just a folder or hub id. Of a vision-language
            model it is the decoder's.
        length: S; a named size gets a context window that is long enough.

    Raises:
        UnknownNameError: No such size, or no such model to pull.
        ModelError: No configuration can be read, or the model was not pulled yet.
    """
    family, argument = family_and_argument(model)
    if family == "random":
        return config_of(argument, length)
    pulled = family == "pulled"
    source = pulled_folder(argument, PulledKind.LANGUAGE_MODEL) if pulled else Path(argument).expanduser()
    try:
        with offline_where_unreachable(source), silent_transformers():
            config = AutoConfig.from_pretrained(source if source.is_dir() else str(source))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"no configuration of {model!r}: expected random:SIZE, pulled:NAME, hf:ID_OR_FOLDER, a folder or a hub id "
            f"({first_line_of(error)})"
        ) from error
    return config.get_text_config()


def simulated_cell(cell: ScaleCell, device: Device) -> ScaleCell:
    """A cell as it is simulated: in one process on a device, with all units perturbed."""
    units = None if cell.units is None else cell.tokens
    return replace(cell, device=device.name, threads=1, workers=1, units=units)


def simulate_grid(
    config: ScaleConfig,
    device: Device,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    *,
    overwrite: bool = False,
) -> ScaleSummary:
    """Simulate all cells of a configuration that are not stored yet; their rows lie beside the measured ones.

    Args:
        config: Which cells.
        device: Where.
        progress: Called with (done, total, what is simulated now).
        overwrite: Simulate stored cells again.

    Raises:
        StoreError: The results folder cannot be read or written.
        UnknownNameError: No such model size.
        ModelError: A model has no configuration, or cannot be built without weights.
    """
    check_writable(config.results)
    cells = list(dict.fromkeys(simulated_cell(cell, device) for cell in config.cells))
    stored = set() if overwrite else {row.fingerprint for row in read_scale_rows(config.results)}
    todo = [cell for cell in cells if cell.fingerprint not in stored]
    return store_rows(config.results, cells, todo, lambda cell: next(predict([cell], device)), progress)


COMPARED_BYTES = 100_000_000
"""Smaller peaks are not compared with a simulation: what the process itself needs shows in them."""


def compare(rows: Iterable[ScaleRow], device: Device) -> Iterator[Agreement]:
    """Simulate cells that were measured, to see how far the simulation can be trusted.

    Args:
        rows: Measured rows; left out are those that did not end ok, ran in several processes, or batched only some of
            the perturbations.
        device: What the time is simulated for; the peak hardly depends on it.
    """
    for row in rows:
        measured = row.status is ScaleStatus.OK and row.source is Source.MEASURED and row.workers == 1
        complete = row.units in (None, row.tokens) or row.batch == 1
        if measured and complete and max(row.peak_bytes, default=0) >= COMPARED_BYTES:
            cell = ScaleCell(**{f.name: getattr(row, f.name) for f in fields(ScaleCell)} | {"dtype": Dtype(row.dtype)})
            simulated = predict([simulated_cell(cell, device)], device)
            yield from (Agreement(row, found) for found in simulated if found.peak_bytes)


def predict(cells: Iterable[ScaleCell], device: Device) -> Iterator[ScaleRow]:
    """Simulate cells: rows like the measured ones, each marked as simulated.

    A cell that would not fit has its peak and time all the same.

    Args:
        cells: What is run, each as ``simulated_cell`` makes it.
        device: Where.

    Raises:
        UnknownNameError: No such model size, method or variant.
        ModelError: A model has no configuration, or cannot be built without weights.
    """
    for cell in cells:
        config, dtype = configuration(cell.model, cell.tokens), getattr(torch, cell.dtype)
        model = fake_model(config, dtype)
        weights = weight_bytes(model)
        row = ScaleRow(
            **{**asdict(cell), "dtype": cell.dtype.value},
            fingerprint=cell.fingerprint,
            status=ScaleStatus.UNSUPPORTED,
            parameters=sum(p.numel() for p in model.parameters()),
            model_bytes=weights,
            source=Source.SIMULATED,
        )
        try:
            found = simulate(cell, config, device, device.memory - weights)
        except ModelError as error:
            yield replace(row, error=str(error))
            continue
        needed = weights + found.peak_bytes
        fits = needed <= device.memory
        yield replace(
            row,
            status=ScaleStatus.OK if fits else ScaleStatus.OOM,
            seconds=(found.work.seconds,),
            peak_bytes=(round(found.peak_bytes),),
            forward_tokens=round(found.forward_tokens),
            error=None if fits else f"needs {needed / 1e9:.1f} GB, {device.name} has {device.memory / 1e9:.1f} GB",
        )


def simulate(cell: ScaleCell, config: PreTrainedConfig, device: Device, free: float) -> Simulation:
    """Cost of one cell; arguments and errors are those of ``simulate_job``."""
    plain = cell.method == PLAIN
    job = (
        plain_job(cell.variant, cell.tokens)
        if plain
        else method_job(cell.method, cell.options, cell.tokens, units=cell.tokens)
    )
    return simulate_job(job, config, getattr(torch, cell.dtype), device, free)


def simulate_loaded(adapter: CausalLM, job: Job) -> Simulation:
    """Cost of a job on a model that is loaded, where it is loaded; of a vision-language model on its decoder.

    The rates of that device are not known, so times are those of a common one of its kind, where launching an operation
    takes no time: ``calibration`` tells what they are here.

    Raises:
        ModelError: As ``simulate_job``.
    """
    device = replace(find_device("cpu-24GB" if adapter.device.type == "cpu" else "A100-80GB"), overhead=0.0)
    config = adapter.model.config.get_text_config()
    return simulate_job(job, config, adapter.model.dtype, device, free_bytes(adapter.device))


def simulate_job(job: Job, config: PreTrainedConfig, dtype: torch.dtype, device: Device, free: float) -> Simulation:
    """Cost of a job.

    Args:
        job: What is run.
        config: Of a decoder.
        dtype: Of its weights.
        device: Where.
        free: Bytes that the weights leave; a quarter is the engine's budget, as when it runs for real.

    Raises:
        ModelError: It cannot be simulated: the model cannot be built without weights, the sequence is longer than its
            context window, or what is run depends on data.
    """
    try:
        return _simulate_depths(job, config, dtype, device, free)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ModelError(f"cannot be simulated: what it runs depends on data ({_first_line(error)})") from error
    except (AtmanBenchError, RuntimeError, NotImplementedError) as error:  # a model's code may look at its data
        raise ModelError(f"cannot be simulated: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _simulate_depths(job: Job, config: PreTrainedConfig, dtype: torch.dtype, device: Device, free: float) -> Simulation:
    options = job.options
    if isinstance(options, AtManConfig) and options.kappa is not None:
        raise ModelError("neighbours are suppressed along with a unit by how alike they are; leave kappa out")
    if isinstance(options, EngineConfig) and options.memory_gb is None:
        job = replace(job, options=replace(options, memory_gb=max(free, 1e9) / 4e9))
    at_depth = partial(_simulate_steps, job, dtype=dtype, device=device)
    shallow, deeper = DEPTHS
    if config.num_hidden_layers <= deeper or not _continues(config, options):
        return at_depth(config)
    first, second = (at_depth(_with_depth(config, n)) for n in DEPTHS)
    return first.towards(second, (config.num_hidden_layers - shallow) / (deeper - shallow))


def _continues(config: PreTrainedConfig, options: Any) -> bool:
    """Whether cost grows with depth along one line.

    It does not where layers differ, nor where gradients of all weights accumulate while activations are freed: the
    peak is then at one end of the backward pass or at the other.
    """
    full = isinstance(options, CheferConfig) and options.backward is Backward.FULL
    return not full and len(set(getattr(config, "layer_types", None) or [None])) == 1


def _with_depth(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    changed = deepcopy(config)
    if getattr(changed, "layer_types", None):
        changed.layer_types = changed.layer_types[:layers]
    changed.num_hidden_layers = layers
    return changed


def _simulate_steps(job: Job, config: PreTrainedConfig, dtype: torch.dtype, device: Device) -> Simulation:
    """Integrated gradients repeat one step, so a long integral is continued from two short ones.

    Steps that share a batch are one pass, which is simulated as it is.
    """
    model, options = fake_model(config, dtype), job.options
    few, more = STEPS
    stepwise = isinstance(options, IntegratedGradientsConfig) and options.internal_batch_size is not None
    if not stepwise or options.n_steps <= more:
        return _simulate_whole(job, model, device)
    first, second = (_simulate_whole(replace(job, options=replace(options, n_steps=n)), model, device) for n in STEPS)
    return first.towards(second, (options.n_steps - few) / (more - few))


def _simulate_whole(job: Job, model: PreTrainedModel, device: Device) -> Simulation:
    ledger = Ledger(device)
    adapter = SampledForwardLM(model, ledger)
    encoded = job.encode(adapter)

    def explanation() -> object:
        return job.explain(adapter, encoded, job.options)

    if isinstance(job.options, EngineConfig):
        with ledger.sampling(WALK):
            adapter.sample(explanation)
    ledger.ignore([*model.parameters(), *model.buffers()])
    with ledger, ledger.sampling(WALK), count_tokens(model) as counter:
        explanation()
    tokens, work = counter.tokens + adapter.skipped_tokens, ledger.work + adapter.skipped_work()
    if job.stretch > 1:
        # The last units are stretched too, but what is left of the input there is nearly nothing.
        plain = adapter.passes[0]
        tokens = round(plain.tokens + (tokens - plain.tokens) * job.stretch)
        if plain.work is not None:
            work = plain.work + (work - plain.work) * job.stretch
    return Simulation(ledger.peak_bytes, work, tokens)


@dataclass(frozen=True)
class _Pass:
    """One forward pass of a run.

    Attributes:
        tokens: Positions, over all perturbations of the batch.
        work: What it did, or None for one that was left out.
    """

    tokens: int
    work: Work | None


class SampledForwardLM(CausalLM):
    """A decoder that executes a sample of an explanation's forward passes and leaves the others out.

    ``sample`` records all passes while only the first is executed, which fills the store of keys and values, and
    chooses those that are executed afterwards. Without it all are. The work of a pass that is left out is interpolated
    between those that have fewer and more positions: not every batch is full.
    """

    def __init__(self, model: PreTrainedModel, ledger: Ledger):
        super().__init__("simulated", model, None, "")
        self.ledger = ledger
        self.passes: list[_Pass] = []
        self._executed: frozenset[int] | None = None

    def sample(self, explanation: Callable[[], object]) -> None:
        """Record which passes an explanation makes, and choose those that are executed, evenly spaced by their size."""
        self._executed = frozenset({0})
        explanation()
        sizes = [p.tokens for p in self.passes]
        # The first pass is plain, and costs other than the perturbed ones that are interpolated.
        largest = 1 + int(np.argmax(sizes[1:])) if len(sizes) > 1 else 0
        by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
        self._executed = frozenset(
            {0, min(1, len(sizes) - 1), largest, *(by_size[i] for i in evenly_spaced(len(sizes)))}
        )
        self.passes = []

    @property
    def skipped_tokens(self) -> int:
        """Positions of the passes that were left out."""
        return sum(p.tokens for p in self.passes if p.work is None)

    def skipped_work(self) -> Work:
        """What the passes that were left out would do."""
        # The first pass is plain, and costs other than those between which the rest lies.
        done = sorted(((p.tokens, p.work) for p in self.passes[1:] if p.work is not None), key=itemgetter(0))
        left_out = [p.tokens for p in self.passes if p.work is None]
        return interpolated([tokens for tokens, _ in done], [work for _, work in done], left_out)

    def run(self, encoded: Encoded, what: Pass = WHOLE) -> Float[Tensor, "B R V"]:
        """As ``CausalLM``; the logits of a pass that is left out are all zero."""
        length = encoded.length - what.start if what.embeddings is None else what.embeddings.shape[1]
        executed = self._executed is None or len(self.passes) in self._executed
        if not executed:
            self.passes.append(_Pass(what.batch * length, None))
            return torch.zeros(()).expand(what.batch, length if what.rows is None else len(what.rows), self.vocab_size)
        before = self.ledger.work
        logits = super().run(encoded, what)
        self.passes.append(_Pass(what.batch * length, self.ledger.work - before))
        return logits
