"""Nearness to the centre: a floor for images, since photographers and crops put objects there."""

import torch

from atman_bench.core.records import Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import FloorSpec, NoOptions
from atman_bench.methods._pictures import patch_blocks
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """Fall linearly from 1 at the centre of the grid to 0 at its corners.

    Raises:
        NotApplicableError: The sample has no image.
    """
    scores = []
    for block in patch_blocks(encoded, "centre"):
        y, x = (2 * (torch.arange(n) + 0.5) / n - 1 for n in block.grid)
        scores.append(1 - torch.hypot(y[:, None], x[None]).flatten() / 2**0.5)
    return Attribution(torch.cat(scores))


SPEC = FloorSpec(
    summary="Floor: patches near the centre score higher",
    version=1,
    config=NoOptions,
    explain=explain,
    modalities=frozenset({Modality.IMAGE}),
)
