"""Integrated gradients of the token embeddings (captum)."""

from dataclasses import dataclass, field

from captum.attr import IntegratedGradients

from atman_bench.core.options import ADDED_LATER, check_count
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._gradients import GradientConfig, Reduction, checkpointing
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.methods._pictures import PIXEL_VARIANTS, Granularity, attribute, variant_name
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class IntegratedGradientsConfig(GradientConfig):
    """Options of integrated gradients.

    Attributes:
        n_steps: Points of the Gauss-Legendre rule; the released helper uses 10.
        internal_batch_size: Points per forward pass; None takes all at once.
        reduction: Over the hidden size (pixels: the colour channels): absolute, signed or l2.
        granularity: tokens, pixels, or pixels pooled into the patches of an image.
    """

    n_steps: int = 10
    internal_batch_size: int | None = field(default=1, metadata=COSTS_ONLY)
    reduction: Reduction = Reduction.ABSOLUTE
    granularity: Granularity = field(default=Granularity.TOKENS, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        check_count("n_steps", self.n_steps)


def explain(model: ModelAdapter, encoded: Encoded, config: IntegratedGradientsConfig, seed: int) -> Attribution:
    """Gradient of each target logit, integrated from zero (pixels: the mean colour) to the input."""
    with checkpointing(model.model, config.checkpointing):
        return attribute(
            model,
            encoded,
            config.granularity,
            config.reduction,
            "integrated_gradients",
            lambda logit, inputs: IntegratedGradients(logit).attribute(
                inputs,
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
    label=variant_name,
    variants={
        **PIXEL_VARIANTS,
        "checkpointed": {"checkpointing": True},
        "batched": {"internal_batch_size": None},  # captum's default, as the authors ran it: "vastly runs OOM" (A.1)
    },
    image_variants=tuple(PIXEL_VARIANTS),
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.EMBEDDING,
)
