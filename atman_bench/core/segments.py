"""COCO's outlines -> pixels: polygons, and masks as run lengths, plain or compressed.

Source: the COCO API (``maskApi.c``: run lengths go down the columns; a number is written in groups of five bits,
lowest first, from the fourth on as the difference to the number two before).
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool

from atman_bench.core.records import Segments


def segment_array(segments: Segments) -> Bool[np.ndarray, "H W"]:
    """The pixels inside the union of polygons and masks."""
    inside = np.zeros(segments.size[::-1], np.bool_)
    for corners in segments.polygons:
        inside |= polygon_array(corners, segments.size)
    for runs in segments.runs:
        inside |= runs_array(runs, segments.size)
    return inside


def polygon_array(corners: Iterable[float], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The pixels whose centres lie inside a polygon; where it crosses itself, inside an odd number of times.

    Args:
        corners: x, y, x, y, ... in pixels from the top left.
        size: Width and height.
    """
    width, height = size
    # Going along a row, a pixel's centre is inside if an odd number of edges was crossed before it.
    crossed = np.zeros((height, width + 1), np.bool_)
    points = np.array(list(corners), np.float64).reshape(-1, 2)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        first, last = sorted(np.ceil(np.clip([y0, y1], 0, height) - 0.5).astype(int))
        rows = np.arange(first, last)
        if not len(rows):
            continue
        at = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.ceil(np.clip(at, 0, width) - 0.5).astype(int)
        crossed[rows, columns] ^= True
    return np.logical_xor.accumulate(crossed, axis=1)[:, :width]


def runs_array(runs: Iterable[int], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The pixels of a mask.

    Args:
        runs: Lengths of runs of pixels, down the columns one after the other, outside and inside in turn.
        size: Width and height.

    Raises:
        ValueError: A length is negative, or they do not add up to the number of pixels.
    """
    lengths = np.array(list(runs), np.int64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"runs should add up to {size[0]} x {size[1]} pixels")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return inside.reshape(size).T


def parse_runs(text: str) -> tuple[int, ...]:
    """The run lengths of a compressed mask.

    Raises:
        ValueError: A character does not occur in such a text, or its last number does not end.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"compressed runs hold the character {character!r}")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    if shift:
        raise ValueError("compressed runs end within a number")
    return tuple(runs)
