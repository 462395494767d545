"""Random scores: the floor that any method must beat."""

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import FloorSpec, NoOptions
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """Independent uniform scores in [0, 1)."""
    return Attribution(torch.rand(len(encoded.units), generator=torch.Generator().manual_seed(seed)))


SPEC = FloorSpec(
    summary="Floor: independent uniform scores",
    version=1,
    config=NoOptions,
    explain=explain,
    stochastic=True,
)
