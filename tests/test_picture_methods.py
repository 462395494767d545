"""What every explanation method promises for pictures, over the registry: methods, named variants, pixels and words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import tiny_models
import tiny_pictures
import torch

from atman_bench.attention.edit import Form
from atman_bench.core.options import build
from atman_bench.core.records import Boxes, Explained, JointUnits, Modality, Picture, Sample, Word
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.evaluation.config import applicable_methods
from atman_bench.methods import METHODS
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._engine import EngineMode
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.models._picture_lm import PictureLM

METHODS_OF_PICTURES = applicable_methods(Modality.IMAGE)
PROMPT, TARGET = "This is a picture of a", " cat owl"
LABEL = Boxes(((0, 0, 9, 9),))


def spec_of(name: str) -> MethodSpec:
    return METHODS.get(name.partition(":")[0])


def config_of(name: str, **options: Any) -> Any:
    method, _, variant = name.partition(":")
    few = {"n_samples": 40} if method in ("lime", "kernel_shap") else {}
    return build(spec_of(name).config, {**few, **spec_of(name).variants.get(variant, {}), **options})


def attribute(model: PictureLM, encoded: Encoded, name: str, seed: int = 0, **options: Any) -> Attribution:
    return spec_of(name).explain(model, encoded, config_of(name, **options), seed)


ENGINE_METHODS = [name for name in METHODS_OF_PICTURES if issubclass(spec_of(name).config, EngineConfig)]
COSTLY_METHODS = [name for name in METHODS_OF_PICTURES if spec_of(name).forwards(10, 3, config_of(name)) > 0]
EXACT_METHODS = [name for name in COSTLY_METHODS if not spec_of(name).stochastic]
"""Those that do not fit a regression to samples."""

TEXT_METHODS = [name for name in METHODS_OF_PICTURES if name in applicable_methods(Modality.TEXT)]
"""Those that explain text as well."""


@pytest.fixture
def model() -> PictureLM:
    return tiny_pictures.adapter()


@pytest.fixture
def picture(tmp_path) -> Picture:
    return tiny_pictures.save_noise(tmp_path / "noise.png")


def sample(picture: Picture, words: tuple[Word, ...] = (), explain: tuple[int, int] | None = None) -> Sample:
    return Sample("s", PROMPT, TARGET, explain, LABEL, "g", picture=picture, words=words)


@pytest.fixture
def encoded(model, picture) -> Encoded:
    return model.encode(sample(picture))


@pytest.mark.parametrize("name", METHODS_OF_PICTURES)
def test_scores_are_finite_float32_on_the_cpu_one_for_each_unit_and_the_mean_over_targets(model, encoded, name):
    result = attribute(model, encoded, name)
    assert result.scores.shape == (len(result.units or encoded.units),)
    for tensor in (result.scores, result.per_target):
        if tensor is not None:
            assert (tensor.dtype, tensor.device.type, tensor.requires_grad) == (torch.float32, "cpu", False)
            assert tensor.isfinite().all()
            assert tensor.any()
    if result.per_target is not None:
        torch.testing.assert_close(result.scores, result.per_target.mean(0))


@pytest.mark.parametrize(
    "options", [{"batch": 1}, {"batch": 5}, {"engine": EngineMode.NAIVE}, {"engine": EngineMode.LEAN}], ids=str
)
@pytest.mark.parametrize("name", ENGINE_METHODS)
def test_what_only_changes_cost_changes_no_score(model, encoded, name, options):
    default, other = attribute(model, encoded, name), attribute(model, encoded, name, **options)
    torch.testing.assert_close(default.scores, other.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [3, None])
@pytest.mark.parametrize("variant", ["", ":pixels", ":pixels-pooled"])
def test_integrated_gradients_do_not_depend_on_their_batch(model, encoded, variant, size):
    name = f"integrated_gradients{variant}"
    default, other = attribute(model, encoded, name), attribute(model, encoded, name, internal_batch_size=size)
    torch.testing.assert_close(default.scores, other.scores, rtol=0, atol=1e-5)


def states_of(model: PictureLM) -> list[object]:
    return [tiny_models.state_of(module) for module in (model.model, model.prefix)]


@pytest.mark.parametrize("name", METHODS_OF_PICTURES)
def test_an_explanation_leaves_the_model_as_it_was(model, encoded, name):
    before, inputs = states_of(model), encoded.inputs["inputs_embeds"].clone()
    attribute(model, encoded, name)
    assert states_of(model) == before
    torch.testing.assert_close(encoded.inputs["inputs_embeds"], inputs, rtol=0, atol=0)


@contextmanager
def failing_forward(model: PictureLM) -> Iterator[None]:
    """Let the decoder's first attention raise."""

    def fail(module: torch.nn.Module, args: object) -> None:
        raise RuntimeError("in the middle of a forward pass")

    handle = next(iter(model.host._layers)).register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("name", COSTLY_METHODS)
def test_a_failed_explanation_leaves_the_model_as_it_was(model, encoded, name):
    before = states_of(model)
    with failing_forward(model), pytest.raises(RuntimeError, match="in the middle"):
        attribute(model, encoded, name)
    assert states_of(model) == before


@pytest.mark.parametrize("name", METHODS_OF_PICTURES)
def test_the_seed_decides_for_stochastic_methods_only(model, encoded, name):
    before = torch.get_rng_state()
    first, again, other = (attribute(model, encoded, name, seed=seed).scores for seed in (3, 3, 4))
    torch.testing.assert_close(first, again, rtol=0, atol=1e-6)
    assert spec_of(name).stochastic == ((first - other).abs().max().item() > 1e-4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kappa", [None, 0.3])
@pytest.mark.parametrize("form", Form)
def test_a_suppression_of_0_gives_atman_scores_of_exactly_0(model, encoded, form, kappa):
    assert not attribute(model, encoded, "atman", f=0.0, form=form, kappa=kappa).per_target.any()


@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients"])
def test_pooled_scores_are_the_pixels_of_each_patch_added_up(model, encoded, name):
    pixels, pooled = (attribute(model, encoded, f"{name}:{variant}") for variant in ("pixels", "pixels-pooled"))
    assert pixels.units == replace(encoded.units, grid=(tiny_pictures.SIDE, tiny_pictures.SIDE))
    rows, columns = tiny_pictures.GRID
    cells = pixels.scores.view(rows, 4, columns, 4)
    torch.testing.assert_close(pooled.scores.view(rows, columns), cells.sum((1, 3)))


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_picture_and_text_are_explained_together(model, picture, name):
    encoded = model.encode_text(PROMPT, TARGET, picture=picture, explained=Explained.BOTH)
    assert isinstance(encoded.units, JointUnits)
    patches, tokens = map(len, encoded.units.blocks)
    assert (patches, tokens) == (16, len(PROMPT.split()))
    result = attribute(model, encoded, name)
    assert result.scores.shape == (patches + tokens,)
    assert result.scores.isfinite().all()


@pytest.mark.parametrize(
    "name", ["atman", "occlusion", "chefer", "input_x_gradient", "integrated_gradients", "attention"]
)
def test_a_unit_scores_the_same_whether_or_not_others_are_explained(model, picture, name):
    both, text, image = (
        attribute(model, model.encode_text(PROMPT, TARGET, picture=picture, explained=part), name).scores
        for part in (Explained.BOTH, Explained.TEXT, Explained.IMAGE)
    )
    torch.testing.assert_close(both, torch.cat([image, text]), rtol=0, atol=1e-5)


def word(text: str) -> Word:
    start = (PROMPT + TARGET).index(f" {text}") + 1
    return Word((start, start + len(text)), LABEL)


def test_words_are_read_one_row_before_they_stand(model, picture):
    encoded = model.encode(sample(picture, (word("picture"), word("owl"))))
    assert encoded.target_rows.tolist() == [16 + 2, 16 + 6]
    assert encoded.word_of_target == (0, 1)
    assert model.token_texts(encoded.target_ids.tolist()) == ("picture", "owl")


def test_words_at_their_own_rows_are_read_by_what_follows_them(model, picture):
    own, following = (
        model.encode(sample(picture, words)) for words in ((replace(word("picture"), own_row=True),), (word("of"),))
    )
    assert own.target_rows.tolist() == following.target_rows.tolist()
    assert own.target_ids.tolist() == following.target_ids.tolist()
    assert own.word_of_target == (0,)


@pytest.mark.parametrize("name", [name for name in EXACT_METHODS if name != "flashtrace"])  # explains whole spans
def test_two_words_at_once_are_explained_as_each_alone(model, picture, name):
    words = (word("picture"), word("owl"))
    together, first, second = (
        attribute(model, model.encode(sample(picture, w)), name) for w in (words, words[:1], words[1:])
    )
    if together.per_target is None:  # pixels: the mean over words is all that is kept
        torch.testing.assert_close(together.scores, (first.scores + second.scores) / 2, rtol=0, atol=1e-4)
    else:
        alone = torch.cat([first.per_target, second.per_target])
        torch.testing.assert_close(together.per_target, alone, rtol=0, atol=1e-5)
        assert (together.per_target[0] - together.per_target[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", [name for name in TEXT_METHODS if name in EXACT_METHODS])
def test_text_after_the_row_that_a_word_is_read_from_scores_0(model, picture, name):
    encoded = model.encode(sample(picture, (word("picture"),), explain=(0, len(PROMPT))))
    scores = attribute(model, encoded, name).scores
    seen = PROMPT.split().index("picture")
    torch.testing.assert_close(scores[seen:], torch.zeros_like(scores[seen:]), rtol=0, atol=1e-5)
    assert scores[:seen].any()
