"""Vision-language models: patch grids, replayed decoders, restarts, and what is explained."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_vlms
import torch
from PIL import Image
from tiny_models import state_of
from torch import nn
from transformers import Blip2ForConditionalGeneration
from transformers.utils import logging

from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.patching import Editor
from atman_bench.core.errors import ModelError, NotApplicableError, SampleError
from atman_bench.core.records import Boxes, Explained, JointUnits, PatchUnits, Picture, Sample, TextUnits, Word
from atman_bench.core.tensors import Encoded
from atman_bench.methods import METHODS
from atman_bench.methods._engine import EngineMode
from atman_bench.methods.atman import AtManConfig, explain
from atman_bench.methods.gradcam import GradCAMConfig
from atman_bench.models._base import LoadOptions
from atman_bench.models._decoder_call import restarts_of, tensors_of
from atman_bench.models._loading import content_hash
from atman_bench.models._patch_grids import ProcessedPictures, patch_grids
from atman_bench.models._vlm import VisionLM
from atman_bench.models.hf import load

NAMES = list(tiny_vlms.FAMILIES)
PROMPT = "Where is the red square ?"
TARGET = " left is"
SIZE = (56, 40)
ENCODERS = ("vision_tower", "vision_model", "visual")
"""What families call their image encoder."""


def save_picture(path: Path, pixels: np.ndarray) -> Picture:
    Image.fromarray(pixels).save(path)
    return Picture(path)


@pytest.fixture
def picture(tmp_path) -> Picture:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return save_picture(tmp_path / "noise.png", noise)


@pytest.fixture(params=NAMES)
def model(request) -> VisionLM:
    return tiny_vlms.adapter(request.param)


def encode(model: VisionLM, picture: Picture, explained: Explained = Explained.BOTH) -> Encoded:
    return model.encode_text(PROMPT, TARGET, picture=picture, explained=explained)


def blocks_of(encoded: Encoded) -> list[PatchUnits]:
    units = encoded.units.blocks if isinstance(encoded.units, JointUnits) else (encoded.units,)
    return [block for block in units if isinstance(block, PatchUnits)]


def test_the_probe_passes(model):
    report = model.probe()
    assert report.layers == 2
    assert any("replaying a picture" in detail for detail in report.details)


@pytest.mark.parametrize("kappa", [None, 0.3])
def test_the_fast_engine_gives_the_numbers_of_the_naive_one(model, picture, kappa):
    encoded = encode(model, picture)
    fast, naive = (
        explain(model, encoded, AtManConfig(kappa=kappa, engine=mode, batch=3), 0).per_target
        for mode in (EngineMode.FAST, EngineMode.NAIVE)
    )
    torch.testing.assert_close(fast, naive, rtol=0, atol=1e-4)
    assert naive.abs().max() > 0.01


def test_the_replayed_decoder_gives_the_whole_models_logits(model, picture):
    encoded = encode(model, picture)
    reading = model._read(PROMPT, picture)
    answer = model.tokenizer(TARGET, add_special_tokens=False)["input_ids"]
    with torch.inference_mode(), model._reset_rope_deltas():
        own = model.model(**model._extended(reading.features, answer[:-1]), use_cache=False).logits
        replayed = model.run(encoded)
        with model.host.applied(Editor(AttentionEdit(torch.ones(1, encoded.length)))):
            hosted = model.run(encoded)
    torch.testing.assert_close(replayed, own, rtol=0, atol=1e-4)
    torch.testing.assert_close(hosted, own, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["paligemma", "gemma3"])
def test_masks_of_bidirectional_blocks_suit_eager_attention_too(name, picture):
    shared = tiny_vlms.adapter(name)
    expected = shared.plain(encode(shared, picture)).logprobs
    model, processor = tiny_vlms.build(name)
    model.set_attn_implementation("eager")
    eager = VisionLM(name, model, processor, "")
    assert eager.plain(encode(eager, picture)).logprobs == pytest.approx(expected, abs=1e-4)


def test_half_precision_is_hosted(model):
    half = VisionLM("half", *tiny_vlms.build(model.name), "")
    half.model.to(torch.bfloat16)
    assert half.probe().layers == 2


def test_the_image_encoder_runs_once_however_often_a_sample_is_explained(model, picture):
    fresh = VisionLM("fresh", *tiny_vlms.build(model.name), "")
    (encoder,) = [m for n in ENCODERS if (m := getattr(fresh.model.model, n, None)) is not None]
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    for kappa in (None, 0.5):
        explain(fresh, encode(fresh, picture), AtManConfig(kappa=kappa), 0)
    assert len(calls) == 1


def test_the_model_is_its_own_again_after_an_explanation(model, picture):
    encode(model, picture)  # the first picture makes transformers install its own hooks for hidden states, for good
    before = state_of(model.model)
    explain(model, encode(model, picture), AtManConfig(), 0)
    assert state_of(model.model) == before


def test_the_image_encoder_keeps_its_own_attention(model):
    (vision,) = [m.config for n in ENCODERS if (m := getattr(model.model.model, n, None)) is not None]
    own = vision._attn_implementation_internal
    with model.host.applied(Editor(None)):
        assert vision._attn_implementation_internal == own
        assert model.decoder.config._attn_implementation_internal != own


@contextmanager
def blind_to_neighbours(model: VisionLM) -> Iterator[None]:
    """Let every patch of the image encoder see itself only, by silencing what its attention mixes in."""
    silenced = [
        module
        for name, module in model.model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(("vision.proj", "attn.proj", "out_proj"))
    ]
    handles = [m.register_forward_hook(lambda module, args, output: torch.zeros_like(output)) for m in silenced]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    assert silenced


def test_a_planted_patch_is_found_where_it_lies(model, tmp_path):
    grey = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    with blind_to_neighbours(model):
        plain = encode(model, save_picture(tmp_path / "grey.png", grey), Explained.IMAGE)
        first = 0
        for block in blocks_of(plain):
            for unit in (1, len(block) // 2 + 1, len(block) - 2):
                left, top, right, bottom = box_of(block, unit)
                width, height = (right - left) / 4, (bottom - top) / 4
                planted = grey.copy()
                planted[round(top + height) : round(bottom - height), round(left + width) : round(right - width)] = 255
                changed = encode(model, save_picture(tmp_path / f"{first}-{unit}.png", planted), Explained.IMAGE)
                moved = (changed.inputs["inputs_embeds"] - plain.inputs["inputs_embeds"])[0].norm(dim=-1)
                by_unit = changed.pool(moved[None])[0, first : first + len(block)]
                assert int(by_unit.argmax()) == unit
            first += len(block)


def box_of(block: PatchUnits, unit: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = block.area
    width, height = (right - left) / block.grid[1], (bottom - top) / block.grid[0]
    row, column = divmod(unit, block.grid[1])
    return left + column * width, top + row * height, left + (column + 1) * width, top + (row + 1) * height


@pytest.mark.parametrize(
    ("name", "grids"),
    [
        ("llava", [(6, 6)]),
        ("smolvlm", [(3, 3)] * 5),  # 2 x 2 tiles, and the whole
        ("qwen2_vl", [(5, 7)]),
        ("gemma3", [(3, 3)]),  # 36 patches, pooled
        ("paligemma", [(6, 6)]),
    ],
)
def test_patches_are_units_in_reading_order(picture, name, grids):
    encoded = encode(tiny_vlms.adapter(name), picture, Explained.IMAGE)
    assert [block.grid for block in blocks_of(encoded)] == grids
    positions = [group for group in encoded.positions_of_units()]
    assert all(len(group) == 1 for group in positions)
    assert positions == sorted(positions)
    assert all(block.size == SIZE for block in blocks_of(encoded))
    assert len(encoded.pictures) == 1


def test_a_centre_crop_leaves_the_sides_of_a_picture_out(picture):
    ((left, top, right, bottom),) = (b.area for b in blocks_of(encode(tiny_vlms.adapter("llava"), picture)))
    assert (top, bottom) == (0, 40)
    assert left == pytest.approx(SIZE[0] - right, abs=2)
    assert right - left == pytest.approx(40, abs=1)


def test_picture_and_text_are_explained_at_once_and_templates_never(model, picture):
    encoded = encode(model, picture)
    text = encoded.units.blocks[-1]
    assert isinstance(text, TextUnits)
    assert text.texts == tuple(PROMPT.split())
    assert [PROMPT[a:b] for a, b in text.spans] == PROMPT.split()
    ids = model._read(PROMPT, picture).ids
    explained = [ids[p] for (p,) in encoded.positions_of_units()[-len(text) :]]
    assert explained == model.tokenizer.convert_tokens_to_ids(PROMPT.split())
    assert len(encode(model, picture, Explained.TEXT).units) == len(text)


def test_groups_of_prompt_tokens_can_be_units(picture):
    model = tiny_vlms.adapter("llava")
    encoded = model.encode_text(PROMPT, TARGET, units=[[0, 1], [4]], picture=picture)
    assert encoded.units.texts == ("Where is", "square")
    (where, _), (square,) = encoded.positions_of_units()
    assert square == where + 4


def test_a_sample_explains_its_picture_or_the_marked_text(model, picture):
    sample = Sample("s", PROMPT, TARGET, None, Boxes(((0, 0, 9, 9),)), "g", picture=picture)
    assert all(isinstance(block, PatchUnits) for block in blocks_of(model.encode(sample)))
    text = model.encode(replace(sample, explain=(9, 23))).units
    assert text.texts == ("the", "red", "square")


def test_prompt_words_are_read_one_row_before_they_stand(picture):
    model = tiny_vlms.adapter("qwen2_vl")
    words = (Word((13, 16), Boxes(((0, 0, 9, 9),))), Word((25, 30), Boxes(((0, 0, 9, 9),))))
    encoded = model.encode(Sample("s", PROMPT, TARGET, None, words[0].label, "g", picture=picture, words=words))
    ids = model._read(PROMPT, picture).ids
    assert encoded.target_ids.tolist() == model.tokenizer.convert_tokens_to_ids(["red", "left"])
    assert encoded.target_rows.tolist() == [ids.index(encoded.target_ids[0]) - 1, len(ids) - 1]
    assert encoded.word_of_target == (0, 1)


def test_a_prompt_word_that_is_read_in_both_directions_is_refused(picture):
    words = (Word((13, 16), Boxes(((0, 0, 9, 9),))),)
    with pytest.raises(SampleError, match="reads the prompt in both directions"):
        tiny_vlms.adapter("paligemma").encode(
            Sample("s", PROMPT, TARGET, None, words[0].label, "g", picture=picture, words=words)
        )


def test_perturbations_restart_at_the_start_of_a_bidirectional_block(picture):
    gemma = encode(tiny_vlms.adapter("gemma3"), picture)
    image = [p for (p,) in gemma.positions_of_units()[:9]]
    assert [gemma.restarts[p] for p in image] == [image[0]] * 9
    others = sorted(set(range(gemma.length)) - set(image))
    assert [gemma.restarts[p] for p in others] == others
    pali = encode(tiny_vlms.adapter("paligemma"), picture)
    prompt = int(pali.target_rows[0]) + 1
    assert pali.restarts == (0,) * prompt + tuple(range(prompt, pali.length))
    assert encode(tiny_vlms.adapter("llava"), picture).restarts is None


def test_a_restart_covers_rows_that_see_what_another_row_changes():
    visible = torch.ones(6, 6, dtype=torch.bool).tril()
    visible[2, 4] = True  # an edit of 4 changes row 2, and row 1 sees column 2
    visible[1, 2] = True
    assert restarts_of(visible) == (0, 1, 1, 1, 1, 5)


def test_the_completion_of_a_prompt_is_the_models_answer(model, picture):
    completion = model.complete(PROMPT, 3, picture)
    encoded = model.encode_text(PROMPT, completion, picture=picture)
    assert encoded.target_ids.tolist() == list(completion.ids)
    assert model.plain(encoded).answered


@pytest.mark.parametrize("name", [name for name in NAMES if name != "paligemma"])
def test_texts_without_a_picture_do_not_depend_on_the_picture_before(name, picture):
    model = tiny_vlms.adapter(name)
    before = explain(model, model.encode_text(PROMPT, TARGET), AtManConfig(), 0).scores
    completion = model.complete(PROMPT, 3)
    model.complete(PROMPT, 3, picture)
    encode(model, picture)
    torch.testing.assert_close(explain(model, model.encode_text(PROMPT, TARGET), AtManConfig(), 0).scores, before)
    assert model.complete(PROMPT, 3) == completion


def test_paligemma_reads_no_text_alone():
    model = tiny_vlms.adapter("paligemma")
    with pytest.raises(SampleError, match="no prompt without a picture"):
        model.encode_text(PROMPT, TARGET)


def test_a_model_whose_decoder_takes_an_unknown_tensor_is_refused_by_name():
    model = tiny_vlms.adapter("llava")
    with pytest.raises(ModelError, match="calls its decoder with per_layer_inputs"):
        tensors_of({"inputs_embeds": torch.zeros(1, 2, 4), "per_layer_inputs": torch.zeros(1, 2, 3)}, model.model)


def processed(model: VisionLM, **changes: object) -> ProcessedPictures:
    features = {"pixel_values": torch.zeros(1, 3, 24, 24)}
    given = ProcessedPictures(model.model.config, model.processor.image_processor, [SIZE], [""], 36, features)
    return replace(given, **changes)


def test_a_grid_that_does_not_fit_the_image_tokens_is_refused_with_both_numbers():
    with pytest.raises(ModelError, match=r"prompt has 37 image tokens, but .* have 36 patches \(6 x 6\)"):
        patch_grids(processed(tiny_vlms.adapter("paligemma"), n_tokens=37))


def test_an_unknown_family_has_a_grid_only_if_its_processor_squashes():
    unknown = type("Config", (), {"model_type": "newcomer"})()
    (grid,) = patch_grids(processed(tiny_vlms.adapter("paligemma"), config=unknown))
    assert (grid.grid, grid.area) == ((6, 6), (0, 0, *SIZE))
    with pytest.raises(ModelError, match="patch grid of model type 'newcomer' is not known: expected one of gemma3"):
        patch_grids(processed(tiny_vlms.adapter("llava"), config=unknown))


@pytest.mark.parametrize("name", ["llava", "smolvlm", "qwen2_vl"])
def test_a_saved_model_is_loaded_with_its_processor(name, picture, tmp_path):
    model = tiny_vlms.adapter(name)
    logging.disable_progress_bar()
    model.model.save_pretrained(tmp_path / name)
    logging.enable_progress_bar()
    model.processor.save_pretrained(tmp_path / name)
    loaded = load(str(tmp_path / name), LoadOptions(device="cpu"))
    assert loaded.name == name
    assert loaded.processor is not None
    assert loaded.plain(encode(loaded, picture)).logprobs == pytest.approx(
        model.plain(encode(model, picture)).logprobs, abs=1e-4
    )


def test_the_chat_template_that_prompts_are_put_into_is_part_of_the_content_hash(tmp_path):
    model = tiny_vlms.adapter("llava").model
    hashes = set()
    for template in ("{{ one }}", "{{ other }}"):
        (tmp_path / "chat_template.jinja").write_text(template)
        hashes.add(content_hash(tmp_path, model, None, template=True))
    assert len(hashes) == 2


@pytest.mark.parametrize("variant", ["guided", "guided-pixels", "guided-as-released"])
def test_a_variant_of_gradcam_that_the_model_has_nothing_for_does_not_fit_it(picture, variant):
    model = tiny_vlms.adapter("llava")
    config = GradCAMConfig(**METHODS.get("gradcam").variants[variant])
    with pytest.raises(NotApplicableError, match="llava"):
        METHODS.get("gradcam").explain(model, encode(model, picture, Explained.IMAGE), config, 0)


def test_blip2_is_explained_in_its_vision_encoder(picture):
    model = tiny_vlms.blip2()
    encoded = model.encode_text(PROMPT, TARGET, picture=picture, explained=Explained.IMAGE)
    assert (encoded.units.grid, encoded.units.area, encoded.length) == ((6, 6), (0, 0, *SIZE), 37)
    assert model.probe().layers == 2
    fast, naive = (
        explain(model, encoded, AtManConfig(engine=mode), 0).scores for mode in (EngineMode.FAST, EngineMode.NAIVE)
    )
    torch.testing.assert_close(fast, naive, rtol=0, atol=1e-4)
    with torch.inference_mode():
        own = Blip2ForConditionalGeneration.forward(
            model.model, pixel_values=encoded.pixels, input_ids=encoded.inputs["input_ids"]
        ).logits
        torch.testing.assert_close(model.run(encoded), own, rtol=0, atol=1e-5)


def test_blip2_completes_with_its_own_answer(picture):
    model = tiny_vlms.blip2()
    completion = model.complete(PROMPT, 2, picture)
    encoded = model.encode_text(PROMPT, completion, picture=picture, explained=Explained.IMAGE)
    assert model.plain(encoded).answered


def test_blip2_says_what_a_reader_has_to_know_about_its_tokens(picture):
    encoded = tiny_vlms.blip2().encode_text("User: Whe", "re is", picture=picture, explained=Explained.IMAGE)
    assert ["spans the end of the prompt" in remark for remark in encoded.remarks] == [True]
