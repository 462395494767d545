"""The same score everywhere: the floor that shows what the label's coverage alone gives."""

from dataclasses import dataclass

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class UniformConfig:
    """Uniform scores have no options."""


def explain(model: ModelAdapter, encoded: Encoded, config: UniformConfig, seed: int) -> Attribution:
    """1 for every unit: AP = coverage, AR = 1."""
    return Attribution(torch.ones(len(encoded.units)))


SPEC = MethodSpec(
    summary="Floor: the same score everywhere",
    version=1,
    config=UniformConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 0,
)
