"""The Python API: a model from a folder, a prompt as text or as ids, options checked."""

from pathlib import Path

import pytest
import tiny_models
import torch
from transformers import BertConfig, BertModel

import atman_bench
from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.similarity import cosine, suppression_factors
from atman_bench.core.errors import ConfigError, ModelError, SampleError, UnknownNameError
from atman_bench.methods._engine import EngineOptions, sweep
from atman_bench.models._causal_lm import CausalLM

PROMPT = "Ada was born in Bern . Q: Where does Ada live ? A:"
TARGET = " Bern and Rome"
IDS = {"prompt_ids": tiny_models.PROMPT_IDS, "target_ids": tiny_models.TARGET_IDS}
TEXT = {"prompt": PROMPT, "target": TARGET}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("with_tokenizer")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> CausalLM:
    return atman_bench.load_model(f"hf:{folder}", device="cpu")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tiny_models.save_tokenizer(folder)
    return folder


def test_text_is_explained_token_by_token(model):
    result = atman_bench.explain(model, **TEXT)
    assert result.units.texts == tuple(PROMPT.split())
    assert [PROMPT[a:b] for a, b in result.units.spans] == PROMPT.split()
    assert result.target_texts == ("Bern", "and", "Rome")
    assert result.per_target.shape == (3, len(PROMPT.split()))
    assert result.cost.forward_tokens > 0
    assert all(logprob < 0 for logprob in result.target_logprobs)


def test_ids_need_no_tokenizer_and_give_the_same_scores(model, tmp_path):
    tiny_models.save("llama", tmp_path)
    without = atman_bench.load_model(f"hf:{tmp_path}", device="cpu")
    tokenizer = model.tokenizer
    ids = atman_bench.explain(
        without, prompt_ids=tokenizer(PROMPT)["input_ids"], target_ids=tokenizer(TARGET)["input_ids"]
    )
    torch.testing.assert_close(ids.scores, atman_bench.explain(model, **TEXT).scores)
    with pytest.raises(ModelError, match="has no tokenizer in its folder; pass prompt_ids and target_ids"):
        atman_bench.explain(without, **TEXT)


def test_the_greedy_continuation_is_answered_and_another_is_not(model):
    with torch.inference_mode():
        best = model.model(torch.tensor([IDS["prompt_ids"]])).logits[0, -1].argmax().item()
    other = (best + 1) % tiny_models.VOCABULARY
    answered = [
        atman_bench.explain(model, prompt_ids=IDS["prompt_ids"], target_ids=[t], method="uniform").answered
        for t in (best, other)
    ]
    assert answered == [True, False]


def test_suppressing_no_layer_changes_nothing(model):
    scores = atman_bench.explain(model, **IDS, layers=[]).scores
    torch.testing.assert_close(scores, torch.zeros_like(scores), rtol=0, atol=0)


def test_options_are_read_as_in_a_configuration_file(model):
    explained = atman_bench.explain(model, **IDS, form="log", f=1, layers=[1], kappa=None, engine="naive", batch=3)
    factors = 1 - torch.eye(len(IDS["prompt_ids"]), len(IDS["prompt_ids"]) + len(IDS["target_ids"]) - 1)
    edit = AttentionEdit(factors, Form.LOG, layers=frozenset({1}))
    expected = sweep(model, model.encode_ids(**IDS), edit, EngineOptions())
    torch.testing.assert_close(explained.per_target, expected.deltas, rtol=0, atol=1e-4)


def test_an_external_model_says_which_tokens_are_alike(model, embedder):
    explained = atman_bench.explain(model, **TEXT, similarity="external", embedder=str(embedder), kappa=0.7)
    encoded = model.encode_text(PROMPT, TARGET)
    with torch.inference_mode():
        hidden = BertModel.from_pretrained(embedder).eval()(torch.tensor([model.tokenizer(PROMPT)["input_ids"]]))
    embeddings = torch.zeros(encoded.length, 16)
    embeddings[: len(PROMPT.split())] = hidden.last_hidden_state[0]
    factors = suppression_factors(encoded.positions_of_units(), encoded.length, 0.9, cosine(embeddings), 0.7)
    assert (factors != 1).sum() > len(encoded.units)  # some tokens have neighbours
    expected = sweep(model, encoded, AttentionEdit(factors), EngineOptions())
    torch.testing.assert_close(explained.per_target, expected.deltas, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (TEXT | IDS, ConfigError, "either prompt and target"),
        ({}, ConfigError, "either prompt and target"),
        ({"target": TARGET}, ConfigError, "either prompt and target"),
        (TEXT | {"messages": [{"role": "user", "content": "x"}]}, ConfigError, "either prompt and target"),
        ({"messages": [{"role": "user", "content": "x"}]}, ModelError, "no chat template"),
        ({"prompt": "?", "explained": "context"}, ConfigError, "a question and no context"),
        ({"prompt": "Ada .", "explained": "context"}, ConfigError, "holds no question mark"),
        (TEXT | {"explained": "5:999"}, ConfigError, "range 5:999 is not in the prompt"),
        (TEXT | {"explained": "image"}, ConfigError, "explained=image needs an image"),
        (TEXT | {"explained": "picture"}, UnknownNameError, "valid: START:END, both, context, image, text"),
        (TEXT | {"stop": "."}, ConfigError, "stop ends the model's own answer"),
        ({"prompt": PROMPT, "stop": ""}, ConfigError, "stop holds an empty text"),
        ({"prompt": PROMPT, "max_new_tokens": 0}, ConfigError, "max_new_tokens must be at least 1"),
        ({"prompt": PROMPT, "target_ids": [1]}, ConfigError, "either prompt and target"),
        (IDS | {"method": "atmann"}, UnknownNameError, "unknown method 'atmann': did you mean 'atman'"),
        (IDS | {"kapa": 0.7}, UnknownNameError, "'kapa': did you mean 'kappa'"),
        (IDS | {"form": "shift"}, UnknownNameError, "did you mean 'shifted'"),
        (IDS | {"engine": "quick"}, UnknownNameError, "valid: fast, lean, naive"),
        (IDS | {"kappa": 1.5}, ConfigError, "kappa is a cosine similarity: expected -1 to 1 or null, received 1.5"),
        (IDS | {"f": "much"}, ConfigError, "methods.atman.f must be a number, received 'much'"),
        (IDS | {"form": "log", "f": 1.5}, ConfigError, "expected 0 to 1, received 1.5"),
        (IDS | {"f": 2}, ConfigError, "received 2, which multiplies it by -1; to amplify parts of a prompt use"),
        (IDS | {"method": "adaptive", "f": -0.5}, ConfigError, "expected 0 to 1, received -0.5"),
        (IDS | {"layers": [2]}, ConfigError, "layer 2 does not exist: expected 0 to 1"),
        (IDS | {"layers": [-1]}, ConfigError, "layer -1 does not exist: expected 0 to 1"),
        (IDS | {"batch": 0}, ConfigError, "batch must be at least 1, received 0"),
        (IDS | {"similarity": "external"}, ConfigError, "embedder belong together"),
        (IDS | {"similarity": "softmax", "kappa": 0.7}, ConfigError, "leave kappa out"),
        (
            IDS | {"similarity": "external", "embedder": "missing", "kappa": 0.7},
            ConfigError,
            "give a text prompt, not token ids",
        ),
        (TEXT | {"similarity": "external", "embedder": "./missing", "kappa": 0.7}, ModelError, "cannot load embedder"),
        (IDS | {"method": "gradcam"}, ConfigError, "gradcam needs an image"),
        (IDS | {"method": "integrated_gradients", "n_steps": 0}, ConfigError, "n_steps must be at least 1"),
        (IDS | {"units": [[0, 1], [1, 2]]}, SampleError, "unit 1 holds position 1; units must be disjoint"),
        (IDS | {"units": [[21]]}, SampleError, "groups of positions in 0..20"),
        (IDS | {"prompt_ids": []}, SampleError, "the prompt is empty"),
        (IDS | {"target_ids": []}, SampleError, "the target is empty"),
        (IDS | {"target_ids": [96]}, SampleError, "token id 96 is outside the vocabulary of 96"),
        (IDS | {"prompt_ids": [1] * 255}, SampleError, "257 tokens exceed the model's context window of 256"),
    ],
    ids=lambda value: None if isinstance(value, dict | type) else value,
)
def test_impossible_requests_are_refused_with_what_to_do(model, arguments, error, message):
    with pytest.raises(error) as raised:
        atman_bench.explain(model, **arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hff:x", UnknownNameError, "unknown model 'hff': did you mean 'hf'"),
        ("hf", ModelError, "needs a folder or a hub id"),
        ("tiny-text:large", ModelError, "takes no argument"),
    ],
)
def test_models_that_do_not_exist_are_refused(name, error, message):
    with pytest.raises(error, match=message):
        atman_bench.load_model(name)


def test_pickled_weights_are_read_only_when_trusted(tmp_path):
    model = tiny_models.build("llama")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load model"):
        atman_bench.load_model(f"hf:{tmp_path}", device="cpu")
    trusted = atman_bench.load_model(f"hf:{tmp_path}", device="cpu", trust_checkpoint=True)
    assert torch.equal(trusted.model.lm_head.weight, model.lm_head.weight)


def test_the_content_hash_changes_with_the_weights(folder, tmp_path):
    changed = tiny_models.build("llama")
    with torch.no_grad():
        changed.lm_head.weight[0, 0] += 1
    changed.save_pretrained(tmp_path)
    tiny_models.save_tokenizer(tmp_path)
    hashes = {atman_bench.load_model(f"hf:{f}", device="cpu").content_hash for f in (folder, folder, tmp_path)}
    assert len(hashes) == 2


def test_without_a_method_many_units_are_explained_in_two_stages_and_the_map_says_so(model, monkeypatch):
    exact = atman_bench.explain(model, **IDS)
    assert (exact.method, exact.remarks) == ("atman", ())
    monkeypatch.setattr("atman_bench.api.explain.MOST_EXACT_UNITS", len(IDS["prompt_ids"]) - 1)
    found = atman_bench.explain(model, **IDS)
    assert (found.method, found.variant) == ("adaptive", "shifted-budget0.25")
    assert f"of {len(IDS['prompt_ids'])} units are suppressed exactly, the others estimated" in found.remarks[-1]
    assert atman_bench.explain(model, method="atman", **IDS).scores.equal(exact.scores)
