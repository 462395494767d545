"""Chefer et al.'s relevance propagation through a decoder's self-attention (as the paper runs it)."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from torch import Tensor

from atman_bench.attention.patching import Recorder
from atman_bench.core.options import ADDED_LATER
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._gradients import GradientConfig, checkpointing, parameters_require_grad
from atman_bench.methods._objective import logits_of_targets, losses
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.models._base import ModelAdapter, Pass


class Backward(StrEnum):
    """How much the backward pass computes; the relevance is the same."""

    MINIMAL = "minimal"
    """Gradients of the attention maps only, with parameters frozen and the first map a leaf (Fig. 7)."""
    FULL = "full"
    """Gradients of all parameters too, as the authors ran it (Fig. 5)."""


class Objective(StrEnum):
    """What the attention maps' gradients are of."""

    LOGIT = "logit"
    """Each target token's logit: one relevance per token, of evidence for it."""
    LOSS = "loss"
    """The target's summed cross-entropy: one relevance, of evidence against it (the sign is opposite to Chefer's)."""
    ANSWER_LOSS = "answer-loss"
    """The same of the whole answer with its end token, as the authors ran it on BLIP, where a target is cut; the target
    where a model has no other answer. They left dropout and drop path on, which we do not."""


@dataclass(frozen=True, kw_only=True)
class CheferConfig(GradientConfig):
    """Options of Chefer's method.

    Attributes:
        objective: logit (of each target token), loss (summed over the target) or answer-loss (over the whole answer).
        backward: minimal (gradients of attention maps only) or full (of all weights too): same numbers, other costs.
    """

    objective: Objective = field(default=Objective.LOGIT, metadata=ADDED_LATER)
    backward: Backward = field(default=Backward.MINIMAL, metadata=COSTS_ONLY)


def explain(model: ModelAdapter, encoded: Encoded, config: CheferConfig, seed: int) -> Attribution:
    """R = I; R += mean_heads(max(0, grad * attention)) R over the layers, read at the target token's row.

    The loss has one R for all tokens: the mean of their rows (in an encoder it is the same row for all of them).
    """
    full = config.backward is Backward.FULL
    if config.objective is Objective.ANSWER_LOSS:
        encoded = _of_answer(encoded)
    rows = encoded.target_rows.tolist()
    recorder = Recorder(first_is_leaf=not full)
    with (
        parameters_require_grad(model.model, full),
        checkpointing(model.model, config.checkpointing),
        model.host.applied(recorder),
    ):
        logits = model.run(encoded, Pass(rows=rows))
        if config.objective is not Objective.LOGIT:
            loss = losses(logits, encoded).sum()
            relevance = propagate(recorder.weights, _gradients(loss, recorder.weights, full, retain=False))
            return Attribution(encoded.pool(relevance[encoded.rows_read].mean(0, keepdim=True))[0])
        per_position = torch.zeros(len(rows), encoded.length)
        explained = logits_of_targets(logits, encoded)[0]
        for index, read in enumerate(encoded.rows_read.tolist()):
            last = index == len(rows) - 1
            gradients = _gradients(explained[index], recorder.weights, full, retain=not last)
            per_position[index] = propagate(recorder.weights, gradients)[read]
    return Attribution.mean_of(encoded.pool(per_position))


def _of_answer(encoded: Encoded) -> Encoded:
    """The same sample with its whole answer as the target."""
    ids, rows, read = encoded.answer_ids, encoded.answer_rows, encoded.reading_rows
    if ids is None or rows is None:
        return encoded
    # An encoder's targets are all read from the row of the class token.
    return replace(
        encoded, target_ids=ids, target_rows=rows, reading_rows=None if read is None else read[:1].expand(len(ids))
    )


def _gradients(objective: Tensor, weights: list[Tensor], full: bool, retain: bool) -> list[Tensor]:
    if not full:
        return list(torch.autograd.grad(objective, weights, retain_graph=retain))
    for weight in weights:
        weight.retain_grad()
        weight.grad = None
    objective.backward(retain_graph=retain)
    return [weight.grad for weight in weights]  # type: ignore[misc]  # backward has just filled them


def propagate(weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Propagate the positive part of gradient x attention, mean over heads, through the layers; (S, S)."""
    relevance = torch.eye(weights[0].shape[-1])
    for weight, gradient in zip(weights, gradients, strict=True):
        product = (gradient * weight).detach()[0].float().clamp(min=0).mean(0).cpu()
        relevance = relevance + product @ relevance
    return relevance


SPEC = MethodSpec(
    summary="Chefer et al.: positive part of gradient x attention, rolled through the layers",
    version=1,
    config=CheferConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + 2 * (n_targets if config.objective is Objective.LOGIT else 1),
    variants={
        "loss": {"objective": "loss"},
        "blip": {"objective": "answer-loss"},
        "full": {"backward": "full"},
        "checkpointed": {"checkpointing": True},
        "full-checkpointed": {"backward": "full", "checkpointing": True},
    },
    contrast=Contrast.TOKEN,
)
