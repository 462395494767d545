"""Integrated gradients of the token embeddings (captum)."""

from dataclasses import dataclass, field

from captum.attr import IntegratedGradients

from atman_bench.errors import ConfigError
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._gradients import Reduction, attribute_embeddings
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded


@dataclass(frozen=True, kw_only=True)
class IntegratedGradientsConfig:
    """Options of integrated gradients.

    Attributes:
        n_steps: Points of the Gauss-Legendre rule; the released helper uses 10.
        internal_batch_size: Points per forward pass; None takes all at once.
        reduction: Over the hidden size: absolute, signed or l2.
    """

    n_steps: int = 10
    internal_batch_size: int | None = field(default=1, metadata=COSTS_ONLY)
    reduction: Reduction = Reduction.ABSOLUTE

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ConfigError(f"n_steps must be at least 1, received {self.n_steps}")


def explain(model: ModelAdapter, encoded: Encoded, config: IntegratedGradientsConfig, seed: int) -> Attribution:
    """Gradient of each target logit, integrated from the zero embedding to the input."""
    return attribute_embeddings(
        model,
        encoded,
        config.reduction,
        lambda logit, embeddings: IntegratedGradients(logit).attribute(
            embeddings,
            baselines=0.0,
            n_steps=config.n_steps,
            method="gausslegendre",
            internal_batch_size=config.internal_batch_size,
        ),
    )


SPEC = MethodSpec(
    summary="Integrated gradients of the token embeddings from a zero baseline (captum)",
    version=1,
    config=IntegratedGradientsConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 * n_targets * config.n_steps,
)
