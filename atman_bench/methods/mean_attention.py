"""Attention averaged over all layers and heads, as a free baseline beside the last layer's (``attention``)."""

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import _recorded
from atman_bench.methods._base import MethodSpec, NoOptions
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """All layers and heads, at the rows that predict the target."""
    mean = torch.stack([weights[encoded.rows_read] for weights in _recorded.mean_attention(model, encoded)]).mean(0)
    return Attribution.mean_of(encoded.pool(mean))


SPEC = MethodSpec(
    summary="Attention, mean over all layers and heads, at the target's rows (baseline)",
    version=1,
    config=NoOptions,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
    default=False,
)
