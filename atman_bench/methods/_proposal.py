"""A guess at AtMan's map for the price of a few passes: which units ``adaptive`` suppresses first."""

import logging
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit
from atman_bench.core.device_traits import CPU
from atman_bench.core.errors import ConfigError, NotApplicableError, one_line
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import (
    EngineMode,
    EngineOptions,
    PlainPass,
    first_rows,
    planned_tokens,
    sweep,
)
from atman_bench.methods._factor_gradients import FactorGradientConfig, factor_gradients
from atman_bench.methods.atman import Suppression, SuppressionConfig, edited_layers
from atman_bench.methods.atman_gradient import Aggregate, effects_by_layer
from atman_bench.models._base import ModelAdapter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """What is known of P perturbations before one of them has run.

    Attributes:
        priority: Which to run first: larger is better, never negative.
        estimate: How much each raises the mean loss of the target tokens, or the loss of each (R = 1 or T), but for a
            factor that a row shares.
        tokens: Positions that went through the model for it, backward passes counted as two forward passes.
        remarks: What a reader of the map has to know of it.
    """

    priority: Float[Tensor, " P"]
    estimate: Float[Tensor, "R P"]
    tokens: int
    remarks: tuple[str, ...] = ()


def by_gradient(model: ModelAdapter, encoded: Encoded, suppression: Suppression, config: SuppressionConfig) -> Proposal:
    """Derivatives of the mean loss by the factors of the edit: a forward and a backward pass for all perturbations.

    Words with ground truth of their own (GQA) take such a pair each.

    The priority adds up what no single aggregate sees of real texts, toys and images alike: the derivative, its
    positive part in each layer, and attention times its gradient, each over its largest; of images the centred
    derivative too.
    That one is the estimate: of the aggregates it has the highest rank correlation with what is not verified.
    Sequences that fill more than a pass of a CPU are checkpointed, on every device, which costs a forward pass more.

    Raises:
        ConfigError: The form of the edit has no derivative, or the model's layers cannot be checkpointed.
    """
    checkpointed = encoded.length > CPU.pass_tokens
    options = FactorGradientConfig(checkpointing=checkpointed)
    objectives = options.objectives(encoded)
    ones = torch.ones(len(objectives), encoded.length)
    edit = AttentionEdit(ones, config.form, config.row_min, edited_layers(model, config.layers))
    found = factor_gradients(model, encoded, edit, objectives, options)
    total, centred, grad_x_attention = (
        effects_by_layer(suppression, aggregate.effects(found))
        for aggregate in (Aggregate.SUM, Aggregate.CENTRED, Aggregate.GRAD_X_ATTENTION)
    )
    by_layer = total.mean(0)
    signals = [by_layer.sum(-1), by_layer.clamp(min=0).sum(-1), grad_x_attention.mean(0).sum(-1)]
    if encoded.pictures:
        signals.append(centred.mean(0).sum(-1))
    passes = len(objectives) * (4 if checkpointed else 3)
    priority = torch.stack([_over_largest(signal) for signal in signals]).sum(0)
    return Proposal(priority, centred.sum(-1), passes * encoded.length)


def by_rows(
    model: ModelAdapter, encoded: Encoded, suppression: Suppression, options: EngineOptions, kept: PlainPass
) -> Proposal:
    """Suppressions of which only the rows from the first target row on run: no derivative, hardly any memory.

    All that a unit does to the rows before is left out.

    Raises:
        NotApplicableError: The rows before are not there to restart from.
    """
    if options.mode is not EngineMode.FAST or encoded.reading_rows is not None:
        raise NotApplicableError(
            "proposal 'rows' restarts at the first target row of a decoder: choose engine fast, or proposal gradient"
        )
    first = int(encoded.target_rows.min())
    restarts = range(encoded.length) if encoded.restarts is None else encoded.restarts
    late = replace(encoded, restarts=tuple(max(row, first) for row in restarts))
    estimate = sweep(model, late, suppression, options, kept).deltas
    tokens = planned_tokens(first_rows(suppression, late.restarts), encoded)
    return Proposal(_over_largest(estimate.mean(0)), estimate, tokens)


def by_gradient_if_possible(
    model: ModelAdapter,
    encoded: Encoded,
    suppression: Suppression,
    config: SuppressionConfig,
    options: EngineOptions,
    kept: PlainPass,
) -> Proposal:
    """``by_gradient``, or ``by_rows`` with a warning where a backward pass is not possible or does not fit."""
    try:
        return by_gradient(model, encoded, suppression, config)
    except (ConfigError, MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, ConfigError) and not is_out_of_memory(error):
            raise
        remark = f"no gradient of sample {encoded.uid} ({one_line(error)}): proposal 'rows' instead"
    logger.warning("adaptive: %s", remark)
    return replace(by_rows(model, encoded, suppression, options, kept), remarks=(remark,))


def _over_largest(signal: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    positive = signal.clamp(min=0)
    return positive / positive.max().clamp(min=torch.finfo(positive.dtype).tiny)
