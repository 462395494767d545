"""The same score everywhere: the floor that shows what the label's coverage alone gives."""

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import FloorSpec, NoOptions
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """1 for every unit: AP = coverage, AR = 1."""
    return Attribution(torch.ones(len(encoded.units)))


SPEC = FloorSpec(
    summary="Floor: the same score everywhere",
    version=1,
    config=NoOptions,
    explain=explain,
)
