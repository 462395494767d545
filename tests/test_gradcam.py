"""GradCAM, pixel gradients and floors: golden vectors (tests/golden/README.md) and independent derivations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import atman_bench
from atman_bench.core.errors import ConfigError
from atman_bench.core.options import build
from atman_bench.core.records import JointUnits, PatchUnits
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import METHODS
from atman_bench.methods.gradcam import GradCAMConfig, Layer, class_activation
from atman_bench.models._base import Pass
from atman_bench.models._picture_lm import PictureLM

GOLDEN = Path(__file__).parent / "golden" / "magma"
CASE = json.loads((GOLDEN / "cases.json").read_text())[0]
PROMPT = CASE["prompt_len"]
RTOL = 1e-4  # of a map's largest value: the vectors are float32 of another implementation
RTOL_DIFFERENCES = 1e-3  # GPT-J's scores are float32 in any model
PIXELS = {"ixg": ("input_x_gradient", 3), "ig10": ("integrated_gradients", 3), "guidedgradcam_l4conv3": ("gradcam", 1)}
"""Name in the vectors -> method, and its score in units of the release's: we sum colours where it takes their mean."""


@pytest.fixture(scope="module", params=["ln", "noln"])
def case(request) -> tuple[PictureLM, Encoded, dict[str, np.ndarray]]:
    """The golden model, its sample, and the vectors of its pixels and of the decoder's first LayerNorm."""
    path = GOLDEN if request.param == "ln" else f"{GOLDEN},noln"
    model = atman_bench.load_model(f"magma:{path}", device="cpu", trust_checkpoint=True)
    encoded = model.encode_parts([Image.open(GOLDEN / "image_a.png"), CASE["parts"][1]["ids"]], CASE["target_ids"])
    prefix = f"c0_{request.param}_"
    files = {"captum_pixels.npz": prefix, "captum_embeddings.npz": f"{prefix}guidedgradcam_h0ln1"}
    vectors = {
        key.removeprefix(prefix): array
        for file, start in files.items()
        for key, array in np.load(GOLDEN / file).items()
        if key.startswith(start)
    }
    return model, encoded, vectors


def patches_only(encoded: Encoded) -> Encoded:
    """The same sample with its text unexplained, as a dataset of pictures has it."""
    (block,) = (b for b in encoded.units.blocks if isinstance(b, PatchUnits))
    units = torch.where(encoded.unit_of_position < len(block), encoded.unit_of_position, -1)
    return replace(encoded, units=block, unit_of_position=units)


def attribute(model: PictureLM, encoded: Encoded, name: str, **options: object) -> Attribution:
    method, _, variant = name.partition(":")
    spec = METHODS.get(method)
    return spec.explain(model, encoded, build(spec.config, {**spec.variants.get(variant, {}), **options}), 0)


def assert_close(found, expected, rtol: float = RTOL) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("name", PIXELS)
def test_pixel_maps_match_the_release(case, name):
    """The signed mean over colours and the mean over target tokens (its ``parsed_sq0_div0``)."""
    model, encoded, vectors = case
    method, scale = PIXELS[name]
    result = attribute(model, patches_only(encoded), f"{method}:{'guided-' if scale == 1 else ''}pixels")
    assert result.units.grid == (128, 128)
    assert_close(result.scores.view(128, 128) / scale, vectors[f"{name}_parsed_sq0_div0"])


@pytest.mark.parametrize("name", PIXELS)
def test_pooled_maps_are_the_releases_pixels_summed_over_each_patch(case, name):
    model, encoded, vectors = case
    method, scale = PIXELS[name]
    result = attribute(model, patches_only(encoded), f"{method}:{'guided-pooled' if scale == 1 else 'pixels-pooled'}")
    for target, scores in enumerate(result.per_target):
        cells = [
            [vectors[f"{name}_t{target}"].mean(0)[32 * r : 32 * r + 32, 32 * c : 32 * c + 32].sum() for c in range(4)]
            for r in range(4)
        ]
        assert_close(scores.view(4, 4) / scale, cells)
    assert result.units is None


def test_the_released_layer_norm_variant_matches(case):
    model, encoded, vectors = case
    result = attribute(model, patches_only(encoded), "gradcam:guided-as-released")
    for target, scores in enumerate(result.per_target):
        assert_close(scores.view(4, 4), vectors[f"guidedgradcam_h0ln1_t{target}_image_abs_sum"])


def test_token_gradcam_is_the_channel_weighted_sum_found_by_central_differences(case):
    """Independent of autograd: a channel's weight is the slope of the logit when all patches move along it at once."""
    model, encoded, _ = case
    found = attribute(model, patches_only(encoded), "gradcam").per_target
    embeddings = model.embeddings(encoded).double()
    step, tokens = 2e-3, range(16)
    double = model.model.double()
    try:
        directions = torch.zeros(embeddings.shape[2], *embeddings.shape[1:], dtype=torch.float64)
        for channel, direction in enumerate(directions):
            direction[:16, channel] = step
        with torch.no_grad():
            ends = [
                model.run(encoded, Pass(0, len(directions), encoded.target_rows.tolist(), embeddings=moved))
                for moved in (embeddings + directions, embeddings - directions)
            ]
    finally:
        double.float()
    slopes = (ends[0] - ends[1]) / (2 * step)
    for target, scores in zip(range(3), found, strict=True):
        weights = slopes[:, target, encoded.target_ids[target]] / len(tokens)
        expected = (embeddings[0, :16] * weights).sum(-1).clamp(min=0)
        assert_close(scores, expected.numpy(), RTOL_DIFFERENCES)


def test_class_activation_keeps_what_supports_the_class_only():
    activations = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    gradients = torch.tensor([[3.0, -1.0], [0.0, -1.0], [0.0, -1.0]])  # channel means 1 and -1
    assert class_activation(activations, gradients).tolist() == [1, 0, 0]


def test_guided_gradcam_is_zero_where_gradcam_is(case):
    model, encoded, _ = case
    encoded = patches_only(encoded)
    plain, guided = (attribute(model, encoded, name).per_target for name in ("gradcam", "gradcam:guided"))
    assert not guided[plain == 0].any()
    assert (guided[plain > 0] > 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": Layer.CONVOLUTION}, "is guided"),
        ({"layer": Layer.NORM}, "is guided"),
        ({"pooled": True}, "no pixels to pool"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        GradCAMConfig(**options)


@pytest.mark.parametrize("name", ["gradcam", "gradcam:guided-pixels", "input_x_gradient:pixels", "centre"])
def test_what_needs_patches_refuses_units_of_text(case, name):
    model, encoded, _ = case
    assert isinstance(encoded.units, JointUnits)
    with pytest.raises(ConfigError, match="needs an image"):
        attribute(model, encoded, name)


# Floors: they look at the picture only.


def on_picture(encoded: Encoded, grid: tuple[int, int], area: tuple, array: np.ndarray) -> Encoded:
    units = PatchUnits(grid, area, (array.shape[1], array.shape[0]))
    return replace(encoded, units=units, pictures=(array,))


def test_centre_falls_with_the_distance_and_reaches_every_corner_alike(case):
    model, encoded, _ = case
    result = attribute(model, on_picture(encoded, (3, 5), (0, 0, 50, 30), np.zeros((30, 50, 3), np.uint8)), "centre")
    scores = result.scores.view(3, 5)
    assert scores.argmax() == 7
    assert scores[1, 2] == 1
    torch.testing.assert_close(scores.flip(0), scores)
    torch.testing.assert_close(scores.flip(1), scores)
    assert torch.equal(scores, scores.clamp(min=0))
    # Patch (0, 0) lies at (-2/3, -4/5) of the way to the corner.
    assert scores[0, 0].item() == pytest.approx(1 - np.hypot(2 / 3, 4 / 5) / np.sqrt(2))


def test_local_contrast_is_the_spread_of_grey_values_within_a_patch(case):
    model, encoded, _ = case
    array = np.full((8, 12, 3), 100, np.uint8)
    array[4:8, 4:8:2] = [200, 0, 0]  # red stripes over the whole of patch (1, 1)
    array[0, 10] = 255  # one white pixel in patch (0, 2)
    scores = attribute(model, on_picture(encoded, (2, 3), (0, 0, 12, 8), array), "local_contrast").scores.view(2, 3)
    red, white = 0.299 * 200, 255
    assert scores[1, 1].item() == pytest.approx((100 - red) / 2)
    assert scores[0, 2].item() == pytest.approx((white - 100) * np.sqrt(15) / 16)
    assert (scores > 1e-4).sum() == 2


@pytest.mark.parametrize("area", [(0, 0, 2, 2), (-30, -30, 12, 8), (0.4, 0.2, 11.7, 7.3)])
def test_local_contrast_survives_patches_smaller_than_a_pixel_and_padding(case, area):
    model, encoded, _ = case
    array = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert attribute(model, on_picture(encoded, (4, 4), area, array), "local_contrast").scores.isfinite().all()
