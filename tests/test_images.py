"""Pictures as cameras, scanners and browsers write them: what the models see is what a person would."""

import warnings

import numpy as np
import pytest
import tiny_pictures
from PIL import ExifTags, Image, ImageOps

from atman_bench.core.errors import SampleError
from atman_bench.core.images import mask_array, open_picture, picture_size, rgb_array
from atman_bench.core.records import PatchUnits, Picture, RegionMask, Sample
from atman_bench.metrics._align import unit_labels

WIDTH, HEIGHT = 12, 8


def upright():
    """An image of which no turn and no reflection is the image itself."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def save_turned(image, path, orientation):
    """Write an image as a camera does that is held another way; Pillow's own function turns it back."""
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 5: Image.Transpose.TRANSPOSE}
    undo = inverse.get(orientation)
    if undo is None:
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            7: Image.Transpose.TRANSVERSE,
        }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.transpose(undo).save(path, exif=exif)
    assert np.array_equal(rgb_array(ImageOps.exif_transpose(Image.open(path))), rgb_array(image))
    return Picture(path)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_turned_picture_is_read_upright_and_has_the_size_that_it_is_read_with(tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    if suffix == "webp":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        upright().save(path, lossless=True, exif=exif)
        expected = ImageOps.exif_transpose(Image.open(path))
    else:
        expected = upright()
        save_turned(expected, path, orientation)
    assert np.array_equal(rgb_array(open_picture(Picture(path))), rgb_array(expected))
    assert picture_size(path) == expected.size


def test_crop_is_in_pixels_of_the_upright_picture(tmp_path):
    save_turned(upright(), tmp_path / "turned.png", 6)
    found = open_picture(Picture(tmp_path / "turned.png", (9, 1, 12, 6)))
    assert np.array_equal(rgb_array(found), rgb_array(upright())[1:6, 9:12])


def test_turned_picture_and_its_turned_or_upright_mask_give_the_labels_of_the_upright_pair(tmp_path):
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[:4, :3] = 255
    mask = Image.fromarray(inside)
    mask.save(tmp_path / "mask.png")
    save_turned(mask, tmp_path / "turned-mask.png", 6)
    picture = save_turned(upright(), tmp_path / "turned.png", 6)
    units = PatchUnits((2, 4), (0.0, 0.0, float(WIDTH), float(HEIGHT)), (WIDTH, HEIGHT))
    for file in ("mask.png", "turned-mask.png"):
        labels = unit_labels(RegionMask((tmp_path / file,)), units, picture)
        assert labels.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_model_reads_a_turned_picture_as_its_upright_copy(tmp_path):
    model = tiny_pictures.build()
    upright().save(tmp_path / "upright.png")
    save_turned(upright(), tmp_path / "turned.png", 8)
    read = [
        model.encode(
            Sample(
                uid="x",
                prompt="This is a",
                target=" cat",
                explain=None,
                label=RegionMask(()),
                group="x",
                facts={},
                picture=Picture(tmp_path / f"{name}.png"),
            )
        )
        for name in ("upright", "turned")
    ]
    assert read[0].units == read[1].units
    assert read[0].pixels.equal(read[1].pixels)


def test_picture_with_a_damaged_exif_block_is_read_as_it_is_stored(tmp_path):
    upright().save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff")
    assert open_picture(Picture(tmp_path / "a.png")).size == picture_size(tmp_path / "a.png") == (WIDTH, HEIGHT)


def test_mask_of_other_proportions_is_refused_and_a_scaled_one_is_not(tmp_path):
    Image.new("L", (300, 200), 255).save(tmp_path / "mask.png")
    mask = Picture(tmp_path / "mask.png")
    with pytest.raises(SampleError, match="mask of 300 x 200 pixels does not have the proportions of its picture"):
        mask_array(mask, None, (200, 300))
    with pytest.raises(SampleError, match="proportions"):
        mask_array(mask, None, (320, 200))
    assert mask_array(mask, None, (640, 427)).shape == (427, 640)  # a thousandth off: the scaled side is rounded


@pytest.mark.parametrize("value", [0, 1, 256, 40000, 65535])
def test_sixteen_bits_become_eight_by_division_through_257(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "I;16"
    assert (rgb_array(open_picture(Picture(tmp_path / "a.png"))) == round(value / 257)).all()


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_pixels_of_no_known_range_are_refused(tmp_path, dtype, mode):
    Image.fromarray(np.full((4, 4), 3, dtype)).save(tmp_path / "a.tif")
    with pytest.raises(SampleError, match=f"pixels of mode '{mode}', and nothing says how bright they are"):
        open_picture(Picture(tmp_path / "a.tif"))


def test_palette_with_transparency_keeps_its_colours_without_a_warning(tmp_path):
    palette = upright().quantize(8)
    palette.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rgb_array(open_picture(Picture(tmp_path / "a.png")))
    assert np.array_equal(found, rgb_array(palette))


def test_cmyk_and_one_bit_are_read_as_colours(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert (rgb_array(open_picture(Picture(tmp_path / "a.tif"))) == [255, 0, 0]).all()
    Image.new("1", (4, 4), 1).save(tmp_path / "b.png")
    assert (rgb_array(open_picture(Picture(tmp_path / "b.png"))) == 255).all()


def test_animation_is_read_as_its_first_frame_and_says_so_once(tmp_path, caplog):
    first, second = Image.new("L", (6, 4), 0), Image.new("L", (6, 4), 255)
    first.save(tmp_path / "two-frames.gif", save_all=True, append_images=[second])
    for _ in range(2):
        assert (rgb_array(open_picture(Picture(tmp_path / "two-frames.gif"))) == 0).all()
    assert caplog.messages == ["two-frames.gif is animated: its first frame is used"]


@pytest.mark.parametrize("size", [(1, 1), (200, 1), (1, 200)])
@pytest.mark.parametrize("mode", ["RGB", "1", "P", "L"])
def test_smallest_and_longest_pictures_are_explained(tmp_path, size, mode):
    Image.new(mode, size, 1).save(tmp_path / "a.png")
    encoded = tiny_pictures.adapter().encode_parts([open_picture(Picture(tmp_path / "a.png")), [3, 1]], [4])
    assert len(encoded.units) == 16 + 2


def test_picture_that_is_a_line_is_refused(tmp_path):
    Image.new("RGB", (402, 2)).save(tmp_path / "a.png")
    with pytest.raises(SampleError, match="402 x 2 pixels: one side is more than 200 times the other"):
        open_picture(Picture(tmp_path / "a.png"))
