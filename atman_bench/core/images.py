"""Images on disk -> pixels. The only place that opens image files."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from atman_bench.core.errors import SampleError
from atman_bench.core.records import Picture


def open_picture(picture: Picture) -> Image.Image:
    """Decode an image and crop it; its mode is the file's (a model's own preprocessing converts to RGB).

    Raises:
        SampleError: The file is missing, truncated or no image, or the crop is empty or outside of it.
    """
    image = _decode(picture)
    if picture.crop is None:
        return image
    left, top, right, bottom = picture.crop
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise SampleError(f"crop {picture.crop} is not inside the picture of {image.width} x {image.height} pixels")
    return image.crop(picture.crop)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header alone.

    Raises:
        SampleError: The file is missing or no image.
    """
    with _reading(), Image.open(path) as image:
        return image.size


def rgb_array(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image as RGB."""
    return np.asarray(image.convert("RGB"))


def mask_array(mask: Picture, value: int | None, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Decode a mask, stretched to the size (width, height) of its image; the crop of ``mask`` comes after that.

    Args:
        mask: The mask file, with the crop of its image.
        value: Pixels of this value are True; None takes every pixel that is not 0.
        size: Width and height of the image's file.

    Raises:
        SampleError: The file is missing, truncated or no image.
    """
    image = _decode(Picture(mask.path))
    if image.mode not in ("1", "L", "I", "I;16", "P"):
        image = image.convert("L")
    if image.size != size:
        image = image.resize(size, Image.Resampling.NEAREST)
    if mask.crop is not None:
        image = image.crop(mask.crop)
    array = np.asarray(image)
    return array != 0 if value is None else array == value


def _decode(picture: Picture) -> Image.Image:
    with _reading(), Image.open(picture.path) as image:
        image.load()
        return image


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever Pillow raises for a bad file into one reason that can be counted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError:
        raise SampleError("picture file is missing") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise SampleError("picture file is truncated or no picture") from error


def reduce_colours(path: Path) -> None:
    """Rewrite a PNG with a palette of 256 colours: figures look the same and take a third of the space.

    An octree keeps rare colours, such as the few strong ones of a map on a grey image; median cut spends the palette on
    the many greys.

    Raises:
        OSError: It cannot be read or written.
    """
    with Image.open(path) as image:
        dpi = image.info.get("dpi")
        reduced = image.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True, dpi=dpi)
