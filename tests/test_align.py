"""Labels of pictures as labels of patches, against a brute-force count of supersampled points."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atman_bench.core.errors import SampleError
from atman_bench.core.records import Boxes, CharSpans, PatchUnits, Picture, RegionMask, TextUnits
from atman_bench.metrics._align import unit_labels
from atman_bench.metrics.average_precision import average_precision
from atman_bench.metrics.average_recall import average_recall

POINTS = 400
"""Points along each side of a patch that the brute-force count looks at; it errs by one pixel border in as many."""

AREAS = {
    "whole pixels": (0.0, 0.0, 24.0, 20.0),
    "fractions of pixels": (3.7, 1.3, 21.1, 18.9),
    "patches below a pixel": (5.2, 6.1, 7.9, 8.4),
    "padding": (-9.5, -3.25, 30.5, 40.0),
}


@pytest.fixture
def picture(tmp_path) -> Picture:
    """24 x 20 pixels."""
    Image.new("RGB", (24, 20)).save(tmp_path / "picture.png")
    return Picture(tmp_path / "picture.png")


def save_mask(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def blob(tmp_path) -> np.ndarray:
    """An irregular mask of the picture's size, written to mask.png with the value 3."""
    y, x = np.mgrid[:20, :24]
    array = (np.hypot(x - 9, (y - 8) * 1.4) < 8) ^ ((x + 2 * y) % 7 == 0)
    save_mask(tmp_path / "mask.png", 3 * array)
    return array


def counted(inside, units: PatchUnits) -> np.ndarray:
    """The share of a patch's points for which ``inside(x, y)`` holds, in pixels after the crop."""
    left, top, right, bottom = units.area
    rows, columns = units.grid
    y = top + (bottom - top) * (np.arange(rows * POINTS) + 0.5) / (rows * POINTS)
    x = left + (right - left) * (np.arange(columns * POINTS) + 0.5) / (columns * POINTS)
    hits = inside(*np.meshgrid(x, y))
    return hits.reshape(rows, POINTS, columns, POINTS).mean((1, 3)).ravel()


def pixel_at(array: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mask at points; nothing lies outside of it."""
    height, width = array.shape
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, columns = (np.floor(v).astype(int).clip(0, n - 1) for v, n in ((y, height), (x, width)))
    return there & array[rows, columns]


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_a_masks_shares_are_those_of_a_brute_force_count(picture, blob, tmp_path, area):
    units = PatchUnits((3, 4), area, (24, 20))
    shares = unit_labels(RegionMask((tmp_path / "mask.png",)), units, picture)
    np.testing.assert_allclose(shares, counted(lambda x, y: pixel_at(blob, x, y), units), atol=4 / POINTS)


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_boxes_with_fractions_cover_what_a_brute_force_count_says(picture, area):
    boxes = ((2.3, 1.7, 9.6, 12.2), (15.0, -4.0, 99.0, 7.5), (5.5, 7.25, 7.75, 8.0))
    units = PatchUnits((3, 4), area, (24, 20))

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        in_picture = (x >= 0) & (x < 24) & (y >= 0) & (y < 20)
        return in_picture & np.any([(x >= a) & (x < c) & (y >= b) & (y < d) for a, b, c, d in boxes], axis=0)

    np.testing.assert_allclose(unit_labels(Boxes(boxes), units, picture), counted(inside, units), atol=4 / POINTS)


def test_boxes_that_overlap_count_once(picture):
    units = PatchUnits((1, 1), (0, 0, 24, 20), (24, 20))
    (share,) = unit_labels(Boxes(((0, 0, 12, 20), (6, 0, 18, 20), (0, 0, 12, 20))), units, picture)
    assert share == pytest.approx(18 / 24)


def test_boxes_and_masks_are_in_pixels_of_the_file_and_units_in_those_of_the_crop(picture, blob, tmp_path):
    cropped = Picture(picture.path, (4, 2, 20, 18))
    of_file, of_crop = PatchUnits((2, 2), (7, 5, 17, 15), (24, 20)), PatchUnits((2, 2), (3, 3, 13, 13), (16, 16))
    for label in (Boxes(((6, 4, 12.5, 9),)), RegionMask((tmp_path / "mask.png",))):
        np.testing.assert_allclose(unit_labels(label, of_crop, cropped), unit_labels(label, of_file, picture))


def test_what_was_cropped_away_is_no_evidence(picture):
    cropped = Picture(picture.path, (0, 0, 12, 20))
    units = PatchUnits((1, 2), (0, 0, 24, 20), (12, 20))  # the right patch is padding
    np.testing.assert_allclose(unit_labels(Boxes(((6, 0, 24, 20),)), units, cropped), [0.5, 0])


def test_a_threshold_keeps_units_that_reach_it(picture):
    box, units = ((0, 0, 9, 20),), PatchUnits((1, 4), (0, 0, 24, 20), (24, 20))
    assert unit_labels(Boxes(box, threshold=0.5), units, picture).tolist() == [1, 1, 0, 0]  # shares 1, 0.5, 0, 0
    assert unit_labels(Boxes(box, threshold=0.51), units, picture).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("area", [(0.0, 0.0, 24.0, 20.0), (3.7, 1.3, 21.1, 18.9), (5.2, 6.1, 7.9, 8.4)])
def test_patches_that_are_covered_whole_reach_a_threshold_of_1(picture, area):
    labels = unit_labels(Boxes(((0, 0, 24, 20),), threshold=1.0), PatchUnits((9, 7), area, (24, 20)), picture)
    assert labels.tolist() == [1] * 63


def test_masks_are_united_and_read_by_value_or_as_not_0(picture, tmp_path):
    stripes = np.repeat([[0, 7, 9, 0]], 20, 0).repeat(6, 1)
    mask = save_mask(tmp_path / "values.png", stripes)
    other = save_mask(tmp_path / "other.png", np.repeat([[0, 0, 0, 9]], 20, 0).repeat(6, 1))
    units = PatchUnits((1, 4), (0, 0, 24, 20), (24, 20))
    assert unit_labels(RegionMask((mask,)), units, picture).tolist() == [0, 1, 1, 0]
    assert unit_labels(RegionMask((mask,), value=7), units, picture).tolist() == [0, 1, 0, 0]
    assert unit_labels(RegionMask((mask, other), value=9), units, picture).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("factor", [2, 5])
def test_masks_of_another_size_are_stretched_to_the_picture(picture, blob, tmp_path, factor):
    large = save_mask(tmp_path / "large.png", blob.repeat(factor, 0).repeat(factor, 1))
    units = PatchUnits((3, 4), (3.7, 1.3, 21.1, 18.9), (24, 20))
    expected = unit_labels(RegionMask((tmp_path / "mask.png",)), units, picture)
    np.testing.assert_allclose(unit_labels(RegionMask((large,)), units, picture), expected)


def test_a_one_bit_mask_is_read_like_a_grey_one(picture, blob, tmp_path):
    Image.fromarray(blob).save(tmp_path / "bits.png")
    units = PatchUnits((3, 4), (0, 0, 24, 20), (24, 20))
    labels = [unit_labels(RegionMask((tmp_path / f"{name}.png",)), units, picture) for name in ("bits", "mask")]
    np.testing.assert_array_equal(*labels)


def test_a_patch_map_and_the_map_stretched_to_pixels_score_the_same(picture, blob, tmp_path):
    """Otherwise methods that score pixels could not be compared with those that score patches (Table 2)."""
    label = RegionMask((tmp_path / "mask.png",))
    area = (3.7, 1.3, 21.1, 18.9)
    scores = np.random.default_rng(0).random((3, 4))
    patches = unit_labels(label, PatchUnits((3, 4), area, (24, 20)), picture)
    pixels = unit_labels(label, PatchUnits((24, 32), area, (24, 20)), picture)
    stretched = scores.repeat(8, 0).repeat(8, 1).ravel()
    for metric in (average_precision, average_recall):
        assert metric(stretched, pixels) == pytest.approx(metric(scores.ravel(), patches), abs=1e-8)


@pytest.mark.parametrize("content", [None, b"no picture"], ids=["missing", "broken"])
@pytest.mark.parametrize("broken", ["picture", "mask"])
def test_files_that_cannot_be_read_are_samples_that_cannot_be_used(picture, blob, tmp_path, broken, content):
    path = tmp_path / f"{broken}.png"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(SampleError, match=r"picture file is (missing|truncated)"):
        unit_labels(RegionMask((tmp_path / "mask.png",)), PatchUnits((2, 2), (0, 0, 24, 20), (24, 20)), picture)


def test_a_truncated_mask_is_a_sample_that_cannot_be_used(picture, blob, tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SampleError, match="truncated"):
        unit_labels(RegionMask((path,)), PatchUnits((2, 2), (0, 0, 24, 20), (24, 20)), picture)


@pytest.mark.parametrize(
    "label",
    [Boxes(((0, 0, 2, 20),)), Boxes(((4, 4, 6, 6),), threshold=0.9), Boxes(((30, 30, 40, 40),))],
    ids=["beside the area", "below the threshold", "outside of the picture"],
)
def test_a_label_that_no_patch_holds_is_a_sample_that_cannot_be_used(picture, label):
    with pytest.raises(SampleError, match="no explained patch holds evidence"):
        unit_labels(label, PatchUnits((2, 2), (4, 0, 24, 20), (24, 20)), picture)


@pytest.mark.parametrize(
    ("label", "units"),
    [
        (CharSpans(((0, 3),)), PatchUnits((2, 2), (0, 0, 24, 20), (24, 20))),
        (Boxes(((0, 0, 9, 9),)), TextUnits(("a",), ((0, 1),))),
    ],
)
def test_labels_and_units_of_different_kinds_say_so(picture, label, units):
    with pytest.raises(SampleError, match=f"{type(label).__name__} says nothing about {type(units).__name__}"):
        unit_labels(label, units, picture)
