"""Input x gradient of the token embeddings (captum)."""

from dataclasses import dataclass

from captum.attr import InputXGradient

from atman_bench.methods._base import MethodSpec
from atman_bench.methods._gradients import Reduction, attribute_embeddings
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded


@dataclass(frozen=True, kw_only=True)
class InputXGradientConfig:
    """Options of input x gradient.

    Attributes:
        reduction: Over the hidden size: absolute, signed or l2.
    """

    reduction: Reduction = Reduction.ABSOLUTE


def explain(model: ModelAdapter, encoded: Encoded, config: InputXGradientConfig, seed: int) -> Attribution:
    """Gradient of each target logit times the embedding."""
    return attribute_embeddings(
        model, encoded, config.reduction, lambda logit, embeddings: InputXGradient(logit).attribute(embeddings)
    )


SPEC = MethodSpec(
    summary="Input x gradient of the token embeddings (captum)",
    version=1,
    config=InputXGradientConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 * n_targets,  # a backward pass costs about two forward passes
)
