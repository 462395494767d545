"""Where an image's tokens lie in the image: read from the image processor and the model's configuration."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from atman_bench.core.errors import ModelError
from atman_bench.core.records import PatchUnits

Area = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the image."""


@dataclass(frozen=True)
class ProcessedPictures:
    """What a processor made of the images of one prompt.

    Attributes:
        config: The model's.
        image_processor: The processor's part for images; its options say how images were resized and cropped.
        sizes: Width and height of each image in pixels.
        replacements: The text that each image's placeholder was replaced by: its image tokens, with whatever marks
            tiles.
        n_tokens: Number of image tokens in the prompt.
        features: The model's inputs.
    """

    config: PreTrainedConfig
    image_processor: Any
    sizes: Sequence[tuple[int, int]]
    replacements: Sequence[str]
    n_tokens: int
    features: Mapping[str, Tensor]


def patch_grids(pictures: ProcessedPictures) -> list[PatchUnits]:
    """The grids that the image tokens of a prompt form, in the order in which they stand there.

    An image has one grid, or one for each of its tiles and one for the whole.

    Raises:
        ModelError: The family is not known and its processor does not simply squash images to one size, or the grids
            have not as many patches as the prompt has image tokens.
    """
    model_type = pictures.config.model_type
    read = READERS.get(model_type)
    if read is None:
        if not _squashes(pictures.image_processor):
            raise ModelError(
                f"the patch grid of model type {model_type!r} is not known: expected one of "
                f"{', '.join(sorted(READERS))}, or a processor that only resizes pictures to one size"
            )
        read = _whole_pictures
    grids = read(pictures)
    patches = sum(map(len, grids))
    if patches != pictures.n_tokens:
        raise ModelError(
            f"the prompt has {pictures.n_tokens} image tokens, but the patch grids of model type {model_type!r} have "
            f"{patches} patches ({', '.join(f'{g.grid[0]} x {g.grid[1]}' for g in grids)})"
        )
    return grids


def _whole_pictures(pictures: ProcessedPictures) -> list[PatchUnits]:
    """One grid per image, all of the same shape (LLaVA, PaliGemma, Gemma 3, and others that squash).

    A class token is dropped before (LLaVA), and patches may be pooled (Gemma 3): the number of tokens and the shape of
    what the encoder read fix the grid.
    """
    height, width = pictures.features["pixel_values"].shape[-2:]
    rows = round(math.sqrt(pictures.n_tokens / len(pictures.sizes) * height / width))
    grid = (rows, round(rows * width / height))
    return [
        PatchUnits(grid, _seen_area(pictures.image_processor, size, (width, height)), size, index)
        for index, size in enumerate(pictures.sizes)
    ]


def _merged_patches(pictures: ProcessedPictures) -> list[PatchUnits]:
    """Patches of the resized image, merged in squares (Qwen2-VL and its successors)."""
    merge = pictures.config.vision_config.spatial_merge_size
    return [
        PatchUnits((rows // merge, columns // merge), (0.0, 0.0, float(size[0]), float(size[1])), size, index)
        for index, (size, (_, rows, columns)) in enumerate(
            zip(pictures.sizes, pictures.features["image_grid_thw"].tolist(), strict=True)
        )
    ]


def _tiles(pictures: ProcessedPictures) -> list[PatchUnits]:
    """Tiles of the image, row by row, and then the whole of it (Idefics 3, SmolVLM)."""
    vision = pictures.config.vision_config
    side = vision.image_size // vision.patch_size // pictures.config.scale_factor
    grids = []
    for index, (size, text) in enumerate(zip(pictures.sizes, pictures.replacements, strict=True)):
        width, height = size
        tiles = [(int(row), int(column)) for row, column in re.findall(r"<row_(\d+)_col_(\d+)>", text)]
        rows, columns = map(max, zip(*tiles, strict=True)) if tiles else (1, 1)
        areas = [
            (width * (j - 1) / columns, height * (i - 1) / rows, width * j / columns, height * i / rows)
            for i, j in tiles
        ]
        grids += [PatchUnits((side, side), area, size, index) for area in [*areas, (0.0, 0.0, width, height)]]
    return grids


READERS: Mapping[str, Callable[[ProcessedPictures], list[PatchUnits]]] = {
    "gemma3": _whole_pictures,
    "idefics3": _tiles,
    "llava": _whole_pictures,
    "paligemma": _whole_pictures,
    "qwen2_5_vl": _merged_patches,
    "qwen2_vl": _merged_patches,
    "qwen3_vl": _merged_patches,
    "qwen3_vl_moe": _merged_patches,
    "smolvlm": _tiles,
}
"""``config.model_type`` -> its reader."""


def _squashes(image_processor: Any) -> bool:
    """Whether images are only resized to one size, whatever their shape."""
    size = image_processor.size
    return bool(
        image_processor.do_resize
        and size.get("height")
        and size.get("width")
        and not getattr(image_processor, "do_center_crop", None)
        and not getattr(image_processor, "do_pad", None)
    )


def _seen_area(image_processor: Any, size: tuple[int, int], seen: tuple[int, int]) -> Area:
    """The part of an image that an encoder reads, which may reach beyond the image where that was padded.

    Args:
        image_processor: It pads to a square (LLaVA, as an option), resizes, and crops the centre, in this order.
        size: Width and height of the image.
        seen: Width and height of what the encoder reads.
    """
    width, height = size
    left = top = 0
    if getattr(image_processor, "do_pad", None):
        side = max(size)
        left, top = -((side - width) // 2), -((side - height) // 2)
        width = height = side
    resized = _resized(image_processor.size, width, height) if image_processor.do_resize else (width, height)
    # A crop that is larger than the image pads it: the offset is negative then.
    crop_left, crop_top = ((r - s) / 2 for r, s in zip(resized, seen, strict=True))
    if not getattr(image_processor, "do_center_crop", None) and resized != seen:
        raise ModelError(
            f"the image processor makes {resized[0]} x {resized[1]} pixels of a picture of {size[0]} x {size[1]}, but "
            f"the encoder reads {seen[0]} x {seen[1]}: where its patches lie is not known"
        )
    scale_x, scale_y = width / resized[0], height / resized[1]
    x, y = left + math.floor(crop_left) * scale_x, top + math.floor(crop_top) * scale_y
    return (x, y, x + seen[0] * scale_x, y + seen[1] * scale_y)


def _resized(size: Any, width: int, height: int) -> tuple[int, int]:
    """Width and height after resizing."""
    if size.get("height") and size.get("width"):
        return size["width"], size["height"]
    shortest = size["shortest_edge"]
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest
