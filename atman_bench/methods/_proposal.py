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
    end_of,
    first_rows,
    plain_pass,
    planned_tokens,
    sweep,
)
from atman_bench.methods._factor_gradients import FactorGradientConfig, factor_gradients, gradients_of_plain_pass
from atman_bench.methods.atman import Suppression, SuppressionConfig, edited_layers
from atman_bench.methods.atman_gradient import Aggregate, effects_by_layer
from atman_bench.models._base import ModelAdapter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """What is known of P perturbations before one of them has run.

    Attributes:
        signals: Square roots of F quantities that tell which matter, each over its largest, so 0 to 1.
        leading: The first of them that count alike before one has run; what the others are worth shows as they do.
        estimate: How much each raises the mean loss of the target tokens, or the loss of each (R = 1 or T), but for a
            factor that a row shares.
        tokens: Positions that went through the model for it, the plain pass included, backward passes counted as two
            forward passes.
        remarks: What a reader of the map has to know of it.
    """

    signals: Float[Tensor, "P F"]
    leading: int
    estimate: Float[Tensor, "R P"]
    tokens: int
    remarks: tuple[str, ...] = ()


def by_gradient(
    model: ModelAdapter, encoded: Encoded, suppression: Suppression, config: SuppressionConfig, options: EngineOptions
) -> tuple[Proposal, PlainPass]:
    """Derivatives of the mean loss by the factors of the edit: a backward pass for all perturbations.

    Words with ground truth of their own (GQA) take a forward and a backward pass each.

    The signals are what no single aggregate sees of real texts, toys and images alike: the derivative, its positive
    part in each layer, and attention times its gradient; then the centred derivative, and the first and the third of
    each layer alone. The centred derivative is the estimate: of the aggregates it has the highest rank correlation
    with what is not verified.
    The forward pass of a decoder is the plain one that sweeps restart from.
    Sequences that fill more than a pass of a CPU are checkpointed, on every device, which costs a forward pass more.

    Raises:
        ConfigError: The form of the edit has no derivative, or the model's layers cannot be checkpointed.
    """
    checkpointed = encoded.length > CPU.pass_tokens
    how = FactorGradientConfig(checkpointing=checkpointed)
    objectives = how.objectives(encoded)
    ones = torch.ones(len(objectives), encoded.length)
    edit = AttentionEdit(ones, config.form, config.row_min, edited_layers(model, config.layers))
    passes = len(objectives) * (4 if checkpointed else 3)
    if encoded.reading_rows is None:
        found, plain = gradients_of_plain_pass(model, encoded, edit, objectives, how, options.mode)
    else:
        found, plain = factor_gradients(model, encoded, edit, objectives, how), plain_pass(model, encoded, options)
        passes += 1
    by_layer, centred, attended = (
        effects_by_layer(suppression, aggregate.effects(found))
        for aggregate in (Aggregate.SUM, Aggregate.CENTRED, Aggregate.GRAD_X_ATTENTION)
    )
    estimate = centred.sum(-1)
    by_layer, attended = by_layer.mean(0), attended.mean(0)
    leading = [by_layer.sum(-1), by_layer.clamp(min=0).sum(-1), attended.sum(-1)]
    signals = [*(signal[:, None] for signal in (*leading, estimate.mean(0))), by_layer, attended]
    roots = torch.cat([over_largest(signal).sqrt() for signal in signals], dim=1)
    return Proposal(roots, len(leading), estimate, passes * encoded.length), plain


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
    tokens = encoded.length + planned_tokens(first_rows(suppression, late.restarts), encoded.length, end_of(encoded))
    return Proposal(over_largest(estimate.mean(0)).sqrt()[:, None], 1, estimate, tokens)


def by_gradient_if_possible(
    model: ModelAdapter, encoded: Encoded, suppression: Suppression, config: SuppressionConfig, options: EngineOptions
) -> tuple[Proposal, PlainPass]:
    """``by_gradient``, or ``by_rows`` with a warning where a backward pass is not possible or does not fit."""
    try:
        return by_gradient(model, encoded, suppression, config, options)
    except (ConfigError, MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, ConfigError) and not is_out_of_memory(error):
            raise
        remark = f"no gradient of sample {encoded.uid} ({one_line(error)}): proposal 'rows' instead"
    logger.warning("adaptive: %s", remark)
    plain = plain_pass(model, encoded, options)
    return replace(by_rows(model, encoded, suppression, options, plain), remarks=(remark,)), plain


def over_largest(signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Positive parts over the largest of them; all 0 where there is none."""
    positive = signal.clamp(min=0)
    return positive / positive.max().clamp(min=torch.finfo(positive.dtype).tiny)
