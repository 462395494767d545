"""Recency: later units score higher, the floor for decoders that attend to what is near."""

import torch

from atman_bench.core.records import Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import FloorSpec, NoOptions
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """Rises linearly from 1/U at the first unit to 1 at the last."""
    count = len(encoded.units)
    return Attribution(torch.arange(1, count + 1, dtype=torch.float32) / count)


SPEC = FloorSpec(
    summary="Floor: recency, later units score higher",
    version=1,
    config=NoOptions,
    explain=explain,
    modalities=frozenset({Modality.TEXT}),
)
