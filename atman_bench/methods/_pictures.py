"""What the methods for images share: where the patches are, and gradients with respect to pixels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atman_bench.core.errors import NotApplicableError, SampleError
from atman_bench.core.records import JointUnits, PatchUnits
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import changed_options
from atman_bench.methods._gradients import (
    Logit,
    Reduction,
    attribute_embeddings,
    parameters_require_grad,
    target_logits,
)
from atman_bench.methods._objective import contrasted
from atman_bench.models._base import ModelAdapter


class Granularity(StrEnum):
    """What gradients are taken with respect to, and what is scored."""

    TOKENS = "tokens"
    """Input embeddings, scored per unit."""
    PIXELS = "pixels"
    """Pixels that the image encoder reads, scored per pixel (Table 2)."""
    POOLED = "pooled"
    """The same, summed over each patch and scored per patch like every other method."""


@runtime_checkable
class PixelModel(ModelAdapter, Protocol):
    """A model whose image encoder can be differentiated."""

    encoder: nn.Module

    def embeddings_from_pixels(self, encoded: Encoded, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B S D"]:
        """Input embeddings of a sample whose image is replaced."""


PIXEL_VARIANTS = {
    "pixels": {"granularity": "pixels", "reduction": "signed"},
    "pixels-pooled": {"granularity": "pooled", "reduction": "signed"},
}
"""Variants of the gradient methods; channels are summed with their signs, as released (there as a mean)."""


def variant_name(config: Any) -> str:
    """Name of a variant of a gradient method: one of the above, or its changed options."""
    match config.granularity, config.reduction:
        case Granularity.PIXELS, Reduction.SIGNED:
            name, default = "pixels", {"granularity", "reduction"}
        case Granularity.POOLED, Reduction.SIGNED:
            name, default = "pixels-pooled", {"granularity", "reduction"}
        case _:
            return changed_options(config)
    others = changed_options(config, ignored=default)
    return name if others == "default" else f"{name},{others}"


def patch_blocks(encoded: Encoded, method: str) -> list[PatchUnits]:
    """The grids of a sample whose units are all patches.

    Raises:
        NotApplicableError: It has other units.
    """
    blocks = encoded.units.blocks if isinstance(encoded.units, JointUnits) else (encoded.units,)
    patches = [block for block in blocks if isinstance(block, PatchUnits)]
    if len(patches) < len(blocks):
        raise NotApplicableError(f"{method} needs an image: leave it out of --methods for text")
    return patches


def pixel_model(model: ModelAdapter, encoded: Encoded, method: str) -> tuple[PixelModel, Tensor, PatchUnits]:
    """A model with a differentiable encoder, the pixels it reads, and the grid of its one image.

    Raises:
        NotApplicableError: The model has none.
        SampleError: The sample is not one image.
    """
    blocks = patch_blocks(encoded, method)
    if not isinstance(model, PixelModel):
        raise NotApplicableError(
            f"{method} at pixel granularity needs a model whose image encoder can be differentiated "
            f"(magma, tiny-magma, photo-magma, blip); received {model.name}"
        )
    if encoded.pixels is None or len(blocks) != 1:
        raise SampleError(f"{method} at pixel granularity needs exactly one picture, received {len(encoded.pictures)}")
    return model, encoded.pixels.to(model.device), blocks[0]


def attribute(
    model: ModelAdapter,
    encoded: Encoded,
    granularity: Granularity,
    reduction: Reduction,
    method: str,
    attribution: Callable[[Logit, Tensor], Tensor],
) -> Attribution:
    """Attribute each target token's logit to input embeddings or pixels.

    Args:
        model: The adapter.
        encoded: One sample.
        granularity: See above.
        reduction: Over the hidden size, or over the colour channels.
        method: Name for messages.
        attribution: As in ``attribute_embeddings``.
    """
    if granularity is Granularity.TOKENS:
        return attribute_embeddings(model, encoded, reduction, attribution)
    differentiable, pixels, units = pixel_model(model, encoded, method)

    def each(one: Encoded) -> Iterator[Float[Tensor, "3 h w"]]:
        for logit in target_logits(model, one, partial(differentiable.embeddings_from_pixels, one)):
            yield attribution(logit, pixels.clone().requires_grad_())[0].detach().float()

    with parameters_require_grad(model.model, False):
        maps = [
            reduction(found.permute(1, 2, 0).flatten(0, 1)).view(found.shape[1:]).cpu()
            for found in contrasted(encoded, each)
        ]
    return pixel_attribution(torch.stack(maps), units, pooled=granularity is Granularity.POOLED)


def pixel_attribution(maps: Float[Tensor, "T h w"], units: PatchUnits, pooled: bool) -> Attribution:
    """Pixel maps of T target tokens: their mean, pixel by pixel, or their sums over the patches.

    Raises:
        NotApplicableError: The pixels are to be pooled and do not divide into the patches.
    """
    if not pooled:
        # Only the mean: pixel maps of every target token would fill a disk.
        return Attribution(maps.mean(0).flatten(), None, replace(units, grid=(maps.shape[1], maps.shape[2])))
    rows, columns = units.grid
    if maps.shape[1] % rows or maps.shape[2] % columns:
        raise NotApplicableError(
            f"{maps.shape[1]} x {maps.shape[2]} pixels do not divide into {rows} x {columns} patches"
        )
    sums = maps.view(len(maps), rows, maps.shape[1] // rows, columns, maps.shape[2] // columns).sum((2, 4))
    return Attribution.mean_of(sums.flatten(1))
