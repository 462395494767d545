"""int8 weights: what is quantised, that maps are those of the rounded weights, and that stored runs never mix."""

from importlib.util import find_spec

import pytest
import tiny_models
import tiny_vlms
import torch

from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.records import Dtype, Quantization, dtype_in
from atman_bench.evaluation import runner
from atman_bench.evaluation.config import load_config
from atman_bench.evaluation.randomised import layers_of
from atman_bench.evaluation.store import cells
from atman_bench.methods import METHODS
from atman_bench.models._base import LoadOptions
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._load import load
from atman_bench.models._quantize import quantize

pytestmark = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")


def fresh(name: str) -> CausalLM:
    """``tiny_models.adapter`` is shared by all tests, and weights are replaced here."""
    return CausalLM(name, tiny_models.build(name), None, name)


@pytest.fixture
def quantised() -> CausalLM:
    model = fresh("llama")
    quantize(model, Quantization.INT8)
    return model


def linear_weights(model: CausalLM) -> dict[str, torch.Tensor]:
    found = {name: module.weight for name, module in model.model.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name: weight.detach() for name, weight in found.items() if name != "lm_head"}


def test_each_output_feature_of_the_decoders_linear_layers_is_rounded_to_its_own_255_steps(quantised):
    before = linear_weights(fresh("llama"))
    after = linear_weights(quantised)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        rounded = after[name].dequantize()
        half_a_step = weight.abs().amax(1, keepdim=True) / 127 / 2
        assert ((rounded - weight).abs() <= 1.01 * half_a_step).all()
        assert all(len(row.unique()) <= 255 for row in rounded)
        assert not torch.equal(rounded, weight)


def test_embeddings_norms_and_the_output_head_stay(quantised):
    linear = {f"{name}.weight" for name in linear_weights(quantised)}
    before = fresh("llama").model.state_dict()
    after = quantised.model.state_dict()
    kept = after.keys() - linear
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= kept
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_weights_take_a_byte_an_entry_and_a_scale_and_a_zero_point_a_row(quantised):
    before, after = fresh("llama").weight_bytes, quantised.weight_bytes
    saved = sum(4 * w.numel() - (w.numel() + 5 * len(w)) for w in linear_weights(quantised).values())
    assert before - after == saved


@pytest.mark.parametrize("method", ["atman", "atman_gradient", "input_x_gradient", "attnlrp", "ifr", "chefer"])
def test_maps_are_those_of_a_float_model_with_the_rounded_weights(quantised, method):
    rounded = fresh("llama")
    for name, weight in linear_weights(quantised).items():
        rounded.model.get_submodule(name).weight.data = weight.dequantize()
    spec = METHODS.get(method)
    maps = []
    for model in (quantised, rounded):
        encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
        maps.append(spec.explain(model, encoded, spec.config(), 0).scores)
    torch.testing.assert_close(*maps, rtol=1e-3, atol=1e-5)


def test_edits_pass_the_probe(quantised):
    assert quantised.probe().layers == quantised.host.n_layers


def test_images_are_explained_by_a_quantised_decoder_and_an_encoder_as_it_is():
    plain, model = (load("tiny-magma", LoadOptions(quantize=kind)) for kind in (None, Quantization.INT8))
    assert all(torch.equal(a, b) for a, b in zip(plain.prefix.parameters(), model.prefix.parameters(), strict=True))
    assert model.weight_bytes < plain.weight_bytes


def test_float_and_int8_maps_are_cells_of_their_own(tmp_path):
    runs = [{"limit": 1, "dtype": "float32"}, {"limit": 1, "quantize": "int8"}]
    for flags in runs:
        config = load_config(None, {**flags, "methods": ["atman"], "baselines": False, "results": tmp_path}, [])
        runner.evaluate(config, lambda done, total, doing: None)
    assert {cell.identity.dtype for cell in cells(tmp_path)} == {"float32", "float32-int8"}
    assert len({cell.identity.fingerprint for cell in cells(tmp_path)}) == 2


def test_a_type_with_int8_weights_has_activations_of_its_first_part():
    assert dtype_in("bfloat16-int8") is Dtype.BFLOAT16
    assert (
        load("tiny-text", LoadOptions(dtype=Dtype.BFLOAT16, quantize=Quantization.INT8)).dtype_name == "bfloat16-int8"
    )


def test_without_torchao_the_extra_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("atman_bench.models._quantize.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"quantize int8 needs the package torchao: pip install 'atman-bench\[int8\]'"
    ):
        load("hf:no-such-folder", LoadOptions(quantize=Quantization.INT8))


def test_a_decoder_without_linear_layers_is_refused():
    with pytest.raises(ConfigError, match="the decoder of gpt2 has no linear layers"):
        quantize(fresh("gpt2"), Quantization.INT8)


def test_a_vision_encoder_is_refused():
    with pytest.raises(ConfigError, match="is for decoders, and blip-2 is none"):
        quantize(tiny_vlms.blip2(), Quantization.INT8)


def test_quantised_weights_cannot_be_shuffled(quantised):
    with pytest.raises(NotApplicableError, match="the weights of llama are quantised"):
        layers_of(quantised)
