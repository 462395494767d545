"""BLIP: the numbers of the authors' implementation (tests/golden/README.md), and what its adapter promises."""

import json
import re
import shutil
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from transformers import BertTokenizerFast, BlipForQuestionAnswering

import atman_bench
from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.patching import Recorder
from atman_bench.attention.similarity import over_largest_norm, suppression_factors
from atman_bench.core.errors import (
    AtmanBenchError,
    ConfigError,
    ModelError,
    NotApplicableError,
    SampleError,
    UnknownNameError,
)
from atman_bench.core.options import build
from atman_bench.core.records import CharSpans, Modality, PatchUnits, Picture, RegionMask, Sample, Word
from atman_bench.core.tensors import Encoded
from atman_bench.evaluation.config import applicable_methods
from atman_bench.methods import METHODS, atman_gradient
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods._gradients import parameters_require_grad
from atman_bench.methods.atman import suppressor
from atman_bench.methods.atman_gradient import AtManGradientConfig
from atman_bench.methods.chefer import propagate
from atman_bench.models._base import Pass
from atman_bench.models.blip import NAMING_PROMPT, NAMING_QUESTION, BlipVQA, official_config, renamed

GOLDEN = Path(__file__).parent / "golden" / "blip"
PICTURE = Picture(GOLDEN / "image.png")
INPUTS = json.loads((GOLDEN / "tiny_inputs.json").read_text())
TARGETS = list(INPUTS["targets"].items())
VARIANTS = json.loads((GOLDEN / "tiny_atman_index.json").read_text())
CELLS = json.loads((GOLDEN / "tiny_atman_configs.json").read_text())
ATOL = 1e-4  # the vectors' own tolerance for losses
CHECKPOINT = "blip_vqa_tiny.pth"
DECODER_METHODS = {"attnlrp", "cp_lrp", "flashtrace", "gim", "ifr", "tam", "value_zeroing"}
METHOD_CELLS = [
    name for name in applicable_methods(Modality.IMAGE) if "guided" not in name and name not in DECODER_METHODS
]
"""Guided gradients need ReLUs, of which BLIP has none."""


def write_checkpoint(folder: Path) -> Path:
    """The official files; heads of 16 channels are said in the one place where that is possible."""
    for name in (CHECKPOINT, "vocab.txt"):
        shutil.copy(GOLDEN / name, folder)
    med = json.loads((GOLDEN / "med_config.json").read_text())
    (folder / "med_config.json").write_text(json.dumps(med | {"encoder_heads": 4}))
    return folder / CHECKPOINT


def load(path: Path | str, **options: object) -> BlipVQA:
    return atman_bench.load_model(f"blip:{path}", device="cpu", **{"trust_checkpoint": True} | options)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> BlipVQA:
    return load(write_checkpoint(tmp_path_factory.mktemp("blip")))


def encode(model: BlipVQA, target_ids: list[int]) -> Encoded:
    """The golden question; target ids as in the vectors, with [DEC] at the start."""
    return model.encode_picture("golden", PICTURE, model.texts_of_ids("golden", INPUTS["question_ids"], target_ids[1:]))


@pytest.fixture
def encoded(model) -> Encoded:
    return encode(model, TARGETS[1][1]["atman_target_ids"])


@pytest.mark.parametrize("form", [Form.SHIFTED, Form.LITERAL, Form.LOG])
def test_atmans_gradient_is_the_slope_of_its_losses(model, encoded, form):
    found = atman_gradient.explain(model, encoded, AtManGradientConfig(f=1.0, form=form, per_target=True), 0)
    step, patches = 0.01, encoded.positions_of_units()
    factors = torch.ones(len(patches), encoded.length)
    up, down = (
        sweep(
            model, encoded, AttentionEdit(factors.scatter(1, torch.tensor(patches), 1 - f), form), EngineOptions()
        ).losses.T.div(2 * step)
        for f in (step, -step)
    )
    expected = up - down
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found.per_target, expected, rtol=0, atol=0.01 * expected.abs().max().item() + 1e-4)


def test_pixels_and_states_match_the_release(model, encoded):
    golden, blip = np.load(GOLDEN / "tiny_plain.npz"), model.model
    np.testing.assert_allclose(encoded.pixels, golden["pixels"], atol=1e-6)
    with torch.inference_mode():
        patches = blip.vision_model.encoder(inputs_embeds=model.embeddings(encoded)).last_hidden_state
        image = blip.vision_model.post_layernorm(patches)
        question = blip.text_encoder(input_ids=encoded.inputs["question_ids"], encoder_hidden_states=image)
    np.testing.assert_allclose(image[0], golden["image_embeds"], atol=2e-5)
    np.testing.assert_allclose(question.last_hidden_state[0], golden["question_states"], atol=2e-5)


@pytest.mark.parametrize(("kind", "ids"), [("atman", "atman_target_ids"), ("chefer", "chefer_answer_ids")])
@pytest.mark.parametrize("index", range(len(TARGETS)))
def test_logits_and_losses_match_the_release(model, index, kind, ids):
    golden = np.load(GOLDEN / "tiny_plain.npz")
    encoded = encode(model, TARGETS[index][1][ids])
    with torch.inference_mode():
        logits = model.run(encoded)[0]
    # The release also runs the last target token, which predicts nothing that is read.
    np.testing.assert_allclose(logits, golden[f"t{index}_{kind}_logits"][:-1], atol=ATOL)
    assert -sum(model.plain(encoded).logprobs) == pytest.approx(golden[f"t{index}_{kind}_loss"].item(), abs=ATOL)


@pytest.mark.parametrize("engine", EngineMode)
@pytest.mark.parametrize("name", VARIANTS)
def test_atman_losses_and_heat_maps_match_the_release(model, name, engine):
    golden = np.load(GOLDEN / "tiny_atman.npz")
    for index, (_, ids) in enumerate(TARGETS):
        encoded = encode(model, ids["atman_target_ids"])
        factors = torch.ones(len(CELLS[name]), encoded.length)
        for factor, cell in zip(factors, CELLS[name], strict=True):
            factor[[1 + patch for patch in cell["patches"]]] = torch.tensor(cell["factors"])
        result = sweep(model, encoded, AttentionEdit(factors, Form.LITERAL), EngineOptions(engine, batch=5))
        losses = np.array([result.plain.sum(), *result.losses.sum(1)])
        np.testing.assert_allclose(losses, golden[f"{name}_t{index}_loss"], atol=ATOL)
        if len(CELLS[name]) == np.prod(encoded.units.grid):  # else the release resizes its map
            heat = result.deltas.sum(0).view(encoded.units.grid)
            np.testing.assert_allclose(heat, golden[f"{name}_t{index}_heat"], atol=ATOL)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_release_takes_its_patches_from_dot_products_over_the_largest_norm(name):
    # Not cosines; and the patch with the cell's number is dropped, wherever in the picture the cell lies.
    setting, golden = VARIANTS[name], np.load(GOLDEN / "tiny_similarities.npz")
    c, limit = setting["suppression_factor"], setting["limit_suppressions"]
    similarities = golden[f"{setting['similarity']}_sims"]
    embeddings = golden[f"{setting['similarity']}_embeddings"]
    if len(embeddings) == similarities[0].size:
        scaled = embeddings / np.linalg.norm(embeddings, axis=1).max()
        np.testing.assert_allclose(similarities.reshape(len(embeddings), -1), (scaled @ scaled.T).T, atol=1e-6)
    for cell, (row, expected) in enumerate(zip(similarities.reshape(len(similarities), -1), CELLS[name], strict=True)):
        order = np.argsort(-row, kind="stable")
        chosen = [p for p in order[row[order] >= setting["conceptual_suppression_threshold"]][:limit] if p != cell]
        assert chosen == expected["patches"]
        factors = [(1 - c) * (1 - row[p]) + c if 0 <= row[p] <= 1 else 1 for p in chosen]
        np.testing.assert_allclose(factors, expected["factors"], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith(("clustered4x4", "magma4x4"))])
def test_similarity_ref_suppresses_the_patches_of_the_release(name):
    # Where cells and patches are the same grid, the patch that the release drops by mistake is the cell's own.
    setting, golden = VARIANTS[name], np.load(GOLDEN / "tiny_similarities.npz")
    kappa, most = setting["conceptual_suppression_threshold"], setting["limit_suppressions"]
    embeddings = torch.from_numpy(golden[f"{setting['similarity']}_embeddings"])
    similarities = over_largest_norm(embeddings, torch.ones(len(embeddings), dtype=torch.bool))
    factors = suppression_factors(
        [[cell] for cell in range(16)],
        16,
        1 - setting["suppression_factor"],
        similarities,
        kappa,
        most=most,
        own=False,
    )
    expected = torch.ones(16, 16, dtype=torch.float64)
    for row, cell in zip(expected, CELLS[name], strict=True):
        row[cell["patches"]] = torch.tensor(cell["factors"], dtype=torch.float64)
    np.testing.assert_allclose(factors.fill_diagonal_(1), expected, atol=1e-6)


def test_a_patch_is_suppressed_by_its_own_similarity_with_ref_and_at_most_so_many_with_it(model, encoded):
    spec = METHODS.get("atman")
    config = build(spec.config, {**spec.variants["blip-ref"], "kappa": 0.0, "most_neighbours": 3}, "atman")
    (edit,) = suppressor(model, encoded, config)(encoded.positions_of_units()).edits()
    norms = model.embeddings(encoded)[0, 1:].norm(dim=-1)
    own = 1 - config.f * norms.square() / norms.square().max()
    assert (edit.factors != 1).sum(1).max() == 3
    of_own = edit.factors[:, 1:].diagonal()
    kept = of_own != 1
    assert kept.any()
    np.testing.assert_allclose(of_own[kept], own.detach()[kept], atol=1e-5)
    assert (edit.factors[:, 0] == 1).all()  # the class token


@pytest.mark.parametrize("backward", ["minimal", "full"])
def test_chefer_of_the_loss_matches_the_release(model, backward):
    golden = np.load(GOLDEN / "tiny_chefer.npz")
    config = build(METHODS.get("chefer").config, {"objective": "loss", "backward": backward}, "chefer")
    for index, (_, ids) in enumerate(TARGETS):
        explanation = explain_encoded(model, encode(model, ids["chefer_answer_ids"]), "chefer", config, 0)
        np.testing.assert_allclose(explanation.scores, golden[f"t{index}_heat"].ravel(), atol=2e-5)
        assert explanation.per_target is None


def test_chefer_explains_the_whole_answer_of_a_sample_as_the_release_did(model):
    golden = np.load(GOLDEN / "tiny_chefer.npz")
    spec = METHODS.get("chefer")
    config = build(spec.config, spec.variants["blip"], "chefer")
    for index, (name, ids) in enumerate(TARGETS):
        encoded = model.encode_picture("golden", PICTURE, model.texts("golden", NAMING_PROMPT, f" {name} (thing)"))
        assert [model.start_id, *encoded.target_ids.tolist()] == ids["atman_target_ids"]
        explanation = explain_encoded(model, encoded, "chefer", config, 0)
        np.testing.assert_allclose(explanation.scores, golden[f"t{index}_heat"].ravel(), atol=2e-5)


def test_the_relevance_of_all_positions_matches_the_release(model):
    golden = np.load(GOLDEN / "tiny_chefer.npz")
    for index, (_, ids) in enumerate(TARGETS):
        encoded, recorder = encode(model, ids["chefer_answer_ids"]), Recorder(first_is_leaf=True)
        with parameters_require_grad(model.model, False), model.host.applied(recorder):
            loss = torch.nn.functional.cross_entropy(model.run(encoded)[0], encoded.target_ids, reduction="sum")
        gradients = list(torch.autograd.grad(loss, recorder.weights))
        np.testing.assert_allclose(propagate(recorder.weights, gradients), golden[f"t{index}_R"], atol=2e-5)


def test_the_question_and_the_target_are_those_of_the_release(model):
    for name, ids in TARGETS:
        texts = model.texts("name", "This is a picture of a", f" {name} (thing)")
        assert texts.inputs["question_ids"][0].tolist() == INPUTS["question_ids"]
        assert [model.start_id, *texts.target_ids] == ids["atman_target_ids"]
    own = model.texts("own", "Where is the dog?", " street").inputs["question_ids"][0].tolist()
    assert own[1:-1] == model.tokenizer("Where is the dog?", add_special_tokens=False)["input_ids"]


def test_official_names_and_shapes_are_those_of_transformers():
    expected = json.loads((GOLDEN / "key_map_tiny.json").read_text())
    state = torch.load(GOLDEN / CHECKPOINT, weights_only=True)["model"]
    buffer = "(skip) buffer"
    assert {k: next(iter(renamed({k: v})), buffer) for k, v in state.items()} == expected

    listed = json.loads((GOLDEN / "state_dict_real_base480.json").read_text())
    with torch.device("meta"):
        real = {key: torch.empty(shape) for key, (*shape, _) in listed.items()}
        sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        med = sizes | {
            "vocab_size": 30524,
            "max_position_embeddings": 512,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
        }
        tokenizer = BertTokenizerFast(vocab=str(GOLDEN / "vocab.txt"))
        blip = BlipForQuestionAnswering(official_config(real, med, tokenizer))
    assert {k: v.shape for k, v in renamed(real).items()} == {k: v.shape for k, v in blip.state_dict().items()}
    assert blip.config.vision_config.image_size == 480


def test_a_folder_of_transformers_is_the_same_model(model, encoded, tmp_path):
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    other = load(tmp_path, trust_checkpoint=False)
    assert other.plain(encoded) == model.plain(encoded)
    assert other.texts("x", NAMING_QUESTION, "panda").inputs["question_ids"].tolist() == [INPUTS["question_ids"]]


def test_the_probe_passes_and_says_where_edits_go(model):
    report = model.probe()
    assert (report.path, report.layers) == ("patched", 3)
    assert "eps 1e-06" in report.details[-1]


def test_a_model_that_does_not_look_at_the_picture_is_refused(tmp_path):
    blind = load(write_checkpoint(tmp_path))
    for layer in blind.model.text_encoder.encoder.layer:
        torch.nn.init.zeros_(layer.crossattention.output.dense.weight)
    with pytest.raises(ModelError, match="does not depend on the picture"):
        blind.probe()


def test_the_literal_edit_is_a_scaled_key(model, encoded):
    position, c = 6, 0.3
    factors = torch.ones(1, encoded.length)
    factors[0, position] = c
    edited = sweep(model, encoded, AttentionEdit(factors, Form.LITERAL), EngineOptions()).losses[0]

    def scale_key(module: torch.nn.Module, inputs: object, qkv: torch.Tensor) -> torch.Tensor:
        width = qkv.shape[-1] // 3
        qkv[:, position, width : 2 * width] *= c
        return qkv

    layers = model.tower.encoder.layers
    handles = [layer.self_attn.qkv.register_forward_hook(scale_key) for layer in layers]
    try:
        scaled = model.plain(encoded).logprobs
    finally:
        for handle in handles:
            handle.remove()
    np.testing.assert_allclose(edited, [-logprob for logprob in scaled], atol=1e-5)


def test_occlusion_replaces_a_patch_of_what_the_tower_reads(model, encoded):
    scores = explain_encoded(model, encoded, "occlusion", METHODS.get("occlusion").config(), 0).per_target
    with torch.inference_mode():
        embeddings = model.embeddings(encoded).clone()
        embeddings[:, 1 + 5] = 0
        occluded = model.run(encoded, Pass(embeddings=embeddings))[0].log_softmax(-1)
    expected = [
        plain - logprob[target].item()
        for plain, logprob, target in zip(model.plain(encoded).logprobs, occluded, encoded.target_ids, strict=True)
    ]
    np.testing.assert_allclose(scores[:, 5], expected, atol=1e-5)


@pytest.mark.parametrize("cell", METHOD_CELLS)
def test_every_method_explains_the_picture_and_leaves_the_model_as_it_was(model, encoded, cell):
    method, _, variant = cell.partition(":")
    spec = METHODS.get(method)
    few = {"n_samples": 60} if method in ("lime", "kernel_shap") else {}
    before = tiny_models.state_of(model.model)
    explanation = explain_encoded(
        model, encoded, method, build(spec.config, {**spec.variants.get(variant, {}), **few}, cell), 0
    )
    assert explanation.scores.shape == (len(explanation.units),)
    assert explanation.scores.isfinite().all()
    side = isqrt(len(explanation.units))
    assert explanation.scores[-side:].any()  # an encoder's last row of patches counts for every target token
    assert tiny_models.state_of(model.model) == before


@pytest.mark.parametrize("method", sorted(DECODER_METHODS))
def test_methods_that_are_defined_for_decoders_refuse_the_encoder(model, encoded, method):
    before = tiny_models.state_of(model.model)
    with pytest.raises(NotApplicableError, match=f"{method} is defined for decoders"):
        explain_encoded(model, encoded, method, METHODS.get(method).config(), 0)
    assert tiny_models.state_of(model.model) == before


def test_an_explanation_counts_the_positions_of_the_tower(model, encoded):
    cost = explain_encoded(model, encoded, "atman", METHODS.get("atman").config(), 0).cost
    assert cost.forward_tokens == (1 + 16) * 17


def test_half_precision_gives_nearly_the_same_losses(encoded, tmp_path):
    half = load(write_checkpoint(tmp_path), dtype="bfloat16")
    half.probe()
    golden = np.load(GOLDEN / "tiny_plain.npz")["t1_atman_loss"].item()
    assert -sum(half.plain(encoded).logprobs) == pytest.approx(golden, abs=0.2)  # eight bits of mantissa


def test_a_picture_of_any_shape_and_mode_is_squashed_whole(model, tmp_path):
    Image.new("P", (50, 20)).save(tmp_path / "wide.png")
    picture = Picture(tmp_path / "wide.png", crop=(10, 0, 50, 20))
    sample = Sample("s", "This is a picture of a", " dog", None, RegionMask(()), "g", picture=picture)
    encoded = model.encode(sample)
    assert encoded.units == PatchUnits((4, 4), (0, 0, 40, 20), (40, 20))
    assert encoded.pixels.shape == (1, 3, 64, 64)
    assert encoded.unit_of_position.tolist() == [-1, *range(16)]


def test_completion_is_the_greedy_answer(model):
    answer = []
    for _ in range(3):
        with torch.inference_mode():
            logits = model.run(encode(model, [model.start_id, *answer, 0]))
        answer.append(logits[0, -1].argmax().item())
    expected = model.tokenizer.decode(answer, skip_special_tokens=True)
    assert model.complete("This is a picture of a", 3, PICTURE) == expected


SAMPLE = {"uid": "s", "prompt": "what ?", "target": " dog", "explain": None, "label": RegionMask(()), "group": "g"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": None}, "give one"),
        ({"picture": Picture(Path("no-such.png"))}, "missing"),
        ({"explain": (0, 4)}, "picture alone"),
        ({"words": (Word((0, 4), CharSpans(())),)}, "picture alone"),
        ({"target": " (thing)"}, "target is empty"),
        ({"prompt": "what " * 50}, "context window of 40"),
    ],
)
def test_a_sample_that_does_not_fit_is_counted_with_its_reason(model, change, message):
    with pytest.raises(SampleError, match=message):
        model.encode(Sample(**{**SAMPLE, "picture": PICTURE, **change}))


def test_what_only_text_models_explain_is_refused(model):
    with pytest.raises(SampleError, match="set explained to 'image'"):
        model.encode_text("what ?", " dog", picture=PICTURE)
    with pytest.raises(SampleError, match="give a picture, a prompt and a target"):
        model.encode_ids([1], [2])
    with pytest.raises(SampleError, match="token id 62 is outside the vocabulary of 62"):
        encode(model, [60, 62])


@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (None, {"trust_checkpoint": False}, "set trust_checkpoint"),
        (None, {"dtype": "int8"}, "unknown value of dtype 'int8'"),
        (None, {"device_map": "auto"}, "one device"),
        (lambda f: (f / "vocab.txt").unlink(), {}, r"vocab\.txt is missing"),
        (lambda f: (f / "med_config.json").write_text('{"vocab_size": 62}'), {}, "hidden_size"),
        (lambda f: (f / CHECKPOINT).write_bytes(b"junk"), {}, "cannot be read"),
        (lambda f: torch.save({"module": {}}, f / CHECKPOINT), {}, "under 'model'"),
        (
            lambda f: torch.save({"model": {"visual_proj.weight": torch.ones(1)}}, f / CHECKPOINT),
            {},
            "cannot load model",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_read_ends_in_one_clear_line(tmp_path, break_it, options, message):
    path = write_checkpoint(tmp_path)
    if break_it is not None:
        break_it(tmp_path)
    with pytest.raises(AtmanBenchError, match=message) as caught:
        load(path, **options)
    assert isinstance(caught.value, ModelError | ConfigError | UnknownNameError)
    assert "\n" not in str(caught.value)


def test_weights_of_another_task_are_refused(tmp_path):
    path = write_checkpoint(tmp_path)
    state = torch.load(path, weights_only=True)["model"]
    torch.save({"model": {**state, "itm_head.weight": torch.ones(1)}}, path)
    with pytest.raises(ModelError, match=re.escape("tensor 'itm_head.weight' has no place")):
        load(path)
    decoder = {k: v for k, v in state.items() if not k.startswith("text_decoder.bert.encoder.layer.1")}
    torch.save({"model": decoder}, path)
    with pytest.raises(ModelError, match="lack 26 tensors"):
        load(path)


def test_a_name_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="write blip:FOLDER"):
        load("")
    with pytest.raises(ModelError, match="cannot load model"):
        load(tmp_path)
