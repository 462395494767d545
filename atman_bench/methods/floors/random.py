"""Random scores: the floor that any method must beat."""

from dataclasses import dataclass

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Random scores have no options."""


def explain(model: ModelAdapter, encoded: Encoded, config: RandomConfig, seed: int) -> Attribution:
    """Independent uniform scores in [0, 1)."""
    return Attribution(torch.rand(len(encoded.units), generator=torch.Generator().manual_seed(seed)))


SPEC = MethodSpec(
    summary="Floor: independent uniform scores",
    version=1,
    config=RandomConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 0,
    stochastic=True,
)
