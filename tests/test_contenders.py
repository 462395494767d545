"""Value zeroing, TAM, ContextCite, attention flow, free baselines: reference numbers and derivations of our own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import tiny_pictures
import tiny_vlms
import torch
from transformers import PreTrainedModel

import atman_bench
from atman_bench.core.errors import ConfigError, NotApplicableError, SampleError
from atman_bench.core.records import Explained, Modality, Picture
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.evaluation.config import default_methods
from atman_bench.methods import METHODS
from atman_bench.methods._recorded import mean_attention
from atman_bench.methods._subsets import Intervention, InterventionOptions, random_subsets, run_bank
from atman_bench.methods.tam import normalised, rank_gaussian, token_ids, without_interference
from atman_bench.methods.value_zeroing import distances, roll
from atman_bench.metrics.faithfulness import lds
from atman_bench.models._causal_lm import CausalLM

GOLDEN = Path(__file__).parent / "golden"
ZEROING_CASES = json.loads((GOLDEN / "value_zeroing" / "cases.json").read_text())
TAM_CASES = json.loads((GOLDEN / "tam" / "cases.json").read_text())
ATOL_ZEROING = 2e-4  # 1 - cos in float32, and a threshold that cuts entries on one side only


def attribute(model: CausalLM, encoded: Encoded, method: str, **options: Any) -> Attribution:
    spec = METHODS.get(method)
    return spec.explain(model, encoded, spec.config(**options), 0)


def encode(model: CausalLM) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


@pytest.fixture
def picture(tmp_path) -> Picture:
    return tiny_pictures.save_noise(tmp_path / "noise.png", (56, 40))


@pytest.mark.parametrize("case", ZEROING_CASES, ids=lambda case: case["id"])
def test_value_zeroing_is_that_of_inseq_and_of_its_authors(case):
    golden = np.load(GOLDEN / "value_zeroing" / "value_zeroing.npz")
    model = atman_bench.load_model(f"hf:{GOLDEN / 'ifr' / 'checkpoints' / case['checkpoint']}", device="cpu")
    # One target more, since the last one is no part of our input.
    prompt, target = case["input_ids"][: case["prompt"]], [*case["input_ids"][case["prompt"] :], 0]
    encoded = model.encode_ids(prompt, target)
    layers = distances(model, encoded)
    np.testing.assert_allclose(layers.numpy(), golden[f"{case['id']}/layers"], rtol=0, atol=ATOL_ZEROING)
    rollout = golden[f"{case['id']}/rollout"]
    np.testing.assert_allclose(roll(layers).numpy(), rollout, rtol=0, atol=ATOL_ZEROING)
    explained = attribute(model, encoded, "value_zeroing").per_target.numpy()
    rows = range(len(prompt) - 1, len(case["input_ids"]))
    np.testing.assert_allclose(explained, rollout[-1][rows, : len(prompt)], rtol=0, atol=ATOL_ZEROING)


@pytest.mark.parametrize("name", tiny_models.HOSTED)
def test_value_zeroing_does_not_depend_on_its_batch(name):
    model = tiny_models.adapter(name)
    before = tiny_models.state_of(model.model)
    layers, one_by_one = (distances(model, encode(model), batch) for batch in (5, 1))
    assert tiny_models.state_of(model.model) == before
    torch.testing.assert_close(layers, one_by_one, rtol=0, atol=1e-3)  # distances are differences of nearly 1
    assert torch.equal(layers, layers.tril())
    torch.testing.assert_close(layers.sum(-1), torch.ones(layers.shape[:2]))


@pytest.mark.parametrize("case", TAM_CASES, ids=lambda case: case["id"])
def test_the_steps_of_tam_are_those_of_its_authors(case):
    golden = np.load(GOLDEN / "tam" / "tam.npz")
    array = {name: golden[f"{case['id']}/{name}"] for name in ("activation", "earlier_maps", "weights", "different")}
    shape = array["activation"].shape
    earlier = array["earlier_maps"].reshape(len(array["weights"]), -1)
    left = without_interference(array["activation"].ravel(), earlier, array["weights"], array["different"])
    np.testing.assert_allclose(left.reshape(shape), golden[f"{case['id']}/after_removal"], rtol=0, atol=1e-6)
    scaled = normalised(left, golden[f"{case['id']}/text_scores"][:-1]).reshape(shape)
    np.testing.assert_allclose(scaled, golden[f"{case['id']}/normalised"], rtol=0, atol=1e-6)
    filtered = rank_gaussian(golden[f"{case['id']}/normalised"])
    np.testing.assert_allclose(filtered, golden[f"{case['id']}/filtered"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["filter0", "filter1", "filter3", "filter4"])
def test_the_rank_gaussian_filter_is_that_of_its_authors(name):
    golden = np.load(GOLDEN / "tam" / "tam.npz")
    np.testing.assert_allclose(rank_gaussian(golden[f"{name}/input"]), golden[f"{name}/output"], rtol=0, atol=1e-9)
    if f"{name}/output5" in golden:
        wide = rank_gaussian(golden[f"{name}/input"], 5)
        np.testing.assert_allclose(wide, golden[f"{name}/output5"], rtol=0, atol=1e-9)


def test_a_window_of_equal_values_keeps_its_value():
    assert np.array_equal(rank_gaussian(np.full((4, 4), 0.25)), np.full((4, 4), 0.25))
    assert np.array_equal(rank_gaussian(np.zeros((4, 4))), np.zeros((4, 4)))


@pytest.mark.parametrize("name", tiny_vlms.FAMILIES)
def test_tam_maps_image_tokens_and_no_text(name, picture):
    model = tiny_vlms.adapter(name)
    image, both = (
        model.encode_text("Where is the red square ?", " left is", picture=picture, explained=explained)
        for explained in (Explained.IMAGE, Explained.BOTH)
    )
    scores, together = (attribute(model, encoded, "tam").per_target for encoded in (image, both))
    assert scores.isfinite().all()
    assert scores.max() > 0
    assert (together != 0).sum() == (scores != 0).sum()
    ids = token_ids(model, image)
    assert ids[-1] == image.target_ids[0]
    assert all(ids[position] == -1 for (position,) in image.positions_of_units())


def test_tam_refuses_texts_and_encoders(picture):
    model = tiny_models.adapter("llama")
    with pytest.raises(NotApplicableError, match="tam needs an image"):
        attribute(model, encode(model), "tam")
    blip = tiny_vlms.blip2()
    encoded = blip.encode_text("Where is the red square ?", " left", picture=picture, explained=Explained.IMAGE)
    for method in ("tam", "value_zeroing"):
        with pytest.raises(NotApplicableError, match=f"{method} is defined for decoders"):
            attribute(blip, encoded, method)


def test_flow_through_two_layers_is_the_least_capacity_of_each_way():
    model = tiny_models.adapter("llama")
    encoded = encode(model)
    identity = torch.eye(encoded.length)
    lower, upper = ((a + identity) / (a + identity).sum(-1, keepdim=True) for a in mean_attention(model, encoded))
    # Ways share no edge: each passes one position of the middle.
    expected = torch.minimum(upper[encoded.target_rows][:, :, None], lower[None]).sum(1)
    found = attribute(model, encoded, "attention_flow").per_target
    torch.testing.assert_close(found, expected[:, : found.shape[1]], rtol=0, atol=1e-5)


def test_attention_flow_refuses_long_inputs_with_the_limit():
    model = tiny_models.adapter("llama")
    with pytest.raises(SampleError, match="limited to 22 of them; received 23"):
        attribute(model, encode(model), "attention_flow", max_tokens=22)


def test_grad_x_attention_is_made_of_the_models_own_attention_and_its_gradient():
    model = tiny_models.adapter("llama")
    encoded = encode(model)
    found = attribute(model, encoded, "grad_x_attention").per_target
    own: PreTrainedModel = tiny_models.build("llama")
    own.set_attn_implementation("eager")
    for index, (row, target) in enumerate(zip(encoded.target_rows, encoded.target_ids, strict=True)):
        output = own(**encoded.inputs, use_cache=False, output_attentions=True)
        gradients = torch.autograd.grad(output.logits[0, row, target], output.attentions)
        layers = [(a * g)[0, :, row].mean(0).relu() for a, g in zip(output.attentions, gradients, strict=True)]
        expected = torch.stack(layers).sum(0)[: found.shape[1]]
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("edit", Intervention)
def test_context_cite_predicts_subsets_that_it_was_not_fitted_to(edit):
    model = tiny_models.adapter("qwen3")
    chunks = [list(range(first, first + 3)) for first in range(0, 21, 3)]
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS[:1], chunks)
    scores = attribute(model, encoded, "context_cite", edit=edit, n_samples=128).scores
    masks = random_subsets(encoded.uid, len(chunks))
    logprobs = run_bank(model, encoded, masks, InterventionOptions(intervention=edit)).sum(1)
    assert lds(masks, scores.double().numpy(), logprobs.astype(np.float64)) > 0.4
    assert not attribute(model, encoded, "context_cite", edit=edit, alpha=100.0).scores.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_samples": 1}, "n_samples must be at least 2"), ({"alpha": 0.0}, "alpha must be above 0")],
)
def test_context_cite_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        METHODS.get("context_cite").config(**options)


NEW = ["attention_flow", "attnlrp", "context_cite", "cp_lrp", "flashtrace", "gim", "grad_x_attention", "ifr"]
NEW += ["mean_attention", "proxy_spex", "tam", "value_zeroing"]


@pytest.mark.parametrize("modality", Modality)
def test_new_methods_run_only_where_they_are_named(modality):
    assert not set(NEW) & {name.partition(":")[0] for name in default_methods(modality)}
