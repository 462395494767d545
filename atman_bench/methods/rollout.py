"""Attention rollout (Abnar & Zuidema), read at the rows that predict the target (paper A.9)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import ADDED_LATER
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._recorded import mean_attention
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Options of rollout.

    Attributes:
        without_last: How many of the last units get 0: attention concentrates there (A.9: on the last image patches).
    """

    without_last: int = field(default=0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.without_last < 0:
            raise ConfigError(f"without_last must be at least 0, received {self.without_last}")


def label(config: RolloutConfig) -> str:
    """``default``, or how many of the last units are left out."""
    return f"without-last-{config.without_last}" if config.without_last else "default"


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
    pooled = encoded.pool(roll(mean_attention(model, encoded))[encoded.rows_read])
    pooled[:, max(0, pooled.shape[1] - config.without_last) :] = 0
    return Attribution.mean_of(pooled)


SPEC = MethodSpec(
    summary="Attention rollout over all layers, averaged over the target's rows (A.9)",
    version=1,
    config=RolloutConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
    label=label,
    variants={"without-last-1": {"without_last": 1}},
)
