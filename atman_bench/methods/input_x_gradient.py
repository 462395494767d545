"""Input x gradient of the token embeddings (captum)."""

from dataclasses import dataclass, field

from captum.attr import InputXGradient

from atman_bench.core.options import ADDED_LATER
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._gradients import GradientConfig, Reduction, checkpointing
from atman_bench.methods._pictures import PIXEL_VARIANTS, Granularity, attribute, variant_name
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class InputXGradientConfig(GradientConfig):
    """Options of input x gradient.

    Attributes:
        reduction: Over the hidden size (pixels: the colour channels): absolute, signed or l2.
        granularity: tokens, pixels, or pixels pooled into the patches of an image.
    """

    reduction: Reduction = Reduction.ABSOLUTE
    granularity: Granularity = field(default=Granularity.TOKENS, metadata=ADDED_LATER)


def explain(model: ModelAdapter, encoded: Encoded, config: InputXGradientConfig, seed: int) -> Attribution:
    """Gradient of each target logit times the embedding."""
    with checkpointing(model.model, config.checkpointing):
        return attribute(
            model,
            encoded,
            config.granularity,
            config.reduction,
            "input_x_gradient",
            lambda logit, inputs: InputXGradient(logit).attribute(inputs),
        )


SPEC = MethodSpec(
    summary="Input x gradient of the token embeddings (captum)",
    version=1,
    config=InputXGradientConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 * n_targets,  # a backward pass costs about two forward passes
    label=variant_name,
    variants={**PIXEL_VARIANTS, "checkpointed": {"checkpointing": True}},
    image_variants=tuple(PIXEL_VARIANTS),
    contrast=Contrast.SPAN,
)
