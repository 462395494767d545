"""How edits and recorders get into a model, and out of it again."""

import pytest
import tiny_models
import torch
from transformers import AttentionInterface

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.patching import IMPLEMENTATION, Editor, Recorder
from atman_bench.core.errors import ModelError
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.models._causal_lm import CausalLM

NAMES = ["llama", "gpt2", "mistral", "gptj", "gpt_neo", "bloom", "falcon", "falcon-alibi"]
IDS = torch.tensor([tiny_models.PROMPT_IDS])


@pytest.fixture(params=NAMES)
def model(request) -> CausalLM:
    return tiny_models.adapter(request.param)


def test_an_edit_is_called_once_per_layer_in_order(model):
    with torch.inference_mode(), model.host.applied(Editor(None)) as session:
        model.logits({"input_ids": IDS}, None, None)
    assert session.calls == list(range(model.host.n_layers))


def test_the_model_is_its_own_again_after_the_block(model):
    before = tiny_models.state_of(model.model)
    with torch.inference_mode():
        own = model.logits({"input_ids": IDS}, None, None)
        with model.host.applied(Editor(AttentionEdit(torch.full((1, IDS.shape[1]), 0.1)))):
            edited = model.logits({"input_ids": IDS}, None, None)
        again = model.logits({"input_ids": IDS}, None, None)
    assert torch.equal(own, again)
    assert (own - edited).abs().max() > 0.01
    assert tiny_models.state_of(model.model) == before


def test_the_model_is_its_own_again_after_an_exception(model):
    before = tiny_models.state_of(model.model)
    with pytest.raises(KeyboardInterrupt), model.host.applied(Editor(None)):
        raise KeyboardInterrupt
    assert tiny_models.state_of(model.model) == before


def test_only_the_chosen_layers_are_edited(model):
    factors = torch.ones(1, IDS.shape[1])
    factors[0, 3] = 0.0
    recorded = []
    for layers in (frozenset({1}), frozenset(), None):
        with torch.inference_mode(), model.host.applied(Editor(AttentionEdit(factors, Form.MASK, layers=layers))):
            recorded.append(model.model(IDS, use_cache=False, output_hidden_states=True).hidden_states)
    upper, none, both = recorded
    torch.testing.assert_close(upper[1], none[1], rtol=0, atol=0)
    assert (upper[-1] - none[-1]).abs().max() > 1e-3
    assert (both[1] - none[1]).abs().max() > 1e-3


def test_recorded_weights_are_causal_distributions(model):
    recorder = Recorder()
    with torch.inference_mode(), model.host.applied(recorder):
        model.logits({"input_ids": IDS}, None, None)
    assert len(recorder.weights) == model.host.n_layers
    for weights in recorder.weights:
        assert weights.shape == (1, 4, IDS.shape[1], IDS.shape[1])
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        assert not weights.triu(1).any()


def test_a_recorded_graph_can_start_at_the_first_layers_weights(model):
    recorder = Recorder(first_is_leaf=True)
    frozen = [(p, p.requires_grad_(False)) for p in model.model.parameters()]
    try:
        with model.host.applied(recorder):
            logit = model.logits({"input_ids": IDS}, [IDS.shape[1] - 1], None)[0, 0, 7]
        gradients = torch.autograd.grad(logit, recorder.weights)
    finally:
        for parameter, _ in frozen:
            parameter.requires_grad_(True)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", ["bloom", "falcon"])
def test_a_forward_that_another_library_put_on_an_instance_is_put_back(name):
    model = CausalLM(name, tiny_models.build(name), None, "")
    module = next(iter(model.host._layers))
    theirs = module.forward  # accelerate replaces the instance's forward on dispatched models
    module.forward = theirs
    with model.host.applied(Editor(None)):
        assert module.__dict__["forward"] is not theirs
    assert module.__dict__["forward"] is theirs


def test_attention_outside_of_a_session_is_refused():
    model = tiny_models.build("llama")
    tiny_models.adapter("llama")  # registers our attention
    model.config._attn_implementation_internal = IMPLEMENTATION
    with pytest.raises(ModelError, match=r"outside of AttentionHost\.applied"):
        model(IDS)


def test_an_argument_that_changes_attention_in_an_unknown_way_is_refused_by_name():
    attention = AttentionInterface()[IMPLEMENTATION]
    with pytest.raises(ModelError, match="Linear passes position_bias to its attention"):
        attention(torch.nn.Linear(1, 1), IDS, IDS, IDS, None, position_bias=IDS, is_causal=True)


@pytest.mark.parametrize("name", ["llama", "gptj", "bloom"])
def test_half_precision_is_hosted(name):
    model = CausalLM(name, tiny_models.build(name).to(torch.bfloat16), None, "")
    model.probe()
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    factors = torch.ones(2, encoded.length)
    factors[0, 0], factors[1, 12] = 0.1, 0.0
    edit = AttentionEdit(factors, Form.LOG)
    fast, naive = (
        sweep(model, encoded, edit, EngineOptions(mode)).losses for mode in (EngineMode.FAST, EngineMode.NAIVE)
    )
    # Eight bits of mantissa on losses around 10.
    torch.testing.assert_close(fast, naive, rtol=0, atol=0.2)


def test_losses_of_half_precision_are_computed_in_float32_from_the_models_logits():
    model = CausalLM("llama", tiny_models.build("llama").to(torch.bfloat16), None, "")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    plain = sweep(model, encoded, AttentionEdit(torch.ones(0, encoded.length)), EngineOptions(EngineMode.NAIVE)).plain
    with torch.no_grad(), model.host.applied(Editor(None)):
        logits = model.model(encoded.inputs["input_ids"]).logits[0, encoded.target_rows]
    assert logits.dtype is torch.bfloat16
    expected = -logits.double().log_softmax(-1)[torch.arange(len(logits)), encoded.target_ids]
    torch.testing.assert_close(plain, expected.float(), rtol=1e-6, atol=0)
