"""Occlusion: replace one unit's embedding at a time and read how the target's loss changes."""

from dataclasses import dataclass

import torch

from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._listed import Listed
from atman_bench.methods._objective import attribution_of
from atman_bench.methods._perturbation import Baseline, EngineConfig, replaced
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class OcclusionConfig(EngineConfig):
    """Options of occlusion.

    Attributes:
        baseline: What replaces the embedding of an occluded token: zero, or the mean embedding.
    """

    baseline: Baseline = Baseline.ZERO


def explain(model: ModelAdapter, encoded: Encoded, config: OcclusionConfig, seed: int) -> Attribution:
    """One perturbation per unit; relevance = occluded loss - plain loss."""
    return attribution_of(encoded, lambda one: listed(model, one, config).deltas(model, one, config.engine_options()))


def listed(model: ModelAdapter, encoded: Encoded, config: OcclusionConfig) -> Listed:
    """Every unit replaced once."""
    units = len(encoded.units)
    return Listed(replaced(model, encoded, ~torch.eye(units, dtype=torch.bool), config.baseline), range(units))


SPEC = MethodSpec(
    summary="Occlusion: one unit's embedding replaced at a time",
    version=1,
    config=OcclusionConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + n_units,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.EMBEDDING,
    listed=listed,
)
