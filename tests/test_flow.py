"""Information flow: FlashTrace's own numbers, and parts that add up to the whole in every family."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_pictures
import tiny_vlms
import torch
from torch import nn

import atman_bench
from atman_bench.core.errors import ConfigError, NotApplicableError, SampleError
from atman_bench.core.records import Explained, Picture
from atman_bench.core.tensors import Encoded
from atman_bench.methods._flow import record_flow
from atman_bench.models._base import ModelAdapter
from atman_bench.models._causal_lm import CausalLM

GOLDEN = Path(__file__).parent / "golden"
IFR_CASES = json.loads((GOLDEN / "ifr" / "cases.json").read_text())
FLASHTRACE_CASES = json.loads((GOLDEN / "flashtrace" / "cases.json").read_text())
ATOL = 5e-5  # the vectors' own tolerance: eight times the float32 noise
SINKS = {"gpt_oss"}
"""Attention rows that do not add up to 1."""


@cache
def checkpoint(name: str) -> ModelAdapter:
    return atman_bench.load_model(f"hf:{GOLDEN / 'ifr' / 'checkpoints' / name}", device="cpu")


@pytest.mark.parametrize(("row", "array"), [("predict", "per_target"), ("own", "per_target_own")])
@pytest.mark.parametrize("case", IFR_CASES, ids=lambda case: case["id"])
def test_ifr_is_that_of_its_peer(case, row, array):
    golden = np.load(GOLDEN / "ifr" / "ifr.npz")
    result = atman_bench.explain(
        checkpoint(case["checkpoint"]),
        prompt_ids=case["prompt_ids"],
        target_ids=case["target_ids"],
        method="ifr",
        row=row,
    )
    expected = golden[f"{case['id']}/{array}"]
    np.testing.assert_allclose(result.per_target, expected, rtol=0, atol=ATOL)
    np.testing.assert_allclose(result.scores, expected.mean(0), rtol=0, atol=ATOL)


@pytest.mark.parametrize("case", FLASHTRACE_CASES, ids=lambda case: case["id"])
def test_flashtrace_is_that_of_its_authors(case):
    golden = np.load(GOLDEN / "flashtrace" / "flashtrace.npz")
    ids = case["prompt_ids"]
    result = atman_bench.explain(
        checkpoint(case["checkpoint"]),
        prompt_ids=ids,
        target_ids=case["target_ids"],
        method="flashtrace",
        **case["options"],
    )
    np.testing.assert_allclose(result.scores, golden[case["expected"]][: len(ids)], rtol=0, atol=ATOL)


def encode(model: CausalLM) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


@pytest.mark.parametrize("name", [name for name in tiny_models.HOSTED if name not in SINKS])
def test_residual_and_parts_add_up_to_the_whole_but_for_what_biases_add(name):
    model = tiny_models.adapter(name)
    before = tiny_models.state_of(model.model)
    encoded = encode(model)
    flow = record_flow(model, encoded, range(encoded.length), "ifr")
    assert tiny_models.state_of(model.model) == before
    biased = any("bias" in parameter for parameter, _ in model.model.named_parameters())
    for layer in flow.layers:
        values = layer.values.repeat_interleave(len(layer.weights) // len(layer.values), dim=0)
        parts = (layer.weights @ values).transpose(0, 1).flatten(1) @ layer.projection
        rest = layer.whole - layer.before - parts
        assert parts.abs().max() > 1e-2
        # Rows of attention add up to 1: a bias adds the same to each of them.
        constant = rest[:1] if biased else torch.zeros_like(rest[:1])
        torch.testing.assert_close(rest, constant.expand_as(rest), rtol=0, atol=2e-5 * float(layer.whole.abs().max()))


@pytest.mark.parametrize("name", tiny_models.HOSTED)
def test_a_span_of_one_target_is_that_targets_flow(name):
    model = tiny_models.adapter(name)
    ids = {"prompt_ids": tiny_models.PROMPT_IDS, "target_ids": tiny_models.TARGET_IDS}
    per_target = atman_bench.explain(model, **ids, method="ifr").per_target
    assert per_target.isfinite().all()
    assert (per_target >= 0).all()
    assert 0 < per_target[0].sum() < model.host.n_layers
    # Two thinking tokens and no hop leave the last target alone.
    last = atman_bench.explain(model, **ids, method="flashtrace", thinking=2, hops=0).scores
    torch.testing.assert_close(last, per_target[-1], rtol=0, atol=1e-5)


@pytest.fixture
def picture(tmp_path) -> Picture:
    return tiny_pictures.save_noise(tmp_path / "noise.png", (56, 40))


@pytest.mark.parametrize("name", tiny_vlms.FAMILIES)
def test_image_tokens_have_shares(name, picture):
    model = tiny_vlms.adapter(name)
    encoded = model.encode_text("Where is the red square ?", " left is", picture=picture, explained=Explained.IMAGE)
    flow = record_flow(model, encoded, encoded.target_rows.tolist(), "ifr")
    shares = flow.into({encoded.target_rows[0].item(): 1.0})
    assert shares.isfinite().all()
    assert (shares[encoded.unit_of_position >= 0] > 0).float().mean() > 0.5


def test_an_own_row_is_refused_where_the_whole_model_makes_positions_or_masks(picture):
    model = tiny_vlms.adapter("qwen2_vl")
    encoded = model.encode_text("Where is the red square ?", " left is", picture=picture, explained=Explained.IMAGE)
    with pytest.raises(NotApplicableError, match="use row=predict"):
        record_flow(model, encoded, [encoded.length], "ifr")


def test_own_rows_of_image_samples_run_where_the_decoder_makes_its_own_positions(picture):
    model = tiny_pictures.adapter()
    encoded = model.encode_text("This is a picture of a", " cat", picture=picture, explained=Explained.BOTH)
    flow = record_flow(model, encoded, [encoded.length], "ifr")
    assert flow.into({encoded.length: 1.0}).shape == (encoded.length + 1,)


class Scaled(nn.Module):
    """A decoder layer whose attention is halved before it is added, as by a multiplier of residuals."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.self_attn, self.mlp, self.norm = layer.self_attn, layer.mlp, layer.input_layernorm
        self.post_attention_layernorm = layer.post_attention_layernorm

    def forward(self, hidden_states: torch.Tensor, **arguments: object) -> torch.Tensor:
        hidden_states = hidden_states + self.self_attn(hidden_states=self.norm(hidden_states), **arguments)[0] / 2
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def test_a_layer_whose_attention_is_not_simply_added_is_refused_by_name():
    built = tiny_models.build("llama")
    built.model.layers[1] = Scaled(built.model.layers[1])
    model = CausalLM("llama", built, None, "llama")
    with pytest.raises(NotApplicableError, match=r"through model\.layers\.1\.self_attn .*not simply added"):
        record_flow(model, encode(model), [3], "ifr")


def test_thinking_must_leave_an_answer():
    model = tiny_models.adapter("llama")
    ids = {"prompt_ids": tiny_models.PROMPT_IDS, "target_ids": tiny_models.TARGET_IDS}
    with pytest.raises(SampleError, match="thinking=3 leaves nothing of 3 target tokens"):
        atman_bench.explain(model, **ids, method="flashtrace", thinking=3)
    with pytest.raises(ConfigError, match="hops must be at least 0, received -1"):
        atman_bench.explain(model, **ids, method="flashtrace", hops=-1)


def test_models_that_attend_to_images_in_an_encoder_are_refused(picture):
    model = tiny_vlms.blip2()
    encoded = model.encode_text("Where is the red square ?", " left", picture=picture, explained=Explained.IMAGE)
    with pytest.raises(NotApplicableError, match="ifr is defined for decoders"):
        record_flow(model, encoded, [0], "ifr")
