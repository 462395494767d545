"""Runs P perturbations of one sample and returns the loss of every target token under each: exact, and cheap.

Suppressing columns from j on leaves all rows before j untouched (the mask is causal), so the plain prefix runs once
and each perturbation restarts at the first position that it changes (``Encoded.restarts`` says where the mask is not
causal). Only the T target rows are projected to the vocabulary, and they are reduced to losses inside the batch.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit, first_true
from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.masks import Masks
from atman_bench.attention.patching import Editor
from atman_bench.core.device_traits import CPU, sent, traits_of
from atman_bench.core.errors import ConfigError
from atman_bench.core.malloc import freed_memory_kept
from atman_bench.core.memory import free_bytes, is_out_of_memory
from atman_bench.core.progress import tell
from atman_bench.core.tensors import Encoded
from atman_bench.methods._objective import losses as target_losses
from atman_bench.models._base import ModelAdapter, Pass

logger = logging.getLogger(__name__)


class EngineMode(StrEnum):
    """How perturbations are run; all give the same numbers."""

    FAST = "fast"
    """Prefix reuse, target rows only."""
    LEAN = "lean"
    """The whole sequence for every perturbation, target rows only, nothing kept: the memory of a plain forward pass
    for about twice the time of ``fast``, whose store holds the keys and values of all layers."""
    NAIVE = "naive"
    """The whole sequence and all logits for every perturbation: the reference for numbers and costs."""


@dataclass(frozen=True)
class EngineOptions:
    """What changes cost, never values.

    Attributes:
        mode: See ``EngineMode``.
        batch: Perturbations per forward pass at the most; None lets the memory budget decide.
        memory_bytes: Budget for the store and the activations of one batch; None takes a quarter of what is free.
        slack: Share of a batch's positions that may be recomputed needlessly: a batch starts where its earliest
            perturbation does, so those that start far apart cost more together than one by one. 1 sets no bound.
    """

    mode: EngineMode = EngineMode.FAST
    batch: int | None = None
    memory_bytes: int | None = None
    slack: float = 1.0

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, received {self.batch}")
        if not 0 <= self.slack <= 1:
            raise ConfigError(f"slack is a share of a batch's positions: expected 0 to 1, received {self.slack}")


@dataclass(frozen=True)
class InputEdit:
    """P perturbations that replace embeddings of positions by a baseline (occlusion, LIME, KernelSHAP).

    Attributes:
        kept: False where a position's embedding is replaced.
        baseline: What replaces it.
    """

    kept: Bool[Tensor, "P S"]
    baseline: Float[Tensor, " D"]

    def select(self, perturbations: list[int]) -> "InputEdit":
        """The same edit for some of the perturbations."""
        return replace(self, kept=self.kept[perturbations])

    def first_changed(self) -> list[int]:
        """The first position that each perturbation replaces, S where none is."""
        return first_true(~self.kept).tolist()


Edit = AttentionEdit | InputEdit
"""What one batch of perturbations changes."""


@runtime_checkable
class Perturbations(Protocol):
    """P perturbations of one sequence of S positions: an edit of them all, or what makes edits of some."""

    def select(self, perturbations: list[int]) -> Edit:
        """The edit of some of them."""

    def first_changed(self) -> list[int]:
        """The first position that each of the P changes, S where none is."""


@dataclass(frozen=True)
class Batch:
    """Perturbations that run together, from one start position on."""

    perturbations: list[int]
    start: int

    def positions(self, length: int) -> int:
        """Positions that go through the layers, for a sample of ``length`` of them."""
        return len(self.perturbations) * (length - self.start)


@dataclass(frozen=True)
class Share:
    """One of several parts of a sweep's batches, which as many workers run: each after a plain pass of its own.

    Batches stay whole and follow from the sample alone, so losses do not depend on how many parts there are.

    Attributes:
        index: Which part, from 0.
        count: How many there are.
    """

    index: int
    count: int

    def of(self, batches: Sequence[Batch], length: int) -> list[Batch]:
        """Its batches, which follow each other: those whose middle lies in the part, by positions that they run.

        Args:
            batches: All of the sweep.
            length: S, the sample's positions.
        """
        costs = [batch.positions(length) for batch in batches]
        middles = [sum(costs[:i]) * 2 + cost for i, cost in enumerate(costs)]
        first, last = (2 * sum(costs) * edge for edge in (self.index, self.index + 1))
        return [b for b, middle in zip(batches, middles, strict=True) if first <= middle * self.count < last]


@dataclass(frozen=True)
class PlainPass:
    """The unperturbed model on one sample, kept where several sweeps over the same sample follow each other.

    Attributes:
        losses: Cross-entropy of each target token (natural logarithm; less its foil's), float32 on the CPU.
        store: Its keys and values, never written to by a sweep; None in modes that reuse nothing.
        masks: What its layers see, which the sweeps' passes see too.
    """

    losses: Float[Tensor, " T"]
    store: PrefixStore | None
    masks: Masks


@dataclass(frozen=True)
class Sweep:
    """What a sweep measured.

    Attributes:
        losses: Cross-entropy of each target token under each perturbation (natural logarithm; less its foil's, where
            it has one), float32 on the CPU; NaN where another share runs it.
        plain: The same without perturbation.
    """

    losses: Float[Tensor, "P T"]
    plain: Float[Tensor, " T"]

    @classmethod
    def joined(cls, shares: Sequence["Sweep"]) -> "Sweep":
        """The sweep that all of its shares are."""
        losses = shares[0].losses
        for share in shares[1:]:
            losses = torch.where(losses.isnan(), share.losses, losses)
        return cls(losses, shares[0].plain)

    @property
    def deltas(self) -> Float[Tensor, "T P"]:
        """Suppressed loss - plain loss: the paper's Eq. 5, higher = more important."""
        return (self.losses - self.plain).T.contiguous()


def first_rows(perturbations: Perturbations, restarts: Sequence[int] | None = None) -> list[int]:
    """The first row that each perturbation has to run again; S for one that changes nothing. Host integers.

    Args:
        perturbations: What is changed.
        restarts: ``Encoded.restarts``: the first row for each changed position, itself by default.
    """
    first = perturbations.first_changed()
    if restarts is None:
        return first
    return [restarts[i] if i < len(restarts) else i for i in first]


def plan(starts: Sequence[int], end: int, rows_at: Callable[[int], int], slack: float = 1.0) -> list[Batch]:
    """Group perturbations into batches of descending start.

    Args:
        starts: First changed position of each perturbation.
        end: One past the last row that is read; perturbations from there on change nothing and are not run.
        rows_at: How many perturbations a batch that starts at a position may hold.
        slack: See ``EngineOptions``.
    """
    order = sorted((i for i, start in enumerate(starts) if start < end), key=lambda i: -starts[i])
    batches: list[Batch] = []
    current: list[int] = []
    for i in order:
        joined = len(current) + 1
        idle = sum(starts[j] - starts[i] for j in current)
        if current and (joined > rows_at(starts[i]) or idle > slack * joined * (end - starts[i])):
            batches.append(Batch(current, starts[current[-1]]))
            current = []
        current.append(i)
    if current:
        batches.append(Batch(current, starts[current[-1]]))
    return batches


def default_batches(starts: Sequence[int], length: int, end: int, slack: float = 1.0) -> list[Batch]:
    """The batches of the default options on a CPU, where memory bounds none of them.

    Args:
        starts: The first row that each perturbation runs again.
        length: S, positions of the sample.
        end: One past the last row that is read.
        slack: See ``EngineOptions``.
    """

    def rows_at(start: int) -> int:
        return min(CPU.most_rows, -(-CPU.pass_tokens // (length - start)))

    return plan(starts, end, rows_at, slack)


def planned_tokens(starts: Sequence[int], length: int, end: int, slack: float = 1.0) -> int:
    """Forward tokens of perturbations in ``default_batches``.

    Which units ``adaptive`` verifies follows from this number, so that its maps depend neither on the options of a run
    nor on its device.
    """
    return sum(batch.positions(length) for batch in default_batches(starts, length, end, slack))


def end_of(encoded: Encoded) -> int:
    """One past the last row that is read."""
    return min(int(encoded.target_rows.max()) + 1, encoded.length)


def plain_pass(model: ModelAdapter, encoded: Encoded, options: EngineOptions) -> PlainPass:
    """Run the unperturbed model for the sweeps that follow."""
    store = PrefixStore(model.host.n_layers, encoded.length) if options.mode is EngineMode.FAST else None
    masks = Masks()
    with torch.inference_mode():
        what = Pass(rows=encoded.target_rows.tolist(), store=store)
        losses = _losses(model, _on_device(model, encoded), None, what, options, masks)[0].cpu()
        return PlainPass(losses, store, masks)


def sweep(
    model: ModelAdapter,
    encoded: Encoded,
    perturbations: Perturbations,
    options: EngineOptions,
    kept: PlainPass | None = None,
    share: Share | None = None,
) -> Sweep:
    """Losses of all T target tokens under all P perturbations.

    A batch for which memory runs out is halved, and tried again. While batches run, the host never waits for the
    device: it prepares the next ones meanwhile, and gathers all losses at the end.

    Args:
        model: The adapter.
        encoded: One sample.
        perturbations: What is changed; P may be 0.
        options: Batching and mode.
        kept: The plain pass of an earlier sweep over the same sample with the same options; None runs one.
        share: Only a part of the batches run; None runs all.

    Raises:
        torch.OutOfMemoryError: Not even one perturbation fits.
        ModelError: The model's masks depend on where a pass starts.
    """
    reuses = options.mode is EngineMode.FAST
    with torch.inference_mode(), freed_memory_kept() if reuses else nullcontext():
        if kept is None:
            unperturbed = plain_pass(model, encoded, options)
        else:
            unperturbed = replace(kept, store=None if kept.store is None else kept.store.copy())
        return _sweep(model, encoded, perturbations, options, unperturbed, share)


def _sweep(
    model: ModelAdapter,
    encoded: Encoded,
    perturbations: Perturbations,
    options: EngineOptions,
    unperturbed: PlainPass,
    share: Share | None,
) -> Sweep:
    """Run a sweep after a plain pass, whose store it overwrites; without a store every pass starts at 0."""
    rows, store = encoded.target_rows.tolist(), unperturbed.store
    starts = first_rows(perturbations, encoded.restarts)
    end = end_of(encoded)
    if store is None:
        starts = [0] * len(starts)
    encoded = _on_device(model, encoded)
    measured: list[tuple[list[int], list[int], Float[Tensor, "B R"]]] = []
    batches = plan(starts, end, _batch_sizes(model, encoded, options, store), options.slack)
    if store is not None:
        store.expand(max((len(b.perturbations) for b in batches), default=1))
    losses = unperturbed.losses.repeat(len(starts), 1)
    if share is not None:
        mine = share.of(batches, encoded.length)
        of_others = [i for batch in batches if batch not in mine for i in batch.perturbations]
        losses[of_others] = torch.nan
        batches = mine
    done, total = 0, sum(len(batch.perturbations) for batch in batches)
    while batches:
        tell(done, total, "forward passes")
        batch = batches.pop(0)
        count = len(batch.perturbations)
        read = [i for i, row in enumerate(rows) if row >= batch.start]
        try:
            edit = perturbations.select(batch.perturbations)
            what = Pass(batch.start, count, [rows[i] for i in read], store)
            found = _losses(model, encoded, edit, what, options, unperturbed.masks)
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error) or count == 1:
                raise
            batches[:0] = _halve(batch, starts)
            logger.warning("out of memory with %d perturbations at once: halving the batch", count)
            continue
        measured.append((batch.perturbations, read, found))
        done += count
    for (changed, read, _), found in zip(measured, _gathered([found for *_, found in measured]), strict=True):
        losses[torch.tensor(changed)[:, None], torch.tensor(read)] = found
    unperturbed.masks.check()
    return Sweep(losses, unperturbed.losses)


def _gathered(parts: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """The same on the CPU, by one copy."""
    if not parts:
        return []
    together = torch.cat([part.flatten() for part in parts]).cpu()
    split = together.split([part.numel() for part in parts])
    return [flat.view(part.shape) for flat, part in zip(split, parts, strict=True)]


def _on_device(model: ModelAdapter, encoded: Encoded) -> Encoded:
    """The sample with what the model reads where the model is, so that no pass copies it again."""
    return replace(encoded, inputs={name: sent(tensor, model.device) for name, tensor in encoded.inputs.items()})


def _batch_sizes(
    model: ModelAdapter, encoded: Encoded, options: EngineOptions, store: PrefixStore | None
) -> Callable[[int], int]:
    """How many perturbations a batch that starts at a position may hold, at least one."""
    budget = options.memory_bytes or free_bytes(model.device) // 4
    length, traits = encoded.length, traits_of(model.device)
    logits = length if options.mode is EngineMode.NAIVE else len(encoded.target_rows)
    if store is None:
        most = options.batch or traits.pass_tokens // length
    else:  # it gets one half of the budget, activations the other
        budget //= 2
        most = min(options.batch or traits.most_rows, budget // max(1, store.row_bytes))

    def size_at(start: int) -> int:
        suffix = length - start
        by_memory = budget // (suffix * model.activation_bytes + logits * model.logit_bytes)
        return max(1, min(most, by_memory, options.batch or -(-traits.pass_tokens // suffix)))

    return size_at


def _losses(
    model: ModelAdapter, encoded: Encoded, edit: Edit | None, what: Pass, options: EngineOptions, masks: Masks
) -> Float[Tensor, "B R"]:
    """Losses of the targets that a pass reads (less their foils'), under an edit; they stay on the device.

    The naive mode keeps the logits of all positions first.

    Args:
        model: The adapter.
        encoded: One sample, on the device.
        edit: What changes in each of the pass's B copies.
        what: The pass, with the sample's own embeddings; it reads the last R of the T target rows.
        options: Their mode is used.
        masks: Of the sample's passes.
    """
    if what.store is not None:
        what.store.restart(what.start, what.batch)
    if isinstance(edit, InputEdit):
        plain = model.embeddings(encoded)[:, what.start :]
        kept, baseline = (sent(t, plain.device) for t in (edit.kept[:, what.start :, None], edit.baseline))
        what = replace(what, embeddings=torch.where(kept, plain, baseline.to(plain.dtype)))
        edit = None
    elif edit is not None:
        edit = edit.to(model.device)
    with model.host.applied(Editor(edit), masks):
        if options.mode is EngineMode.NAIVE:
            logits = model.run(encoded, replace(what, rows=None))[:, what.rows]
        else:
            logits = model.run(encoded, what)
    return target_losses(logits, encoded, slice(-logits.shape[1], None))


def _halve(batch: Batch, starts: Sequence[int]) -> list[Batch]:
    middle = len(batch.perturbations) // 2
    halves = batch.perturbations[:middle], batch.perturbations[middle:]
    return [Batch(half, min(starts[i] for i in half)) for half in halves]
