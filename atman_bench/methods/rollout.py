"""Attention rollout (Abnar & Zuidema), read at the rows that predict the target (paper A.9)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from atman_bench.methods._base import MethodSpec
from atman_bench.methods._recorded import mean_attention
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Rollout has no options."""


def roll(layers: list[Tensor]) -> Tensor:
    """Multiply (A + I), row-normalised, over all layers; (S, S), rows sum to 1."""
    identity = torch.eye(layers[0].shape[0])
    joint = identity
    for attention in layers:
        mixed = attention + identity
        joint = mixed / mixed.sum(-1, keepdim=True) @ joint
    return joint


def explain(model: ModelAdapter, encoded: Encoded, config: RolloutConfig, seed: int) -> Attribution:
    """The rollout's rows P-1 .. P+T-2; it disregards the output distribution."""
    return Attribution.mean_of(encoded.pool(roll(mean_attention(model, encoded))[encoded.rows_read]))


SPEC = MethodSpec(
    summary="Attention rollout over all layers, averaged over the target's rows (A.9)",
    version=1,
    config=RolloutConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
)
