"""Local contrast: a floor for images, since salient objects have it whatever the model makes of them."""

import numpy as np
import torch

from atman_bench.core.records import Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import FloorSpec, NoOptions
from atman_bench.methods._pictures import patch_blocks
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """Standard deviation of the grey values (Rec. 601) of each patch's pixels.

    Raises:
        NotApplicableError: The sample has no image.
    """
    scores = []
    for block in patch_blocks(encoded, "local_contrast"):
        grey = encoded.pictures[block.picture] @ np.array([0.299, 0.587, 0.114])
        left, top, right, bottom = block.area
        rows, columns = block.grid
        # Patches of a fraction of a pixel still hold one.
        ys = np.linspace(top, bottom, rows + 1).round().astype(int).clip(0, grey.shape[0])
        xs = np.linspace(left, right, columns + 1).round().astype(int).clip(0, grey.shape[1])
        for row in range(rows):
            for column in range(columns):
                patch = grey[ys[row] : max(ys[row + 1], ys[row] + 1), xs[column] : max(xs[column + 1], xs[column] + 1)]
                scores.append(float(patch.std()) if patch.size else 0.0)
    return Attribution(torch.tensor(scores, dtype=torch.float32))


SPEC = FloorSpec(
    summary="Floor: patches whose grey values vary score higher",
    version=1,
    config=NoOptions,
    explain=explain,
    modalities=frozenset({Modality.IMAGE}),
)
