"""Relevance of patches, laid over their image, which is pale and grey: red supports the target, blue opposes it.

Full colour is dark and the image is pale, so that a map can also be read in black and white.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from atman_bench.core.records import PatchUnits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RED = (0xD6, 0x2F, 0x27)
BLUE = (0x2C, 0x5A, 0xB4)

_OPACITY = 0.8
_WASH = 0.5
"""How far the picture is mixed with white; what no patch covers is mixed once more."""
_LUMA = (0.299, 0.587, 0.114)


def scale_of(scores: Float[np.ndarray, "*any"]) -> float:
    """Score that gets full colour: the largest positive one, else the largest magnitude, else 0 for a map of zeros."""
    if not scores.size:
        return 0.0
    return float(scores.max() if scores.max() > 0 else -scores.min())


def shrink(pixels: UInt8[np.ndarray, "H W 3"], most: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture whose longer side has at most so many pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((most, most))
    return np.asarray(image)


def spread(units: PatchUnits, scores: Float[np.ndarray, " U"], shape: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Give every pixel the score of the patch that holds its centre; NaN where none does.

    Args:
        units: The patches.
        scores: Of each.
        shape: Height and width of the result, which shows the whole picture at any resolution.
    """
    (rows, columns), (left, top, right, bottom), (width, height) = units.grid, units.area, units.size
    row = _patch_of((np.arange(shape[0]) + 0.5) / shape[0] * height, top, bottom, rows)
    column = _patch_of((np.arange(shape[1]) + 0.5) / shape[1] * width, left, right, columns)
    padded = np.pad(scores.reshape(rows, columns).astype(np.float64), (0, 1), constant_values=np.nan)
    return padded[np.ix_(row, column)]


def _patch_of(places: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    """Index of the patch along one axis that holds each place; ``count`` where none does."""
    index = np.floor((places - low) / (high - low) * count).astype(int)
    return np.where((index >= 0) & (index < count), index, count)


def overlay(
    pixels: UInt8[np.ndarray, "H W 3"], relevance: Float[np.ndarray, "H W"], scale: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay relevance over a picture.

    Args:
        pixels: The picture.
        relevance: Of each pixel; NaN where nothing is explained, which is drawn paler.
        scale: The relevance that gets full colour; 0 colours nothing.
    """
    covered = ~np.isnan(relevance)
    relevance = np.where(covered, relevance, 0)
    wash = np.where(covered, _WASH, 1 - (1 - _WASH) ** 2)[..., None]
    grey = (pixels @ np.array(_LUMA))[..., None] * (1 - wash) + 255 * wash
    strength = np.clip(np.abs(relevance) / scale, 0, 1) if scale > 0 else np.zeros_like(relevance)
    opacity = _OPACITY * strength[..., None]
    colour = np.where(relevance[..., None] > 0, RED, BLUE)
    return np.rint(grey * (1 - opacity) + colour * opacity).astype(np.uint8)


def draw_outline(
    axes: "Axes", evidence: Float[np.ndarray, "H W"], extent: tuple[float, float, float, float], scale: float = 1.0
) -> None:
    """Draw the border of what is evidence, black on white so that it is seen on any picture; limits stay as they are.

    Args:
        axes: Where the picture is.
        evidence: The share of each pixel that is evidence: more than half of it counts.
        extent: Left, right, bottom and top of the picture in the units of the axes.
        scale: Factor of the lines' widths.
    """
    height, width = evidence.shape
    left, right, bottom, top = extent
    # A frame of pixels without evidence closes outlines at the border.
    x = left + (np.arange(-1, width + 1) + 0.5) * (right - left) / width
    y = top + (np.arange(-1, height + 1) + 0.5) * (bottom - top) / height
    limits = axes.get_xlim(), axes.get_ylim()
    if (evidence > 0.5).any():
        for colour, thickness in (("white", 2.0), ("black", 0.8)):
            axes.contour(x, y, np.pad(evidence, 1), levels=[0.5], colors=colour, linewidths=scale * thickness)
    axes.set(xlim=limits[0], ylim=limits[1])


def pooled(scores: Float[np.ndarray, "R C"], most: int) -> Float[np.ndarray, "r c"]:
    """Average square blocks, the smallest with which no side is longer than ``most``; a smaller map stays as it is."""
    size = -(-max(scores.shape) // most)
    rows, columns = (np.arange(0, n, size) for n in scores.shape)
    sums = np.add.reduceat(np.add.reduceat(scores, rows, axis=0), columns, axis=1)
    counts = np.outer(*(np.diff([*starts, n]) for starts, n in zip((rows, columns), scores.shape, strict=True)))
    return sums / counts
