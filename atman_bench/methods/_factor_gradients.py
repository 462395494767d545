"""Gradients of the target's loss by the factors of an attention edit: all positions from one pass and its way back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.gradient import DifferentiableEditor
from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.masks import Masks
from atman_bench.core.device_traits import CPU
from atman_bench.core.errors import ConfigError
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import EngineMode, PlainPass
from atman_bench.methods._gradients import checkpointing, feed_forwards_by_rows, parameters_require_grad
from atman_bench.methods._objective import losses
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.models._base import ModelAdapter, Pass


@dataclass(frozen=True, kw_only=True)
class FactorGradientConfig:
    """Options of the methods that differentiate the edit.

    Attributes:
        per_target: Explain each target token by a backward pass of its own; false explains their mean by one.
        batch: Passes that run together at the most; None fills 512 positions.
        checkpointing: Keep only the layers' inputs, and compute the rest again on the way back, feed-forwards for some
            positions at a time: less memory, more time, same numbers.
    """

    per_target: bool = False
    batch: int | None = field(default=None, metadata=COSTS_ONLY)
    checkpointing: bool = field(default=True, metadata=COSTS_ONLY)

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, received {self.batch}")

    def objectives(self, encoded: Encoded) -> Float[Tensor, "R T"]:
        """Weights of the T target tokens in each of the losses that are explained: each alone, or their mean.

        Words with ground truth of their own (GQA) are always explained one by one; of a contrast with a foil of its own
        it is the sum.
        """
        count = len(encoded.target_ids)
        if encoded.foil is not None:
            return torch.ones(1, count)
        if self.per_target or encoded.word_of_target is not None:
            return torch.eye(count)
        return torch.full((1, count), 1 / count)

    def forwards(self, n_targets: int) -> float:
        """Forward passes that the gradients of a sample cost: a backward pass is worth two."""
        return (3 + self.checkpointing) * (n_targets if self.per_target else 1)


@dataclass(frozen=True)
class FactorGradients:
    """Of B losses by the factors of L edited layers at S key positions; float32 on the CPU.

    Attributes:
        factors: Derivative by each factor, shared by the heads of a layer.
        centred: See ``LayerStatistics``.
        grad_x_attention: Likewise.
        losses: Of each target token.
    """

    factors: Float[Tensor, "B L S"]
    centred: Float[Tensor, "B L S"]
    grad_x_attention: Float[Tensor, "B L S"]
    losses: Float[Tensor, "B T"]


def gradients_of_plain_pass(
    model: ModelAdapter,
    encoded: Encoded,
    edit: AttentionEdit,
    objectives: Float[Tensor, "B T"],
    config: FactorGradientConfig,
    mode: EngineMode,
) -> tuple[FactorGradients, PlainPass]:
    """``factor_gradients`` at factors of 1, and what sweeps of a mode restart from: the forward pass is the plain one.

    Only for decoders, of which keys and values are all that a later pass needs.
    """
    store = PrefixStore(model.host.n_layers, encoded.length) if mode is EngineMode.FAST else None
    masks = Masks()
    found = factor_gradients(model, encoded, edit, objectives, config, store, masks)
    return found, PlainPass(found.losses[0], store, masks)


def factor_gradients(
    model: ModelAdapter,
    encoded: Encoded,
    edit: AttentionEdit,
    objectives: Float[Tensor, "B T"],
    config: FactorGradientConfig,
    store: PrefixStore | None = None,
    masks: Masks | None = None,
) -> FactorGradients:
    """Differentiate B weighted sums of the target tokens' losses, each under its own factors.

    Args:
        model: The adapter.
        encoded: One sample.
        edit: B edits, of a form that has a derivative.
        objectives: Weights of the T target tokens' losses in each sum.
        config: How the passes run.
        store: Filled with keys and values of the first copy of the passes; for factors of 1.
        masks: Of the sample's passes.
    """
    # On a GPU too: a backward pass holds every layer's activations, and nothing halves a batch that does not fit.
    size = config.batch or max(1, CPU.pass_tokens // encoded.length)
    with (
        parameters_require_grad(model.model, False),
        checkpointing(model.model, config.checkpointing),
        feed_forwards_by_rows(model.host.feed_forwards, config.checkpointing),
    ):
        found = [
            _run(model, encoded, edit.select(items), objectives[items], store, masks)
            for items in (part.tolist() for part in torch.arange(len(objectives)).split(size))
        ]
    return FactorGradients(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _run(
    model: ModelAdapter,
    encoded: Encoded,
    edit: AttentionEdit,
    objectives: Float[Tensor, "B T"],
    store: PrefixStore | None,
    masks: Masks | None,
) -> tuple[Tensor, ...]:
    """One pass of B copies, and its way back: the fields of ``FactorGradients``."""
    editor = DifferentiableEditor(edit, model.host.n_layers, store)
    layers, count = list(editor.leaves), len(objectives)
    with model.host.applied(editor, masks):
        logits = model.run(encoded, Pass(batch=count, rows=encoded.target_rows.tolist()))
        found = losses(logits, encoded)
        by_factors: Sequence[Tensor] = ()
        if layers:
            objective = (found * objectives.to(found)).sum()
            by_factors = torch.autograd.grad(objective, list(editor.leaves.values()))
    statistics = [editor.statistics[layer] for layer in layers]
    by_layer = by_factors, [s.centred for s in statistics], [s.grad_x_attention for s in statistics]
    nothing = torch.zeros(count, 0, encoded.length)
    stacked = (
        torch.stack([tensor.to("cpu", torch.float32) for tensor in tensors], dim=1) if tensors else nothing
        for tensors in by_layer
    )
    return *stacked, found.detach().cpu()
