"""MAGMA: the numbers of the authors' implementation (tests/golden/README.md), its checkpoint's format, and ours."""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import save_tokenizer
from torch import nn
from transformers import GPTJConfig, PreTrainedTokenizerFast

import atman_bench
from atman_bench.attention.edit import AttentionEdit, RowMin
from atman_bench.attention.similarity import cosine, suppression_factors
from atman_bench.core.errors import ConfigError, ModelError, SampleError
from atman_bench.core.records import Boxes, Picture, Sample
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods._recorded import mean_attention
from atman_bench.methods.atman import AtManConfig
from atman_bench.methods.chefer import CheferConfig
from atman_bench.methods.input_x_gradient import InputXGradientConfig
from atman_bench.methods.integrated_gradients import IntegratedGradientsConfig
from atman_bench.methods.rollout import roll
from atman_bench.models._base import LoadOptions
from atman_bench.models._image_prefix import (
    ClipResNetConfig,
    ConvConfig,
    Dinov2EncoderConfig,
    ImagePrefix,
    PrefixConfig,
    Resize,
)
from atman_bench.models._magma_checkpoint import load_picture_lm, save_picture_lm
from atman_bench.models._picture_lm import PictureLM, build_decoder

GOLDEN = Path(__file__).parent / "golden" / "magma"
CASES = json.loads((GOLDEN / "cases.json").read_text())
VARIANTS = json.loads((GOLDEN / "atman" / "index.json").read_text())
PICTURES = sorted(path.stem for path in GOLDEN.glob("*.png"))
LAYER_NORM = ["ln", "noln"]
ATOL = 5e-5  # the vectors' own tolerance: float32 rounding of another implementation
ATOL_IG = 1e-4  # ten quadrature points add up
RTOL_FEATURES = 1e-6  # of the largest feature, 283: float32 has seven digits


@pytest.fixture(scope="module")
def models() -> dict[str, PictureLM]:
    """The golden model with and without the LayerNorm after its image projection."""
    paths = {"ln": str(GOLDEN), "noln": f"{GOLDEN},noln"}
    return {ln: atman_bench.load_model(f"magma:{p}", device="cpu", trust_checkpoint=True) for ln, p in paths.items()}


def encode(model, case=CASES[0]):
    parts = [Image.open(GOLDEN / p["image"]) if "image" in p else p["ids"] for p in case["parts"]]
    return model.encode_parts(parts, case["target_ids"])


def golden(file: str, ln: str) -> dict[str, np.ndarray]:
    """Arrays of case 0, by what comes after the variant in their key."""
    prefix = f"c0_{ln}_"
    return {key.removeprefix(prefix): array for key, array in np.load(GOLDEN / file).items() if key.startswith(prefix)}


@pytest.mark.parametrize("picture", PICTURES)
def test_preprocessing_matches_the_release(models, picture):
    """Bit by bit, over color modes: also a palette, which is resized before it becomes RGB."""
    pixels, _ = models["ln"].prefix.preprocess(Image.open(GOLDEN / f"{picture}.png"))
    np.testing.assert_array_equal(pixels, np.load(GOLDEN / "preprocess.npz")[f"{picture}_pixels"])


@pytest.mark.parametrize("ln", LAYER_NORM)
@pytest.mark.parametrize("picture", ["image_a", "image_b"])
def test_image_tokens_match_the_release(models, picture, ln):
    expected = np.load(GOLDEN / "image_prefix.npz")
    prefix = models[ln].prefix
    features = prefix.features(prefix.preprocess(Image.open(GOLDEN / f"{picture}.png"))[0])
    scale = np.abs(expected[f"{picture}_features"]).max()
    np.testing.assert_allclose(features, expected[f"{picture}_features"], atol=RTOL_FEATURES * scale)
    np.testing.assert_allclose(prefix.project(features), expected[f"{picture}_{ln}"], atol=ATOL)


@pytest.mark.parametrize("ln", LAYER_NORM)
def test_embeddings_logits_and_similarities_match_the_release(models, ln):
    model, expected = models[ln], golden("logits.npz", ln)
    encoded = encode(model)
    np.testing.assert_allclose(model.embeddings(encoded)[0], expected["input_embeddings"], atol=ATOL)
    with torch.inference_mode():
        np.testing.assert_allclose(model.run(encoded)[0], expected["logits"], atol=ATOL)
    similarities = cosine(model.embeddings(encoded)[0])
    np.testing.assert_allclose(similarities, np.load(GOLDEN / "cosine.npz")[f"c0_{ln}"], atol=ATOL)


def test_a_half_precision_file_is_computed_in_float32_with_exact_rotations(models):
    path = GOLDEN / "mp_rank_00_model_states_fp16.pt"
    model = atman_bench.load_model(f"magma:{path},noln", device="cpu", trust_checkpoint=True)
    expected = golden("logits_fp16_file.npz", "noln")["prompt_logits_rotary_recomputed"]
    with torch.inference_mode():
        np.testing.assert_allclose(model.run(encode(model))[0, : len(expected)], expected, atol=ATOL)


@pytest.mark.parametrize("engine", EngineMode)
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_atman_losses_match_the_release(models, name, engine):
    ln = name.split("_")[0]
    setting, expected = VARIANTS[name], golden_atman(name)
    model, threshold = models[ln], setting["conceptual_suppression_threshold"]
    encoded = encode(model)
    factors = suppression_factors(
        [[i] for i in expected["c0_suppressed"].tolist()],
        encoded.length,
        1 - setting["suppression_factor"],
        None if threshold is None else cosine(model.embeddings(encoded)[0]),
        threshold,
    )
    layers = frozenset(setting["layers"]) if "layers" in setting else None
    result = sweep(model, encoded, AttentionEdit(factors, row_min=RowMin.ALL, layers=layers), EngineOptions(engine))
    np.testing.assert_allclose(result.plain, expected["c0_default_loss"], atol=ATOL)
    np.testing.assert_allclose(-result.deltas.T, expected["c0_delta"], atol=ATOL)


def golden_atman(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "atman" / f"{name}.npz"))


@pytest.mark.parametrize("ln", LAYER_NORM)
def test_explain_gives_the_release_deltas_with_the_sign_of_the_paper(models, ln):
    encoded = encode(models[ln])
    explanation = explain_encoded(models[ln], encoded, "atman", AtManConfig(kappa=0.2, row_min=RowMin.ALL), 0)
    expected = -golden_atman(f"{ln}_corr_t0.2_f0.1")["c0_delta"][: CASES[0]["prompt_len"]].T
    np.testing.assert_allclose(explanation.per_target, expected, atol=ATOL)


@pytest.mark.parametrize("ln", LAYER_NORM)
def test_chefer_rows_match_the_release(models, ln):
    explanation = explain_encoded(models[ln], encode(models[ln]), "chefer", CheferConfig(), 0)
    np.testing.assert_allclose(
        explanation.per_target, golden("chefer.npz", ln)["row"][:, : CASES[0]["prompt_len"]], atol=ATOL
    )


@pytest.mark.parametrize("ln", LAYER_NORM)
def test_rollout_matches_the_release(models, ln):
    expected = golden("rollout.npz", ln)["rollout"][-1]
    np.testing.assert_allclose(roll(mean_attention(models[ln], encode(models[ln]))), expected, atol=ATOL)


@pytest.mark.parametrize("ln", LAYER_NORM)
@pytest.mark.parametrize(
    ("key", "method", "config", "atol"),
    [
        ("ixg", "input_x_gradient", InputXGradientConfig(), ATOL),
        ("ig1", "integrated_gradients", IntegratedGradientsConfig(n_steps=1), ATOL_IG),
        ("ig10", "integrated_gradients", IntegratedGradientsConfig(n_steps=10), ATOL_IG),
    ],
)
def test_captum_methods_match_the_release(models, ln, key, method, config, atol):
    explanation = explain_encoded(models[ln], encode(models[ln]), method, config, 0)
    for target, scores in enumerate(explanation.per_target):
        expected = np.abs(golden("captum_embeddings.npz", ln)[f"{key}_t{target}"]).sum(-1)
        np.testing.assert_allclose(scores, expected[: CASES[0]["prompt_len"]], atol=atol)


def test_a_picture_may_stand_between_texts(models):
    model, case = models["noln"], CASES[1]
    encoded = encode(model, case)
    assert encoded.picture_start == case["image_start"]
    assert encoded.unit_of_position.tolist() == [*range(case["prompt_len"]), -1]
    assert [len(block) for block in encoded.units.blocks] == [2, 16, 6]
    fast, naive = (
        explain_encoded(model, encoded, "atman", AtManConfig(kappa=0.5, engine=engine), 0).per_target
        for engine in (EngineMode.FAST, EngineMode.NAIVE)
    )
    np.testing.assert_allclose(fast, naive, atol=ATOL)


def test_pixels_reach_the_embeddings_at_the_picture_only(models):
    model = models["ln"]
    encoded = encode(model, CASES[1])
    pixels = torch.cat([encoded.pixels, torch.zeros_like(encoded.pixels)]).requires_grad_()
    embeddings = model.embeddings_from_pixels(encoded, pixels)
    torch.testing.assert_close(embeddings[:1], model.embeddings(encoded))
    changed = (embeddings[0] != embeddings[1]).any(-1).nonzero()[:, 0].tolist()
    assert changed == list(range(2, 18))
    embeddings[0, 17].sum().backward()
    assert pixels.grad[0].abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.prefix.parameters())


def test_pixels_need_exactly_one_picture(models):
    encoded = models["ln"].encode_ids([1, 2, 3], [4])
    with pytest.raises(SampleError, match="exactly one picture"):
        models["ln"].embeddings_from_pixels(encoded, torch.zeros(1, 3, 128, 128))


# The official format

SMALL_CLIP = ClipResNetConfig((1, 2, 1, 1), 16)


def tiny(encoder=SMALL_CLIP, layer_norm=True, resize=Resize.CROP) -> PictureLM:
    """A small MAGMA with random weights, running statistics included."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        lm = build_decoder(
            GPTJConfig(
                vocab_size=61,
                n_positions=48,
                n_embd=32,
                n_layer=2,
                n_head=4,
                rotary_dim=4,
                bos_token_id=None,
                eos_token_id=None,
                initializer_range=0.3,
            ),
            adapter_size=8,
        )
        prefix = ImagePrefix(PrefixConfig(encoder, 4 * encoder.stride, resize, layer_norm), 32)
        for tensor in (*lm.parameters(), *prefix.state_dict().values()):
            if tensor.ndim == 1:
                tensor.add_(0.3 * torch.rand_like(tensor))
    return PictureLM("tiny", lm, prefix, None, "hash")


def official_state(model: PictureLM) -> dict[str, torch.Tensor]:
    """Weights under the names of ``mp_rank_00_model_states.pt``, each tensor of a block twice, with some buffers."""
    state = {f"image_prefix.{key}": tensor for key, tensor in model.prefix.state_dict().items()}
    for key, tensor in model.model.state_dict().items():
        name = key.replace(".attn.", ".attn.attention.").replace("fc_in", "c_fc").replace("fc_out", "c_proj")
        state[f"lm.{name}"] = tensor
        if name.startswith("transformer.h."):
            state[name.replace(".h.", ".", 1)] = tensor
    state["word_embedding.weight"] = state["lm.transformer.wte.weight"]
    state["lm.transformer.h.0.attn.attention.masked_bias"] = torch.tensor(-torch.inf)
    return state


SETTINGS = {"n_head": 4, "rotary_dim": 4, "n_positions": 48, "resolution": 128}


def load_state(folder: Path, state: object, settings: object = SETTINGS) -> PictureLM:
    """Write a checkpoint and load it."""
    torch.save(state, folder / "mp_rank_00_model_states.pt")
    (folder / "config.json").write_text(json.dumps(settings))
    return atman_bench.load_model(f"magma:{folder}", device="cpu", trust_checkpoint=True)


def logits_of(model: PictureLM) -> torch.Tensor:
    encoded = model.encode_parts([Image.open(GOLDEN / "image_b.png"), [3, 1, 4]], [15, 9])
    with torch.inference_mode():
        return model.run(encoded)


@pytest.mark.parametrize("wrapped", [True, False], ids=["module", "bare"])
def test_the_official_format_round_trips(tmp_path, wrapped):
    model = tiny()
    state = OrderedDict(official_state(model))
    loaded = load_state(tmp_path, {"module": state, "global_step": 1} if wrapped else state)
    torch.testing.assert_close(logits_of(loaded), logits_of(model))


def test_logits_beyond_the_embedding_stay_in_the_softmax(tmp_path):
    state = official_state(model := tiny())
    state["lm.transformer.wte.weight"] = state["lm.transformer.wte.weight"][:50].clone()
    loaded = load_state(tmp_path, state)
    assert (loaded.vocab_size, logits_of(loaded).shape[-1]) == (50, 61)
    torch.testing.assert_close(logits_of(loaded), logits_of(model))


def test_weights_are_converted_to_the_asked_type(tmp_path):
    load_state(tmp_path, official_state(model := tiny()))
    half = atman_bench.load_model(f"magma:{tmp_path}", device="cpu", dtype="bfloat16", trust_checkpoint=True)
    assert {p.dtype for p in (*half.model.parameters(), *half.prefix.parameters())} == {torch.bfloat16}
    torch.testing.assert_close(logits_of(half).float(), logits_of(model), atol=0.3, rtol=0.1)


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (lambda s: s | {"lm.transformer.h.0.attn.adapter.0.weight": torch.zeros(1)}, SETTINGS, "MAGMA v2"),
        (lambda s: s | {"vision_tower.weight": torch.zeros(1)}, SETTINGS, "'vision_tower.weight' has no place"),
        (lambda s: without(s, "lm.lm_head.weight"), SETTINGS, "'lm.lm_head.weight' is missing"),
        (lambda s: without(s, "lm.transformer.h.1.ln_1.bias"), SETTINGS, "transformer.h.1.ln_1.bias"),
        (lambda s: s, SETTINGS | {"n_head": 5}, "do not fit"),
        (lambda s: s, without(SETTINGS, "resolution"), "does not tell its resolution"),
        (lambda s: s, SETTINGS | {"resolution": 100}, "no multiple of 32"),
        (lambda s: s, SETTINGS | {"heads": 4}, "'heads' is none of"),
        (lambda s: s, [], "should hold a JSON object"),
        (lambda s: {"module": [1]}, SETTINGS, "holds no weights"),
    ],
    ids=[
        "adapters of v2",
        "foreign tensor",
        "no head",
        "one bias",
        "odd heads",
        "no size",
        "odd size",
        "foreign key",
        "list",
        "no dict",
    ],
)
def test_other_checkpoints_are_refused(tmp_path, change, settings, said):
    with pytest.raises(ModelError, match=said):
        load_state(tmp_path, change(official_state(tiny())), settings)


@pytest.mark.parametrize("argument", ["", "nowhere", ",noln"])
def test_a_missing_checkpoint_is_named(argument):
    with pytest.raises(ModelError, match="no checkpoint at"):
        atman_bench.load_model(f"magma:{argument}", trust_checkpoint=True)


def test_a_pickle_is_read_only_if_trusted_and_never_runs_code(tmp_path):
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {}, "print": print}, file)
    with pytest.raises(ModelError, match="trust_checkpoint"):
        atman_bench.load_model(f"magma:{file}")
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        atman_bench.load_model(f"magma:{file}", trust_checkpoint=True)


def test_options_of_the_hub_are_refused():
    with pytest.raises(ConfigError, match="device_map"):
        atman_bench.load_model(f"magma:{GOLDEN}", device_map="auto", trust_checkpoint=True)


# Our format

DINOV2 = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize(
    "encoder",
    [ClipResNetConfig((1, 1, 1, 1), 8), ConvConfig((8, 16), 2, kernel=4), Dinov2EncoderConfig(DINOV2)],
    ids=["clip_resnet", "conv", "dinov2"],
)
def test_our_format_round_trips(tmp_path, encoder, resize):
    model = tiny(encoder, layer_norm=False, resize=resize)
    save_picture_lm(tmp_path, model.model, model.prefix, None)
    loaded = atman_bench.load_model(f"magma:{tmp_path}", device="cpu")
    assert loaded.prefix.config == model.prefix.config
    torch.testing.assert_close(logits_of(loaded), logits_of(model), rtol=0, atol=0)


def test_an_encoder_may_come_from_elsewhere(tmp_path):
    model = tiny(Dinov2EncoderConfig(DINOV2))
    save_picture_lm(tmp_path, model.model, model.prefix, None, with_encoder=False)
    with pytest.raises(ModelError, match="do not fit"):
        load_picture_lm(tmp_path, "tiny", LoadOptions(device="cpu"))
    weights = model.encoder.state_dict()
    loaded = load_picture_lm(tmp_path, "tiny", LoadOptions(device="cpu"), weights)
    torch.testing.assert_close(logits_of(loaded), logits_of(model), rtol=0, atol=0)
    other = {name: tensor + 1 for name, tensor in weights.items()}
    assert load_picture_lm(tmp_path, "tiny", LoadOptions(device="cpu"), other).content_hash != loaded.content_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["prefix"].update(resize="stretch"), "'stretch' is not a valid"),
        (lambda c: c["prefix"]["encoder"].update(kind="vgg"), "'vgg' is not a valid"),
        (lambda c: c["prefix"]["encoder"].update(depth=3), "unknown key 'depth'"),
        (lambda c: c["prefix"]["encoder"].update(kernel=5), "expected 3 or 4"),
        (lambda c: c["prefix"].pop("resolution"), "resolution"),
        (lambda c: c.pop("lm"), "lm"),
        (lambda c: c.update(adapter_size=4), "do not fit"),
    ],
)
def test_a_broken_folder_is_refused(tmp_path, change, said):
    model = tiny(ConvConfig((8,), 1))
    save_picture_lm(tmp_path, model.model, model.prefix, None)
    config = json.loads((tmp_path / "config.json").read_text())
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said):
        load_picture_lm(tmp_path, "tiny", LoadOptions(device="cpu"))


# Samples


@pytest.fixture
def reader(tmp_path) -> PictureLM:
    """A model with a tokenizer of whole words."""
    save_tokenizer(tmp_path / "words")
    model = tiny()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "words")
    save_picture_lm(tmp_path / "model", model.model, model.prefix, tokenizer)
    return load_picture_lm(tmp_path / "model", "tiny", LoadOptions(device="cpu"))


def sample(picture: Picture, target: str = " cat") -> Sample:
    return Sample("s", "the picture shows", target, None, Boxes(((0, 0, 9, 9),)), "g", picture=picture)


def test_units_are_patches_of_the_cropped_picture(reader):
    encoded = reader.encode(sample(Picture(GOLDEN / "image_b.png", (10, 20, 110, 80))))
    assert encoded.units.grid == (4, 4)
    assert encoded.units.size == (100, 60)
    assert encoded.pictures[0].shape == (60, 100, 3)
    # 100 x 60 becomes 213 x 128; the central 128 x 128 starts in column round(42.5) = 42.
    np.testing.assert_allclose(encoded.units.area, (42 / 213 * 100, 0, 170 / 213 * 100, 60))
    assert encoded.unit_of_position.tolist() == [*range(16), -1, -1, -1]


def test_a_squashed_picture_is_covered_whole():
    prefix = tiny(resize=Resize.SQUASH).prefix
    pixels, area = prefix.preprocess(Image.new("RGB", (30, 90)))
    assert (tuple(pixels.shape), area) == ((1, 3, 128, 128), (0, 0, 30, 90))


def test_tokens_run_along_the_rows_of_the_picture():
    prefix = tiny(ConvConfig((8, 8), 0)).prefix
    prefix.enc = nn.AvgPool2d(4)  # a token is the mean colour of its cell
    cells = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    cells[1, 2, 1] = 255
    pixels = [prefix.preprocess(Image.fromarray(c.repeat(64, 0).repeat(64, 1)))[0] for c in cells]
    plain, planted = (prefix.features(p)[0] for p in pixels)
    assert (planted - plain).square().sum(-1).argmax() == 2 * 4 + 1


def test_a_picture_is_read_once_for_all_methods(reader, monkeypatch):
    passes = []
    reader.prefix.enc.register_forward_hook(lambda *_: passes.append(1))
    picture = Picture(GOLDEN / "image_a.png")
    first = reader.encode(sample(picture, " cat"))
    second = reader.encode(sample(picture, "dog"))
    torch.testing.assert_close(first.inputs["inputs_embeds"][:, :16], second.inputs["inputs_embeds"][:, :16])
    assert len(passes) == 1


def test_gradients_flow_when_inference_read_the_picture_first(reader):
    picture = Picture(GOLDEN / "image_a.png")
    reader.complete("the picture shows", 2, picture)
    explanation = explain_encoded(reader, reader.encode(sample(picture)), "chefer", CheferConfig(), 0)
    assert explanation.scores.isfinite().all()


def test_weights_count_the_image_prefix(models):
    model = models["ln"]
    prefix = sum(p.numel() * p.element_size() for p in model.prefix.parameters())
    assert model.weight_bytes == prefix + sum(p.numel() * p.element_size() for p in model.model.parameters())
