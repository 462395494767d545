"""The only place where labels become unit labels."""

import numpy as np
from jaxtyping import Float

from atman_bench.errors import SampleError
from atman_bench.pictures import mask_array, picture_size
from atman_bench.records import Boxes, CharSpans, Label, PatchUnits, Picture, RegionMask, TextUnits, Units


def unit_labels(label: Label, units: Units, picture: Picture | None = None) -> Float[np.ndarray, " U"]:
    """The share of each unit that is evidence, in [0, 1].

    Text: 1 for units that share at least one character with the evidence (PROTOCOL of Table 1a), else 0. Characters
    are those of the prompt. Tokens of byte-level vocabularies carry the white space before a word; it does no harm,
    since evidence starts and ends with a character of its own. A unit of no characters is never evidence.

    Pictures: the share of a patch's area that the evidence covers, exact also where a patch's border cuts a pixel; with
    a threshold 1 where the share reaches it, else 0. The same for every method. Pixels are squares, so the patch map
    and the same map stretched to pixels have equal average precision and recall.

    Args:
        label: Where the evidence is.
        units: What is explained; of one kind, the label's.
        picture: The sample's, for labels of a picture.

    Raises:
        SampleError: The units have no character spans (a prompt given as token ids), the label is of another kind than
            the units, a mask cannot be decoded, or no unit is evidence.
    """
    match label, units:
        case CharSpans(), TextUnits():
            return _covered_text(label, units)
        case RegionMask() | Boxes(), PatchUnits() if picture is not None:
            shares = _shares(_integral(_evidence(label, picture)), units)
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


def _evidence(label: RegionMask | Boxes, picture: Picture) -> Float[np.ndarray, "H W"]:
    """How much of each pixel of a picture (after its crop) is evidence."""
    width, height = picture_size(picture.path)
    left, top, right, bottom = picture.crop or (0, 0, width, height)
    if isinstance(label, RegionMask):
        masks = [mask_array(Picture(file, picture.crop), label.value, (width, height)) for file in label.files]
        return np.logical_or.reduce(masks).astype(np.float64)
    covered = np.zeros((bottom - top, right - left))
    for x0, y0, x1, y1 in label.boxes:
        rows = _overlap(np.arange(top, bottom), y0, y1)
        columns = _overlap(np.arange(left, right), x0, x1)
        # Where boxes overlap, a pixel is as much evidence as in the box that covers more of it.
        covered = np.maximum(covered, rows[:, None] * columns[None])
    return covered


def _overlap(starts: np.ndarray, low: float, high: float) -> Float[np.ndarray, " N"]:
    """The length of each unit interval from ``starts`` that lies in [low, high]."""
    return np.clip(np.minimum(starts + 1, high) - np.maximum(starts, low), 0, 1)


def _integral(evidence: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H+1 W+1"]:
    """Sums over all pixels above and left of each corner."""
    return np.pad(evidence, ((1, 0), (1, 0))).cumsum(0).cumsum(1)


def _shares(integral: Float[np.ndarray, "H+1 W+1"], units: PatchUnits) -> Float[np.ndarray, " U"]:
    """Evidence per area of each patch: second differences of the integral, which is linear between corners."""
    left, top, right, bottom = units.area
    rows, columns = units.grid
    height, width = integral.shape[0] - 1, integral.shape[1] - 1
    # A model may pad: what lies outside of the picture holds no evidence.
    at_rows = _interpolate(integral, np.clip(np.linspace(top, bottom, rows + 1), 0, height))
    corners = _interpolate(at_rows.T, np.clip(np.linspace(left, right, columns + 1), 0, width)).T
    area = (bottom - top) / rows * (right - left) / columns
    shares = np.diff(np.diff(corners, axis=0), axis=1).ravel() / area
    return np.clip(np.where(shares < 1e-9, 0, shares), 0, 1)  # rounding of the differences


def _interpolate(table: Float[np.ndarray, "N M"], at: Float[np.ndarray, " K"]) -> Float[np.ndarray, "K M"]:
    """Rows of a table at fractional indices."""
    low = np.minimum(at.astype(int), table.shape[0] - 2)
    weight = (at - low)[:, None]
    return (1 - weight) * table[low] + weight * table[low + 1]
