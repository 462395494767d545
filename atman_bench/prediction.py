"""What a cell of ``atman-bench scale`` would cost on a device: the code that would run, on a model without weights.

Two things keep that fast. An explanation by perturbation makes hundreds of forward passes that differ only in where
they start and how many perturbations they hold: a first run with empty passes shows which they are, a second executes
a few of them, and the others are interpolated. And layers are alike, so a deep model is continued from two shallow
ones, both in memory and in time.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from atman_bench.attention.store import PrefixStore
from atman_bench.config import Dtype
from atman_bench.errors import AtmanBenchError, ModelError
from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.methods.chefer import Backward, CheferConfig
from atman_bench.methods.integrated_gradients import IntegratedGradientsConfig
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._silence import silent_transformers
from atman_bench.profiling.devices import Device
from atman_bench.profiling.measure import count_tokens
from atman_bench.profiling.scaling import ScaleRow, ScaleStatus, Source
from atman_bench.profiling.simulate import Ledger, Simulation, Work, fake_model, weight_bytes
from atman_bench.profiling.sizes import config_of
from atman_bench.scale import ScaleCell, ScaleConfig, ScaleSummary, measured_function, read_scale_rows
from atman_bench.store import PartWriter, check_writable
from atman_bench.tensors import Encoded

DEPTHS = 2, 3
"""Layers of the two models that a deeper one is continued from: from the second on, all layers cost the same."""

EXECUTED = 5
"""Forward passes of a sweep that are simulated, evenly spaced from the first to the last."""


def configuration(model: str, length: int) -> PreTrainedConfig:
    """The configuration of a decoder, by the model's name alone; no weights are read.

    Args:
        model: ``random:SIZE``, ``hf:ID_OR_FOLDER``, or just a folder or hub id. Of a vision-language model it is the
            decoder's.
        length: S; a named size gets a context window that is long enough.

    Raises:
        UnknownNameError: No such size.
        ModelError: No configuration can be read.
    """
    family, _, argument = model.partition(":")
    if family == "random":
        return config_of(argument, length)
    source = Path(argument if family == "hf" else model).expanduser()
    try:
        with silent_transformers():
            config = AutoConfig.from_pretrained(source if source.is_dir() else str(source))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"no configuration of {model!r}: expected random:SIZE, hf:ID_OR_FOLDER, a folder or a hub id "
            f"({str(error).splitlines()[0]})"
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
    writer = PartWriter(config.results)
    done, interrupted = 0, False
    try:
        for cell in todo:
            progress(len(cells) - len(todo) + done, len(cells), str(cell))
            for row in predict([cell], device):
                writer.write("scale", (json.dumps(asdict(row), allow_nan=False) + "\n").encode())
            done += 1
    except KeyboardInterrupt:
        interrupted = True
    finally:
        writer.close()
    wanted = {cell.fingerprint for cell in cells}
    rows = tuple(row for row in read_scale_rows(config.results) if row.fingerprint in wanted)
    return ScaleSummary(rows, done, interrupted)


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


def compare(rows: Iterable[ScaleRow], device: Device, least_bytes: int = 100_000_000) -> Iterator[Agreement]:
    """Simulate cells that were measured, to see how far the simulation can be trusted.

    Measure with ``MALLOC_MMAP_THRESHOLD_=65536`` in the environment: otherwise glibc keeps what was freed in a
    fragmented heap, and the resident set shows up to four times the tensors that are alive.

    Args:
        rows: Measured rows; left out are those that did not end ok, ran in several processes, or batched only some of
            the perturbations.
        device: What the time is simulated for; the peak hardly depends on it.
        least_bytes: Leave smaller peaks out: below, what the process itself needs shows.
    """
    for row in rows:
        measured = row.status is ScaleStatus.OK and row.source is Source.MEASURED and row.workers == 1
        complete = row.units in (None, row.tokens) or row.batch == 1
        if measured and complete and max(row.peak_bytes, default=0) >= least_bytes:
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
        except (AtmanBenchError, RuntimeError, NotImplementedError) as error:  # a model's code may look at its data
            yield replace(row, error=f"cannot be simulated: {str(error).strip().splitlines()[0]}")
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
    """Cost of one cell.

    Args:
        cell: What is run.
        config: Of a decoder.
        device: Where.
        free: Bytes that the weights leave; a quarter is the engine's budget, as when it runs for real.

    Raises:
        ModelError: The model cannot be built without weights.
        SampleError: The sequence is longer than the context window.
    """
    options = cell.options
    if isinstance(options, EngineConfig) and options.memory_gb is None:
        options = replace(options, memory_gb=max(free, 1e9) / 4e9)
    shallow, deeper = DEPTHS
    if config.num_hidden_layers <= deeper or not _continues(config, options):
        return _simulate_steps(cell, options, config, device)
    first, second = (_simulate_steps(cell, options, _with_depth(config, n), device) for n in DEPTHS)
    return first.towards(second, (config.num_hidden_layers - shallow) / (deeper - shallow))


def _continues(config: PreTrainedConfig, options: Any) -> bool:
    """Whether cost grows with depth along one line.

    It does not where layers differ, nor where gradients of all weights pile up while activations are freed: the peak is
    then at one end of the backward pass or at the other.
    """
    full = isinstance(options, CheferConfig) and options.backward is Backward.FULL
    return not full and len(set(getattr(config, "layer_types", None) or [None])) == 1


def _with_depth(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    changed = deepcopy(config)
    if getattr(changed, "layer_types", None):
        changed.layer_types = changed.layer_types[:layers]
    changed.num_hidden_layers = layers
    return changed


def _simulate_steps(cell: ScaleCell, options: Any, config: PreTrainedConfig, device: Device) -> Simulation:
    """Integrated gradients repeat one step, so they are continued from two."""
    model = fake_model(config, getattr(torch, cell.dtype))
    if not isinstance(options, IntegratedGradientsConfig) or options.n_steps <= 2:
        return _simulate_whole(cell, options, model, device)
    first, second = (_simulate_whole(cell, replace(options, n_steps=n), model, device) for n in (1, 2))
    return first.towards(second, options.n_steps - 1)


def _simulate_whole(cell: ScaleCell, options: Any, model: PreTrainedModel, device: Device) -> Simulation:
    ledger = Ledger(device)
    adapter = _RehearsedLM(model, ledger)
    # A unit per token; which tokens they are does not matter.
    encoded = adapter.encode_ids([0] * cell.tokens, [0])

    def explanation() -> object:
        if options is None:
            return measured_function(cell, adapter, encoded)()
        return METHODS.get(cell.method).explain(adapter, encoded, options, 0)

    if isinstance(options, EngineConfig):
        adapter.rehearse(explanation)
    ledger.ignore([*model.parameters(), *model.buffers()])
    with ledger, count_tokens(model) as counter:
        explanation()
    tokens = counter.tokens + adapter.skipped_tokens
    return Simulation(ledger.peak_bytes, ledger.work + adapter.skipped_work(), tokens)


@dataclass(frozen=True)
class _Pass:
    """One forward pass of a run.

    Attributes:
        tokens: Positions, over all perturbations of the batch.
        work: What it did, or None for one that was left out.
    """

    tokens: int
    work: Work | None


class _RehearsedLM(CausalLM):
    """A decoder that can leave forward passes out.

    While it rehearses it executes the first only, which fills the store of keys and values; afterwards those that were
    chosen. Without a rehearsal it executes all.
    """

    def __init__(self, model: PreTrainedModel, ledger: Ledger):
        super().__init__("simulated", model, None, "")
        self.ledger = ledger
        self.passes: list[_Pass] = []
        self._executed: frozenset[int] | None = None

    def rehearse(self, explanation: Callable[[], object]) -> None:
        """See which passes an explanation makes, and choose those that stand for all: evenly spaced."""
        self._executed = frozenset({0})
        explanation()
        sizes = [p.tokens for p in self.passes]
        spaced = np.linspace(0, len(sizes) - 1, min(EXECUTED, len(sizes))).round().astype(int)
        # The first pass is plain, and costs other than the perturbed ones that are interpolated.
        largest = 1 + int(np.argmax(sizes[1:])) if len(sizes) > 1 else 0
        self._executed = frozenset({0, min(1, len(sizes) - 1), largest, *spaced.tolist()})
        self.passes = []

    @property
    def skipped_tokens(self) -> int:
        """Positions of the passes that were left out."""
        return sum(p.tokens for p in self.passes if p.work is None)

    def skipped_work(self) -> Work:
        """What the passes that were left out would do."""
        done = [(index, astuple(p.work)) for index, p in enumerate(self.passes) if p.work is not None and index]
        left_out = [index for index, p in enumerate(self.passes) if p.work is None]
        if not left_out:
            return Work()
        places, works = zip(*done, strict=True)
        return Work(*(float(np.interp(left_out, places, column).sum()) for column in zip(*works, strict=True)))

    def run(
        self,
        encoded: Encoded,
        *,
        start: int = 0,
        batch: int = 1,
        rows: list[int] | None = None,
        store: PrefixStore | None = None,
        embeddings: Float[Tensor, "B N D"] | None = None,
    ) -> Float[Tensor, "B R V"]:
        """As ``CausalLM``; the logits of a pass that is left out are all zero."""
        length = encoded.length - start if embeddings is None else embeddings.shape[1]
        executed = self._executed is None or len(self.passes) in self._executed
        if not executed:
            self.passes.append(_Pass(batch * length, None))
            return torch.zeros(()).expand(batch, length if rows is None else len(rows), self.vocab_size)
        before = self.ledger.work
        logits = super().run(encoded, start=start, batch=batch, rows=rows, store=store, embeddings=embeddings)
        self.passes.append(_Pass(batch * length, self.ledger.work - before))
        return logits
