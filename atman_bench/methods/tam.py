"""Token activation map (Li et al. 2025): the logit lens at an image's tokens, less what other words explain there."""

import numpy as np
import torch
from jaxtyping import Bool, Float

from atman_bench.core.errors import NotApplicableError
from atman_bench.core.records import JointUnits, Modality, PatchUnits
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec, NoOptions
from atman_bench.models._base import ModelAdapter, Pass

SIDE = 3
"""Of the window that the filter looks at."""

ROWS = 64
"""Embeddings that are looked for in the vocabulary at once."""


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """For each target token: its logits at the image's tokens, denoised; units of text score 0.

    Raises:
        NotApplicableError: No image is explained, or the model attends to it in an encoder.
    """
    if encoded.reading_rows is not None:
        raise NotApplicableError(f"tam is defined for decoders; {model.name} attends to its image in an encoder")
    blocks = encoded.units.blocks if isinstance(encoded.units, JointUnits) else (encoded.units,)
    if not any(isinstance(block, PatchUnits) for block in blocks):
        raise NotApplicableError("tam needs an image: leave it out of --methods for text")
    grids: list[tuple[tuple[int, int], slice]] = []
    first = 0
    for block in blocks:
        if isinstance(block, PatchUnits):
            grids.append((block.grid, slice(first, first + len(block))))
        first += len(block)
    with torch.no_grad():
        lens = model.run(encoded, Pass(rows=list(range(encoded.length))))[0]
        ids = token_ids(model, encoded)
    per_target = torch.zeros(len(encoded.target_ids), first)
    patches = encoded.positions_of_units()
    for index, (row, target) in enumerate(zip(encoded.target_rows.tolist(), encoded.target_ids.tolist(), strict=True)):
        # The row that predicts the token is left out: it would outweigh all others.
        words = [position for position in range(row) if ids[position] >= 0]
        columns = torch.tensor([target, *(ids[position] for position in words)], device=lens.device)
        logits = lens[:, columns].float().clamp(min=0).cpu().double().numpy()
        at_patches = np.concatenate([logits[[i for group in patches[units] for i in group]] for _, units in grids])
        other = np.array([ids[position] != target for position in words])
        left = without_interference(at_patches[:, 0], at_patches[:, 1:].T, logits[words, 0], other)
        scaled = normalised(left, logits[words, 0])
        start = 0
        for grid, units in grids:
            end = start + units.stop - units.start
            per_target[index, units] = torch.from_numpy(rank_gaussian(scaled[start:end].reshape(grid)).ravel()).float()
            start = end
    return Attribution.mean_of(per_target)


def token_ids(model: ModelAdapter, encoded: Encoded) -> list[int]:
    """The token of each position, found by its embedding where only that is known; -1 for an image's."""
    if "input_ids" in encoded.inputs:
        return [int(i) for i in encoded.inputs["input_ids"][0]]
    table = model.model.get_input_embeddings()
    embeddings = model.embeddings(encoded)[0]
    found = torch.full((encoded.length,), -1)
    for ids in torch.arange(table.weight.shape[0], device=model.device).split(ROWS):
        match = (embeddings[:, None] == table(ids[None])[0][None]).all(-1)
        found = torch.where(match.any(-1).cpu(), ids[match.int().argmax(-1)].cpu(), found)
    return [int(i) for i in found]


def without_interference(
    activation: Float[np.ndarray, " N"],
    earlier: Float[np.ndarray, "M N"],
    weights: Float[np.ndarray, " M"],
    different: Bool[np.ndarray, " M"],
) -> Float[np.ndarray, " N"]:
    """A token's activations less the multiple of the earlier words' that fits them best, where that leaves anything.

    Args:
        activation: The token's own logits at N image tokens, negative ones as 0.
        earlier: Those of each earlier token.
        weights: The token's logit at each of these, negative ones as 0.
        different: Which of them are other words than the token.
    """
    kept = weights[different].astype(np.float64)
    interference = kept @ earlier[different] / (kept.sum() + 1e-8)
    square = interference @ interference
    scale = activation @ interference / square if square > 0 else 0.0
    return np.maximum(activation - scale * interference, 0)


def normalised(left: Float[np.ndarray, " N"], text: Float[np.ndarray, " M"]) -> Float[np.ndarray, " N"]:
    """On the scale on which the least of image and text is 0 and the largest 1."""
    both = np.concatenate([left, text])
    spread = both.max() - both.min()
    return (left - both.min()) / spread if spread > 0 else np.zeros_like(left)


def rank_gaussian(grid: Float[np.ndarray, "h w"], side: int = SIDE) -> Float[np.ndarray, "h w"]:
    """Each window's values, sorted, averaged by a normal curve around the median, as wide as the window varies.

    Its deviation is that of the values over their mean. Borders are reflected without the edge; a window whose mean is
    not positive gives 0, and one of equal values that value.
    """
    half = side // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(grid, half, mode="reflect"), (side, side))
    values = np.sort(windows.reshape(*grid.shape, side * side), axis=-1)
    mean = values.mean(-1, keepdims=True)
    positive = mean > 0
    sigma = values.std(-1, keepdims=True) / np.where(positive, mean, 1)
    ranks = np.arange(side * side) - side * side // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = np.where(ranks == 0, 1.0, np.exp(-(ranks**2) / (2 * sigma**2)))
    smoothed = (curve * values).sum(-1) / curve.sum(-1)
    return np.where(positive[..., 0], smoothed, 0.0)


SPEC = MethodSpec(
    summary="TAM: logit lens at an image's tokens, less the part that earlier words explain",
    version=1,
    config=NoOptions,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
    modalities=frozenset({Modality.IMAGE}),
    default=False,
)
