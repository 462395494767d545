"""Steering: an edited generation with cached keys and values is the one that runs everything again at each step."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
import torch

import atman_bench
from atman_bench.api.steering import Change, Continuation, SteeringConfig, generate, steer
from atman_bench.attention.edit import AttentionEdit, Form, RowMin
from atman_bench.attention.patching import Editor
from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, SampleError, UnknownNameError
from atman_bench.models._causal_lm import CausalLM

N = 8
"""Generated tokens: together with the prompt far beyond the tiny models' sliding windows."""

WATCHED = [3, 50]
PROMPT = "Ada was born in Bern and Rome . Q: Where does Ada live ? A:"


def edit_of(form: Form = Form.SHIFTED, factor: float = 3.0, layers: frozenset[int] | None = None) -> AttentionEdit:
    """Amplify position 4 and suppress positions 9 and 10."""
    factors = torch.ones(1, len(tiny_models.PROMPT_IDS) + N)
    factors[0, 4], factors[0, 9:11] = factor, 0.1
    return AttentionEdit(factors, form, layers=layers)


def recomputed(model: CausalLM, edit: AttentionEdit) -> Continuation:
    """The whole text through the model at every step, without a cache."""
    ids, logprobs = list(tiny_models.PROMPT_IDS), []
    for _ in range(N):
        now = replace(edit, factors=edit.factors[:, : len(ids)])
        with torch.inference_mode(), model.host.applied(Editor(now)):
            row = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
        logprobs.append(row[WATCHED])
        ids.append(int(row.argmax()))
        if ids[-1] == 1:  # the end-of-text token of the tiny models
            ids.pop()
            break
    return Continuation(tuple(ids[len(tiny_models.PROMPT_IDS) :]), torch.stack(logprobs))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> CausalLM:
    folder = tmp_path_factory.mktemp("llama")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    return atman_bench.load_model(f"hf:{folder}", device="cpu")


@pytest.mark.parametrize("name", sorted(tiny_models.HOSTED))
def test_cached_generation_equals_recomputing_every_step(name):
    model = tiny_models.adapter(name)
    edit = edit_of()
    cached = generate(model, tiny_models.PROMPT_IDS, edit, N, WATCHED)
    expected = recomputed(model, edit)
    assert cached.ids == expected.ids
    torch.testing.assert_close(cached.logprobs, expected.logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("edit", [edit_of(Form.LITERAL), edit_of(Form.LOG), edit_of(Form.MASK, 1.0)], ids=str)
def test_every_form_is_exact_with_a_cache(edit):
    model = tiny_models.adapter("gemma3")
    expected = recomputed(model, edit)
    cached = generate(model, tiny_models.PROMPT_IDS, edit, N, WATCHED)
    torch.testing.assert_close(cached.logprobs, expected.logprobs, atol=1e-4, rtol=0)


def test_generation_equals_transformers_own_under_the_same_edit():
    model = tiny_models.adapter("gpt2")
    edit = edit_of()
    ids = torch.tensor([tiny_models.PROMPT_IDS])
    with torch.inference_mode(), model.host.applied(Editor(edit)):
        grown = model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=N, do_sample=False)
    own = tuple(i for i in grown[0, ids.shape[1] :].tolist() if i != 1)
    assert generate(model, tiny_models.PROMPT_IDS, edit, N).ids == own


def test_factors_of_one_and_no_layers_generate_the_plain_text():
    model = tiny_models.adapter("llama")
    plain = generate(model, tiny_models.PROMPT_IDS, None, N, WATCHED)
    ones = AttentionEdit(torch.ones(1, len(tiny_models.PROMPT_IDS) + N))
    for edit in (ones, edit_of(layers=frozenset())):
        torch.testing.assert_close(generate(model, tiny_models.PROMPT_IDS, edit, N, WATCHED).logprobs, plain.logprobs)


def test_a_layer_alone_is_another_edit():
    model = tiny_models.adapter("llama")
    one, both = (
        generate(model, tiny_models.PROMPT_IDS, edit_of(layers=layers), 1, WATCHED) for layers in (frozenset({1}), None)
    )
    assert not torch.equal(one.logprobs, both.logprobs)


def test_generation_stops_at_the_end_of_the_text_and_leaves_the_model_as_it_was():
    model = tiny_models.adapter("llama")
    before = tiny_models.state_of(model.model)
    first = generate(model, tiny_models.PROMPT_IDS, None, 1).ids[0]
    ends = model.model.generation_config.eos_token_id
    model.model.generation_config.eos_token_id = [first]
    try:
        stopped = generate(model, tiny_models.PROMPT_IDS, None, N, WATCHED)
    finally:
        model.model.generation_config.eos_token_id = ends
    assert stopped.ids == ()
    assert stopped.logprobs.shape == (1, 2)
    assert tiny_models.state_of(model.model) == before


def test_looking_ahead_is_refused():
    with pytest.raises(ConfigError, match="not generated yet"):
        SteeringConfig(row_min=RowMin.ALL)
    looking_ahead = replace(edit_of(), row_min=RowMin.ALL)
    with pytest.raises(ConfigError, match="not generated yet"):
        generate(tiny_models.adapter("llama"), tiny_models.PROMPT_IDS, looking_ahead, N)


def test_a_text_beyond_the_context_window_is_refused():
    with pytest.raises(SampleError, match="context window"):
        generate(tiny_models.adapter("gpt2"), [2] * 64, None, 2)


def test_a_word_is_edited_wherever_it_occurs_and_a_range_once(model):
    steered = steer(model, PROMPT, [Change("Ada", 3.0), Change("21:24", 0.1)], 3)
    assert [factor for _, factor in steered.edited] == [3.0, 0.1, 3.0]


def test_the_first_step_of_a_topic_is_the_models_own_log_probability(model):
    (topic,) = steer(model, PROMPT, [Change("Bern", 0.1)], 3, topics=["Rome"]).topics
    encoded = model.encode_text(PROMPT, " Rome")
    assert topic.first.plain == pytest.approx(model.plain(encoded).logprobs[0], abs=1e-4)
    assert topic.first.shift == topic.first.steered - topic.first.plain


@pytest.mark.parametrize(
    ("changes", "config", "error", "said"),
    [
        ([], SteeringConfig(), ConfigError, "nothing"),
        ([Change("Berne", 0.1)], SteeringConfig(), UnknownNameError, "did you mean 'Bern'"),
        ([Change("90:95", 0.1)], SteeringConfig(), ConfigError, "not in the prompt"),
        ([Change("3:4", 0.1)], SteeringConfig(), ConfigError, "no token"),
        ([Change("Ada", 2.0), Change("1:2", 0.1)], SteeringConfig(), ConfigError, "both change the token 'Ada'"),
        ([Change("Ada", 2.0)], SteeringConfig(Form.MASK), ConfigError, "cannot amplify"),
        ([Change("Ada", 2.0)], SteeringConfig(layers=(2,)), ConfigError, "layer 2 does not exist"),
    ],
)
def test_what_cannot_be_steered_is_refused(model, changes, config, error, said):
    with pytest.raises(error, match=said):
        steer(model, PROMPT, changes, 3, config)


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", "steer", "--device", "cpu", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


ASKED = "Adele Bruno lives in Amber Bay. Fabian Oakley lives in Maple Lake. Q: Where does Adele Bruno live? A:"


def test_suppressing_the_answer_moves_the_embedded_model_away_from_it(run, tmp_path: Path):
    path = tmp_path / "steered.json"
    code, out, _ = run("--prompt", ASKED, "--suppress", "Amber Bay=1", "--json", str(path), "--max-new-tokens", "4")
    data = json.loads(path.read_text())
    assert code == 0
    assert "plain" in out
    assert data["plain"].startswith(" Amber Bay")
    assert not data["steered"].startswith(" Amber Bay")
    (topic,) = data["topics"]
    assert topic["first"]["steered"] < topic["first"]["plain"] - 1


def test_amplifying_another_place_raises_its_log_probability(run):
    _, out, _ = run("--prompt", ASKED, "--amplify", "55:65=3", "--form", "shifted", "--json", "-")
    (topic,) = json.loads(out)["topics"]
    assert topic["word"] == "Maple Lake"
    assert topic["first"]["steered"] > topic["first"]["plain"] + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to steer by"),
        (["--amplify", "soccer"], "soccer=3"),
        (["--amplify", "soccer=0.5"], "above 1"),
        (["--suppress", "math=2"], "0 < f <= 1"),
        (["--suppress", "math=0.9", "--set", "row_min=all"], "not generated yet"),
        (["--suppress", "math=0.9", "--form", "literally"], "did you mean 'literal'"),
    ],
)
def test_bad_input_is_one_line(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
