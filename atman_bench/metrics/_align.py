"""Ground truth of a sample -> labels of its units; the only place where this happens."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import SampleError
from atman_bench.core.images import mask_array, picture_size
from atman_bench.core.records import (
    Boxes,
    CharSpans,
    Label,
    PatchUnits,
    Picture,
    RegionMask,
    Segments,
    TextUnits,
    Units,
)
from atman_bench.core.segments import segment_array


def unit_labels(label: Label, units: Units, picture: Picture | None = None) -> Float[np.ndarray, " U"]:
    """The share of each unit that is evidence, in [0, 1].

    Text: 1 for units that share at least one character with the evidence (PROTOCOL of Table 1a), else 0. Characters
    are those of the prompt. Tokens of byte-level vocabularies carry the white space before a word; it does no harm,
    since evidence starts and ends with a character of its own. A unit of no characters is never evidence.

    Pictures: the share of a patch's area that the evidence covers, exact also where borders of patches or boxes cut a
    pixel; with a threshold 1 where the share reaches it, else 0. The same for every method. Pixels are squares, so the
    patch map and the same map stretched to pixels have equal average precision and recall.

    Args:
        label: The ground truth.
        units: What is explained; of one kind, the label's.
        picture: The sample's, for labels of an image.

    Raises:
        SampleError: The units have no character spans (a prompt given as token ids), the label is of another kind than
            the units, a mask cannot be decoded or does not fit its image, or no unit is evidence.
    """
    match label, units:
        case CharSpans(), TextUnits():
            return _covered_text(label, units)
        case RegionMask() | Boxes() | Segments(), PatchUnits() if picture is not None:
            shares = _shares(_evidence(label, picture), units)
            if label.threshold is not None:
                shares = (shares >= label.threshold).astype(np.float64)
            if not shares.any():
                raise SampleError("no explained patch holds evidence: it lies outside of what the model sees")
            return shares
        case _:
            raise SampleError(f"a label of kind {type(label).__name__} says nothing about {type(units).__name__}")


def _covered_text(label: CharSpans, units: TextUnits) -> Float[np.ndarray, " U"]:
    if units.spans is None:
        raise SampleError("the units have no character positions; labels need a prompt given as text, not as token ids")
    unit_spans = np.array(units.spans, dtype=np.int64).reshape(-1, 1, 2)
    evidence = np.array(label.spans, dtype=np.int64).reshape(1, -1, 2)
    start = np.maximum(unit_spans[..., 0], evidence[..., 0])
    end = np.minimum(unit_spans[..., 1], evidence[..., 1])
    covered = np.any(start < end, axis=1)
    if not covered.any():
        raise SampleError(f"span does not align with any explained unit: characters {list(label.spans)}")
    return covered.astype(np.float64)


@dataclass(frozen=True)
class _Evidence:
    """Ground truth as cells of a grid that covers an image (after its crop).

    Attributes:
        inside: Whether each cell is evidence.
        y: Borders of the rows, ascending, in pixels.
        x: Borders of the columns.
    """

    inside: Bool[np.ndarray, "h w"]
    y: Float[np.ndarray, " h+1"]
    x: Float[np.ndarray, " w+1"]


def _evidence(label: RegionMask | Boxes | Segments, picture: Picture) -> _Evidence:
    """The pixels of a mask, or the rectangles that the edges of boxes cut an image into."""
    size = picture_size(picture.path)
    left, top, right, bottom = picture.crop or (0, 0, *size)
    if not isinstance(label, Boxes):
        if isinstance(label, RegionMask):
            masks = [mask_array(Picture(file, picture.crop), label.value, size) for file in label.files]
            inside = np.logical_or.reduce(masks)
        elif label.size == size:
            inside = segment_array(label)[top:bottom, left:right]
        else:
            raise SampleError(
                f"outlines of a picture of {label.size[0]} x {label.size[1]} pixels do not fit one of "
                f"{size[0]} x {size[1]}"
            )
        y, x = np.arange(bottom - top + 1.0), np.arange(right - left + 1.0)
        return _Evidence(inside, y, x)
    boxes = np.array(label.boxes, np.float64).reshape(-1, 2, 2) - (left, top)
    x0, y0, x1, y1 = np.clip(boxes, 0, (right - left, bottom - top)).reshape(-1, 4).T
    x, y = np.unique([0, *x0, *x1, right - left]), np.unique([0, *y0, *y1, bottom - top])
    rows = (y0[:, None] <= y[:-1]) & (y[1:] <= y1[:, None])
    columns = (x0[:, None] <= x[:-1]) & (x[1:] <= x1[:, None])
    return _Evidence(np.logical_or.reduce(rows[:, :, None] & columns[:, None]), y, x)


def _shares(evidence: _Evidence, units: PatchUnits) -> Float[np.ndarray, " U"]:
    """Evidence per area of each patch: second differences of its integral, which is linear between borders."""
    left, top, right, bottom = units.area
    rows, columns = units.grid
    areas = evidence.inside * np.diff(evidence.y)[:, None] * np.diff(evidence.x)
    integral = np.pad(areas, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    at_rows = _interpolate(integral, evidence.y, np.linspace(top, bottom, rows + 1))
    corners = _interpolate(at_rows.T, evidence.x, np.linspace(left, right, columns + 1)).T
    area = (bottom - top) / rows * (right - left) / columns
    shares = np.diff(np.diff(corners, axis=0), axis=1).ravel() / area
    return np.clip(shares.round(9), 0, 1)  # differences leave a covered patch a little below 1, an empty one above 0


def _interpolate(
    table: Float[np.ndarray, "N M"], borders: Float[np.ndarray, " N"], at: Float[np.ndarray, " K"]
) -> Float[np.ndarray, "K M"]:
    """Rows of a table between its borders; outside of them, where a model may pad, the first and the last."""
    index = np.interp(at, borders, np.arange(len(borders)))
    low = np.minimum(index.astype(int), len(borders) - 2)
    weight = (index - low)[:, None]
    return (1 - weight) * table[low] + weight * table[low + 1]
