"""COCO's outlines against masks that are made in another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from atman_bench.core.errors import SampleError
from atman_bench.core.records import PatchUnits, Picture, Segments
from atman_bench.core.segments import parse_runs, polygon_array, runs_array, segment_array
from atman_bench.metrics._align import unit_labels

Y, X = np.mgrid[:60, :80]
OFFICIAL = {
    "ellipse": (
        "]e0;_14M2N2M4N0O2N2N2O0O2O0O2O0O2O0O2O00000O2O000000000000000000000000000000000001N1000001N101N101N101N101N2N2N1"
        "02L3N2N3LQb0",
        (X - 40) ** 2 / 900 + (Y - 30) ** 2 / 400 < 1,
    ),
    "columns": ("0d5Vo3fJ\\RL00000000000000000", (X < 3) | ((X >= 70) & (Y >= 50))),
    "chequered": (
        "0776000000000000000I016000000000000000I016000000000000000I016000000000I",
        ((X // 9 + Y // 7) % 2 == 0)[:20, :33],
    ),
}
"""Masks, and what the COCO API makes of them (``pycocotools.mask.encode``, version 2.0.11)."""


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, pixel by pixel, as the format is described."""
    runs, inside = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != inside:
                inside = not inside
                runs.append(0)
            runs[-1] += 1
    return runs


def masks() -> st.SearchStrategy[np.ndarray]:
    return st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)).map(
        lambda drawn: np.random.default_rng(drawn[2]).random(drawn[:2]) < 0.5
    )


@settings(deadline=None, max_examples=50)
@given(masks())
def test_runs_give_the_mask_that_they_were_made_of(mask):
    assert (runs_array(runs_of(mask), mask.shape[::-1]) == mask).all()


@pytest.mark.parametrize("runs", [(3,), (13,), (13, -1), (-1, 13), ()])
def test_runs_of_another_image_are_refused(runs):
    with pytest.raises(ValueError, match="add up to 4 x 3"):
        runs_array(runs, (4, 3))


@pytest.mark.parametrize("name", OFFICIAL)
def test_compressed_runs_are_those_of_the_official_encoder(name):
    text, mask = OFFICIAL[name]
    assert parse_runs(text) == tuple(runs_of(mask))
    assert (runs_array(parse_runs(text), mask.shape[::-1]) == mask).all()


@pytest.mark.parametrize("text", ["o", "/", "\x7f", "1o", "ä"])
def test_text_that_is_no_compressed_mask_is_refused(text):
    with pytest.raises(ValueError, match="compressed runs"):
        parse_runs(text)


@pytest.mark.parametrize("seed", range(20))
def test_polygon_covers_the_pixels_whose_centres_it_holds(seed):
    rng = np.random.default_rng(seed)
    width, height = 17, 13
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    radii = rng.uniform(2, 9, len(angles))
    # Around a centre, so that no edge crosses another; some stick out of the image.
    corners = np.stack([8.3 + radii * np.cos(angles), 6.1 + radii * np.sin(angles)], axis=1)
    y, x = np.mgrid[:height, :width] + 0.5
    expected = Outline(np.concatenate([corners, corners[:1]])).contains_points(np.stack([x.ravel(), y.ravel()], axis=1))
    assert (polygon_array(corners.ravel(), (width, height)) == expected.reshape(height, width)).all()


@pytest.mark.parametrize("corners", [[(1, 1), (4, 1), (4, 3), (1, 3)], [(1, 3), (4, 3), (4, 1), (1, 1)]])
def test_rectangle_covers_its_pixels_whichever_way_it_goes_round(corners):
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    assert (polygon_array(np.array(corners).ravel(), (6, 5)) == expected).all()


def test_union_is_of_all_polygons_and_masks():
    left, top = (0, 0, 1, 0, 1, 4, 0, 4), (0, 0, 4, 0, 4, 1, 0, 1)
    corner = np.zeros((4, 4), bool)
    corner[3, 3] = True
    found = segment_array(Segments((4, 4), (left, top), (tuple(runs_of(corner)),)))
    expected = corner.copy()
    expected[:, 0] = expected[0] = True
    assert (found == expected).all()


def test_outline_gives_patches_the_share_that_it_covers(picture_file):
    outline = Segments((8, 6), polygons=((0, 0, 4, 0, 4, 3, 0, 3),))
    units = PatchUnits((2, 2), (0, 0, 8, 6), (8, 6))
    assert unit_labels(outline, units, Picture(picture_file)).tolist() == [1, 0, 0, 0]
    wide = Segments((8, 6), polygons=((2, 0, 6, 0, 6, 6, 2, 6),))
    assert unit_labels(wide, units, Picture(picture_file)).tolist() == [0.5] * 4
    cropped = PatchUnits((1, 2), (0, 0, 4, 6), (4, 6))
    assert unit_labels(wide, cropped, Picture(picture_file, (2, 0, 6, 6))).tolist() == [1, 1]


def test_outline_of_another_image_is_refused(picture_file):
    units = PatchUnits((2, 2), (0, 0, 8, 6), (8, 6))
    with pytest.raises(SampleError, match="outlines of a picture of 6 x 8 pixels do not fit one of 8 x 6"):
        unit_labels(Segments((6, 8), polygons=((0, 0, 4, 0, 4, 3),)), units, Picture(picture_file))


@pytest.fixture
def picture_file(tmp_path):
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 6)).save(path)
    return path
