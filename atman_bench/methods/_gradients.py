"""What the gradient methods share: frozen parameters, captum's forward function, reductions over the hidden size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from atman_bench.core.errors import ConfigError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._objective import attribution_of, logits_of_targets
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.models._base import ModelAdapter, Pass


class Reduction(StrEnum):
    """How an attribution of embeddings becomes one number per position."""

    ABSOLUTE = "absolute"
    """Sum of absolute values over the hidden size, as the released text helper has it."""
    SIGNED = "signed"
    """Sum over the hidden size: keeps completeness."""
    L2 = "l2"
    """Euclidean norm over the hidden size."""

    def __call__(self, attribution: Float[Tensor, "S D"]) -> Float[Tensor, " S"]:
        """Reduce the hidden size."""
        match self:
            case Reduction.ABSOLUTE:
                return attribution.abs().sum(-1)
            case Reduction.SIGNED:
                return attribution.sum(-1)
            case Reduction.L2:
                return attribution.norm(dim=-1)


@contextmanager
def parameters_require_grad(model: nn.Module, required: bool) -> Iterator[None]:
    """Switch gradients of all parameters, and put back what was; gradients left by this block are dropped."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.grad = None  # a backward pass would add to the gradients that are put back
            if parameter.is_floating_point():
                parameter.requires_grad_(required)
        yield
    finally:
        for parameter, requires_grad, grad in before:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """Options of every method that runs a backward pass.

    Attributes:
        checkpointing: Keep only the layers' inputs, and compute the rest again on the way back: less memory, more
            time, same numbers.
    """

    checkpointing: bool = field(default=False, metadata=COSTS_ONLY)


@contextmanager
def checkpointing(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Checkpoint every layer's activations in this block, which must contain the backward pass too.

    Transformers' own switch works in training mode only, which would bring dropout; this one wraps the same layers'
    ``forward``, and puts back what was there.

    Raises:
        ConfigError: The model has no layers that transformers declares fit for it.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if enabled and not layers:
        raise ConfigError(f"checkpointing: {type(model).__name__} has no layers that can be checkpointed; leave it off")
    with ExitStack() as restore:
        if enabled:
            # Layers run again in the thread of the backward pass, which has to be ours: the attention host is a
            # context variable.
            restore.enter_context(torch.autograd.set_multithreading_enabled(False))
        for layer in layers if enabled else ():
            restore.enter_context(_forward_replaced(layer, partial(_checkpointed, layer.forward)))
        yield


ROWS = 128
"""Positions that a feed-forward is differentiated for at a time."""


@contextmanager
def feed_forwards_by_rows(modules: Sequence[nn.Module], enabled: bool) -> Iterator[None]:
    """Checkpoint feed-forwards in blocks of positions in this block, which must contain the backward pass too.

    Inside a checkpointed layer these are what takes most memory on the way back: several times the layer's width.

    Args:
        modules: Those that treat every token alone (``AttentionHost.feed_forwards``).
        enabled: False changes nothing.
    """

    def run(forward: Callable[..., Tensor], *args: Tensor) -> Tensor:
        hidden = args[0]
        if len(args) > 1 or hidden.ndim != 3 or hidden.shape[1] <= ROWS or not hidden.requires_grad:
            return forward(*args)
        return torch.cat([_checkpointed(forward, rows) for rows in hidden.split(ROWS, dim=1)], dim=1)

    with ExitStack() as restore:
        for module in modules if enabled else ():
            restore.enter_context(_forward_replaced(module, partial(run, module.forward)))
        yield


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # whatever a module is called with
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace a module's ``forward``, and put back what its instance had: accelerate sets one there."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


Logit = Callable[[Tensor], Tensor]
"""A target token's logit (B,) as a function of inputs (B, ...)."""


def target_logits(
    model: ModelAdapter, encoded: Encoded, embed: Callable[[Tensor], Tensor] = lambda inputs: inputs
) -> list[Logit]:
    """The logit of each of the T target tokens, or its contrast: see ``logits_of_targets``.

    Args:
        model: The adapter.
        encoded: One sample.
        embed: Turns inputs into embeddings (B, S', D); by default they are.
    """

    def logit(index: int, row: int, inputs: Tensor) -> Tensor:
        embeddings = embed(inputs)
        what = Pass(batch=embeddings.shape[0], rows=[row], embeddings=embeddings)
        return logits_of_targets(model.run(encoded, what), encoded, slice(index, index + 1))[:, 0]

    return [partial(logit, index, row) for index, row in enumerate(encoded.target_rows.tolist())]


def attribute_embeddings(
    model: ModelAdapter,
    encoded: Encoded,
    reduction: Reduction,
    attribute: Callable[[Logit, Tensor], Tensor],
) -> Attribution:
    """Attribute each target token's logit to the input embeddings, and pool positions into units.

    Args:
        model: The adapter.
        encoded: One sample.
        reduction: Over the hidden size.
        attribute: ``(embeddings (B, S', D) -> logits (B,), embeddings (1, S', D)) -> attribution (1, S', D)``; S' ends
            at the row that the target token is read from where later positions cannot influence it.
    """

    def vectors(one: Encoded) -> Iterator[Float[Tensor, "_ D"]]:
        embeddings = model.embeddings(one).detach()
        for row, logit in zip(one.target_rows.tolist(), target_logits(model, one), strict=True):
            # In a decoder later positions cannot influence the row; in an encoder all do.
            end = row + 1 if one.reading_rows is None else one.length
            yield attribute(logit, embeddings[:, :end].clone().requires_grad_())[0].detach().float()

    def reduced(vector: Float[Tensor, "_ D"]) -> Float[Tensor, " U"]:
        per_position = torch.zeros(1, encoded.length)
        per_position[0, : len(vector)] = reduction(vector).cpu()
        return encoded.pool(per_position)[0]

    with parameters_require_grad(model.model, False):
        return attribution_of(encoded, vectors, reduced)
