"""Images on disk -> pixels. The only place that opens image files.

All sizes and crops are of the upright image: many cameras store it turned, with an EXIF tag that says how.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import ExifTags, Image

from atman_bench.core.errors import SampleError
from atman_bench.core.records import Picture

_LOG = logging.getLogger(__name__)

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored pixels upright; rows and columns change places from 5 on."""

EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
"""Modes of which Pillow makes RGB without a loss of range."""

MOST_ELONGATED = 200
"""How often the longer side of an image may hold the shorter. Models enlarge the shorter side to hundreds of pixels,
and the longer one with it; processors of transformers with a limit have this one."""

ASPECT_TOLERANCE = 0.02
"""By which share proportions of a mask and its image may differ, and by one pixel of the mask's shorter side more:
scaled sides are rounded."""


def open_picture(picture: Picture) -> Image.Image:
    """Decode an image, turn it upright and crop it; its mode is the file's (a model's preprocessing converts to RGB).

    16 bits become 8 (times 1/257), of an animation the first frame is taken, and transparency is left out.

    Raises:
        SampleError: The file is missing, truncated or no image, its pixels have no range that is known, the crop is
            empty or outside of it, or one side is more than ``MOST_ELONGATED`` times the other.
    """
    image = _eight_bits(_decode(picture.path))
    if picture.crop is not None:
        left, top, right, bottom = picture.crop
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise SampleError(f"crop {picture.crop} is not inside the picture of {image.width} x {image.height} pixels")
        image = image.crop(picture.crop)
    if max(image.size) > MOST_ELONGATED * min(image.size):
        raise SampleError(
            f"picture of {image.width} x {image.height} pixels: one side is more than {MOST_ELONGATED} times the other"
        )
    return image


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file when it is upright, from its header alone.

    Raises:
        SampleError: The file is missing or no image.
    """
    with _reading(), Image.open(path) as image:
        return image.size[::-1] if _orientation(image) >= 5 else image.size


def rgb_array(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image as RGB."""
    return np.asarray(image.convert("RGB"))


def mask_array(mask: Picture, value: int | None, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Decode a mask, scaled to the size (width, height) of its image; the crop of ``mask`` comes after that.

    Args:
        mask: The mask file, with the crop of its image.
        value: Pixels of this value are True; None takes every pixel that is not 0.
        size: Width and height of the upright image.

    Raises:
        SampleError: The file is missing, truncated or no image, or its proportions are not the image's.
    """
    image = _decode(mask.path)
    if image.mode not in ("1", "L", "I", "I;16", "P", "F"):
        image = image.convert("L")
    if image.size != size:
        aspect = (image.width * size[1]) / (image.height * size[0])
        if not abs(aspect - 1) <= ASPECT_TOLERANCE + 1 / min(image.size):
            raise SampleError(
                f"mask of {image.width} x {image.height} pixels does not have the proportions of its picture of "
                f"{size[0]} x {size[1]}"
            )
        image = image.resize(size, Image.Resampling.NEAREST)
    if mask.crop is not None:
        image = image.crop(mask.crop)
    array = np.asarray(image)
    return array != 0 if value is None else array == value


def _decode(path: Path) -> Image.Image:
    """All pixels of an image file, upright, in the file's mode."""
    with _reading(), Image.open(path) as image:
        orientation = _orientation(image)
        if getattr(image, "is_animated", False) and image.format != "MPO":  # whose other images are no later frames
            _say_animated(path)
        image.load()
    return image if orientation == 1 else image.transpose(UPRIGHT[orientation])


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of an image that is opened but not decoded; 1 is upright.

    One that a PNG states behind its pixels is not looked for: its size would need all of the file.
    """
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        # The base class': a PNG's own would decode the pixels.
        stated = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # whatever a damaged block makes Pillow raise, the pixels can be read
        return 1
    return stated if stated in UPRIGHT else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image that Pillow converts to RGB without a loss.

    Raises:
        SampleError: Nothing says which of its values is black, and which is white.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.mode not in EIGHT_BITS:
        raise SampleError(
            f"picture has pixels of mode {image.mode!r}, and nothing says how bright they are; save it with 8 bits"
        )
    # Pillow warns where a palette has shares of transparency; this is the way it asks for.
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


@cache
def _say_animated(path: Path) -> None:
    _LOG.warning("%s is animated: its first frame is used", path.name)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever Pillow raises for a bad file into one reason that can be counted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError:
        raise SampleError("picture file is missing") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise of all kinds
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
