"""AtMan's gradient: how fast the loss rises as units are suppressed, all of them from one backward pass."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.attention.edit import NO_DERIVATIVE, AttentionEdit, Form, RowMin
from atman_bench.core.errors import ConfigError, SampleError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import atman
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._factor_gradients import FactorGradientConfig, FactorGradients, factor_gradients
from atman_bench.methods._objective import attribution_of
from atman_bench.methods.atman import Suppression, SuppressionConfig, edited_layers, suppressor
from atman_bench.models._base import ModelAdapter


class Aggregate(StrEnum):
    """What of a position's effect in all heads, rows and layers is added up. A is attention, dA the loss's gradient."""

    SUM = "sum"
    """All of it: the derivative, and so AtMan's score for small factors."""
    RELU_LAYERS = "relu_layers"
    """The positive part of what each layer contributes to it: layers that cancel each other count."""
    CENTRED = "centred"
    """-A (dA - sum A dA): the derivative of the ``log`` form."""
    GRAD_X_ATTENTION = "grad_x_attention"
    """Positive part of the mean over heads of -A dA: no competition between columns, as in Chefer's method."""

    @property
    def has_form(self) -> bool:
        """Whether it depends on how scores are edited."""
        return self in (Aggregate.SUM, Aggregate.RELU_LAYERS)

    def effects(self, found: FactorGradients) -> Float[Tensor, "R L S"]:
        """How much suppressing each position raises the loss, per layer and unit of f."""
        match self:
            case Aggregate.CENTRED:
                return found.centred
            case Aggregate.GRAD_X_ATTENTION:
                return found.grad_x_attention
            case _:
                return -found.factors


@dataclass(frozen=True, kw_only=True)
class AtManGradientConfig(SuppressionConfig, FactorGradientConfig):
    """Options of AtMan's gradient: AtMan's own, of which f only scales the scores, and how it is taken.

    Attributes:
        aggregate: sum (the derivative), relu_layers (positive part of each layer's share), centred (of the log form) or
            grad_x_attention.
    """

    aggregate: Aggregate = Aggregate.SUM

    def __post_init__(self) -> None:
        SuppressionConfig.__post_init__(self)
        FactorGradientConfig.__post_init__(self)
        if self.form is Form.MASK:
            raise ConfigError(NO_DERIVATIVE)
        if not self.aggregate.has_form and (self.form is not Form.SHIFTED or self.row_min is not RowMin.VISIBLE):
            raise ConfigError(f"aggregate '{self.aggregate}' is the same for every form: leave form and row_min out")


def explain(model: ModelAdapter, encoded: Encoded, config: AtManGradientConfig, seed: int) -> Attribution:
    """The first-order effect of AtMan's suppressions: sum over positions of (c - 1) dL/dc at c = 1.

    c is the factor of a position, shared by heads and layers; neighbours (kappa) follow by the chain rule.
    Differs from AtMan where the loss is not linear in the factors, which is most where attention is saturated.

    Raises:
        SampleError: The aggregate is not linear in what is explained, and the foil is a sequence of its own.
    """
    if encoded.foil is not None and config.aggregate is Aggregate.GRAD_X_ATTENTION:
        raise SampleError(
            f"aggregate '{config.aggregate}' explains one token rather than another, as it reads both in one pass: "
            "give a target and a foil of one token each, or take another aggregate"
        )

    def by_layer(one: Encoded) -> Float[Tensor, "R U L"]:
        objectives = config.objectives(one)
        suppressions = suppressor(model, one, config)(one.positions_of_units())
        ones = torch.ones(len(objectives), one.length)
        edit = AttentionEdit(ones, config.form, config.row_min, edited_layers(model, config.layers))
        found = factor_gradients(model, one, edit, objectives, config)
        return effects_by_layer(suppressions, config.aggregate.effects(found))

    def summed(effects: Float[Tensor, "U L"]) -> Float[Tensor, " U"]:
        return (effects.clamp(min=0) if config.aggregate is Aggregate.RELU_LAYERS else effects).sum(-1)

    return attribution_of(encoded, by_layer, summed)


def effects_by_layer(suppression: Suppression, effects: Float[Tensor, "R L S"]) -> Float[Tensor, "R P L"]:
    """What P suppressions do to R losses in each layer, to first order, from what each position's factor does."""
    shares = [torch.einsum("ps,rls->rpl", 1 - some.factors, effects) for some in suppression.edits()]
    return torch.cat([torch.zeros(len(effects), 0, effects.shape[1]), *shares], dim=1)


def label(config: AtManGradientConfig) -> str:
    """AtMan's name of the other options; where the form does not matter, the aggregate's stands in its place."""
    name = atman.label(config)
    if not config.aggregate.has_form:
        name = config.aggregate.value + name.removeprefix(Form.SHIFTED.value)
    elif config.aggregate is not Aggregate.SUM:
        name += f"-{config.aggregate}"
    return f"{name}-per_target" if config.per_target else name


SPEC = MethodSpec(
    summary="AtMan's gradient: the derivative of the loss by the factors of all units, from one backward pass",
    version=1,
    config=AtManGradientConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: config.forwards(n_targets),
    label=label,
    variants={
        **{form.value: {"form": form.value} for form in Form if form is not Form.MASK},
        "shifted-kappa0.7": {"kappa": 0.7},
        **{aggregate.value: {"aggregate": aggregate.value} for aggregate in Aggregate},
        "per_target": {"per_target": True},
    },
    default=False,
    contrast=Contrast.SPAN,
)
