import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import atman_bench
from atman_bench.datasets.facts import FactsConfig, load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "atman_bench" / "models" / "weights" / "tiny_text"


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_tiny_text", ROOT / "scripts" / "train_tiny_text.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_package_carries_at_most_8_mb():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= 8e6


@torch.inference_mode()
def test_answers_held_out_questions_exactly(model, tokenizer):
    samples = load(FactsConfig(n=100, seed=7)).samples
    right = 0
    for sample in samples:
        prompt, target = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (sample.prompt, sample.target))
        answer = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=target.shape[1] + 1, do_sample=False
        )
        right += tokenizer.decode(answer[0, prompt.shape[1] :]) == sample.target + tokenizer.eos_token
    assert right >= 95


@torch.inference_mode()
def test_answer_follows_the_context(model, tokenizer):
    """Renaming the evidence renames the answer: the model reads, it does not remember."""
    prompt = "Jasper Quimby lives in {}. Clara Oakley lives in Elder Falls. Q: Where does Jasper Quimby live? A:"
    for place in ("Cedar Point", "Raven Valley"):
        ids = tokenizer(prompt.format(place), return_tensors="pt")
        answer = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(answer, skip_special_tokens=True) == " " + place


def test_our_loader_reads_the_tokens_it_was_trained_on(tokenizer):
    text = load(FactsConfig(n=1)).samples[0].prompt
    assert atman_bench.load_model("tiny-text").tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_prompt_and_target_meet_at_a_token_border(tokenizer):
    for sample in load(FactsConfig(n=50)).samples:
        prompt, target, both = (
            tokenizer(text)["input_ids"] for text in (sample.prompt, sample.target, sample.prompt + sample.target)
        )
        assert prompt + target == both


def test_evidence_is_whole_tokens(tokenizer):
    for sample in load(FactsConfig(n=50)).samples:
        ((start, end),) = sample.label.spans
        encoded = tokenizer(sample.prompt, return_offsets_mapping=True)
        evidence = [
            token
            for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            if first < end and last > start
        ]
        assert evidence == tokenizer(sample.target)["input_ids"]


def test_any_text_survives_the_tokenizer(tokenizer):
    text = "naïve café 東京 🚢\n\ttab  two spaces"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@torch.inference_mode()
def test_packed_questions_are_read_as_if_alone(script, model, tokenizer):
    batch = script.draw_batch(script.random.Random(0), tokenizer, script.SHAPES, replace(script.QUICK, batch=2))
    packed = model(batch.tokens, attention_mask=batch.masks(), position_ids=batch.positions).logits
    for row, segment in ((0, 1), (0, 3), (1, 2)):
        segments = batch.segments[row]
        alone = model(batch.tokens[None, row, (segments == 0) | (segments == segment)]).logits[0]
        torch.testing.assert_close(packed[row, segments == segment], alone[(segments == 0).sum() :], atol=1e-4, rtol=0)


def test_training_script_writes_a_loadable_folder(script, tmp_path):
    script.train(replace(script.QUICK, steps=1), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.vocab_size == config["vocab_size"]
    assert len(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == config["vocab_size"]
