"""Tokens of a prompt and its target are those of the text that the model reads."""

from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from atman_bench import explain
from atman_bench.core.errors import SampleError
from atman_bench.core.records import CharSpans, Completion, Sample, Word
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.samples import select
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._parts import (
    BYTE_OF_CHARACTER,
    alignment_of,
    completion_of,
    following_part,
    prompt_and_target,
    text_part,
    token_texts,
)

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [
    "▁The",
    "▁capital",
    "▁of",
    "▁France",
    "▁is",
    "▁Paris",
    "▁",
    "Paris",
    "(",
    "▁(",
    "capital",
    ")",
    "▁)",
    "s",
    "▁s",
]
WORDS += ["▁München", "▁Münchens"]
LETTERS = sorted({letter for word in WORDS for letter in word} - set(WORDS))
CAPITAL = "The capital of France is"


def sentencepiece(*left_out: str, template: str | None = "<s> $A") -> PreTrainedTokenizerFast:
    """A tokenizer in the format that Llama 2 and Mistral are published in."""
    words = [word for word in WORDS if word not in left_out]
    pieces = ["<unk>", "<s>", "</s>", *BYTES, *words, *LETTERS]
    scores = [(piece, -1.0 if piece in words else -10.0) for piece in pieces]
    own = Tokenizer(Unigram(scores, unk_id=0, byte_fallback=True))
    own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    own.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if template is not None:
        own.post_processor = processors.TemplateProcessing(template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: every byte is a token."""
    own = Tokenizer(BPE({character: byte for character, byte in BYTE_OF_CHARACTER.items()}, []))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=own)


@cache
def mistral() -> CausalLM:
    tokenizer = sentencepiece("▁Münchens")
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    return CausalLM("mistral", model, tokenizer, "hash")


@pytest.mark.parametrize(
    ("prompt", "target", "expected"),
    [
        (CAPITAL, " Paris", ["▁Paris"]),
        ("(capital", ")", [")"]),
        ("München", "s", ["s"]),
        (CAPITAL, "\nParis", ["<0x0A>", "Paris"]),
    ],
)
def test_a_target_has_the_tokens_that_it_has_behind_the_prompt(prompt, target, expected):
    model = mistral()
    encoded = model.encode_text(prompt, target)
    whole = model.tokenizer(prompt + target)["input_ids"]
    assert model.tokenizer.convert_ids_to_tokens(encoded.target_ids.tolist()) == expected
    assert whole == [*encoded.inputs["input_ids"][0].tolist(), int(encoded.target_ids[-1])]
    assert encoded.remarks == ()


def test_a_text_and_its_tokens_are_explained_alike():
    model = mistral()
    by_text = explain(model, prompt=CAPITAL, target=" Paris")
    ids = model.tokenizer(CAPITAL + " Paris")["input_ids"]
    by_ids = explain(model, prompt_ids=ids[:-1], target_ids=ids[-1:], units=[[i] for i in range(1, len(ids) - 1)])
    torch.testing.assert_close(by_text.scores, by_ids.scores)
    assert by_text.target_logprobs == by_ids.target_logprobs


@pytest.mark.parametrize(("prompt", "target"), [("The München", "s"), (f"{CAPITAL} ", "Paris")])
def test_a_token_that_spans_the_end_of_the_prompt_is_the_targets(prompt, target):
    tokenizer = sentencepiece()
    before, behind = prompt_and_target(tokenizer, prompt, target)
    assert (*before.ids, *behind.ids) == tuple(tokenizer(prompt + target)["input_ids"])
    assert len(behind) == 1
    assert behind.offsets == ((0, len(target)),)
    assert before.offsets[-1][1] == len(prompt.rstrip().removesuffix(" München"))
    assert "spans" in before.remarks[0]


def test_an_encoded_sample_says_that_a_token_spans_and_words_keep_their_places():
    model = mistral()
    prompt = f"{CAPITAL} "
    word = Word((len(prompt), len(prompt) + 5), CharSpans(((0, 3),)))
    sample = Sample("q", prompt, "Paris", (0, len(prompt)), CharSpans(((0, 3),)), "g", words=(word,))
    encoded = model.encode(sample)
    assert len(encoded.remarks) == 1
    assert encoded.units.texts == ("The", " capital", " of", " France", " is")
    assert model.tokenizer.convert_ids_to_tokens(encoded.target_ids.tolist()) == ["▁Paris"]


def test_explaining_says_that_a_token_spans(caplog):
    explain(mistral(), prompt=f"{CAPITAL} ", target="Paris")
    assert ["spans the end of the prompt" in message for message in caplog.messages] == [True]


def test_a_run_counts_the_samples_where_a_token_spans(caplog):
    label = CharSpans(((0, 3),))
    prompts = [f"{CAPITAL} ", f"{CAPITAL} ", CAPITAL]
    samples = tuple(Sample(f"q{i}", p, "Paris", (0, len(CAPITAL)), label, "g") for i, p in enumerate(prompts))
    select(mistral(), Dataset(samples, (), "hash"), RunConfig())
    assert [message.partition(":")[0] for message in caplog.messages] == ["2 of 3 samples of facts"]


def test_a_token_that_holds_the_whole_prompt_leaves_nothing_to_explain():
    with pytest.raises(SampleError, match="white space"):
        mistral().encode_text(" ", "Paris")


def test_byte_level_tokens_of_a_target_are_its_own():
    tokenizer = byte_level()
    before, behind = prompt_and_target(tokenizer, CAPITAL, " Paris")
    assert before.ids == tuple(tokenizer(CAPITAL)["input_ids"])
    assert behind.ids == tuple(tokenizer(" Paris")["input_ids"])
    assert behind.offsets == tuple((i, i + 1) for i in range(6))


def test_an_unknown_word_that_spans_is_the_targets_too():
    own = Tokenizer(WordLevel({"<unk>": 0, "the": 1}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>")
    before, behind = prompt_and_target(tokenizer, "the cat", "fish")
    assert (before.ids, behind.ids) == ((1,), (0,))
    assert "spans" in before.remarks[0]


def test_no_end_token_stands_between_prompt_and_target():
    tokenizer = sentencepiece(template="<s> $A </s>")
    before, behind = prompt_and_target(tokenizer, CAPITAL, " Paris")
    assert tokenizer.eos_token_id not in (*before.ids, *behind.ids)
    assert "special token" in before.remarks[0]


def test_a_prompt_with_its_own_start_token_gets_no_second_one():
    part = text_part(sentencepiece(), f"<s>{CAPITAL}")
    assert part.ids.count(1) == 1
    assert part.offsets[0] == (0, 3)
    assert "start token" in part.remarks[0]


@pytest.mark.parametrize("tokenizer", [byte_level(), sentencepiece()], ids=["byte level", "byte fallback"])
def test_bytes_that_are_no_character_are_shown_as_bytes(tokenizer):
    ids = [i for i in text_part(tokenizer, "你", special=False).ids if tokenizer.convert_ids_to_tokens(i) != "▁"]
    assert token_texts(tokenizer, ids) == ("<0xE4>", "<0xBD>", "<0xA0>")


def test_the_models_own_words_are_the_tokens_that_it_said(monkeypatch):
    model = mistral()
    said = [BYTES.index("<0xE4>") + 3]
    monkeypatch.setattr(model.model, "generate", lambda **_: torch.tensor([said]))
    completion = model.complete(CAPITAL, 1)
    result = explain(model, prompt=CAPITAL, target=completion)
    assert result.target_texts == ("<0xE4>",)
    ids = model.tokenizer(CAPITAL)["input_ids"]
    assert result.target_logprobs == explain(model, prompt_ids=ids, target_ids=said).target_logprobs


def test_a_completion_keeps_its_leading_space_and_ends_at_its_first_line_break():
    tokenizer = sentencepiece()
    before = tokenizer(CAPITAL)["input_ids"]
    said = tokenizer(f"{CAPITAL} Paris (\nThe")["input_ids"][len(before) :]
    completion = completion_of(tokenizer, before, [*said, tokenizer.eos_token_id])
    assert completion == " Paris ("
    assert tokenizer.convert_ids_to_tokens(completion.ids) == ["▁Paris", "▁("]
    assert isinstance(completion, Completion)
    assert type(completion.strip()) is str


class Pointed(PreTrainedTokenizerFast):
    """Gives tokens of several characters ranges of length 0, as published tokenizers of Llama 3 do, or wrong ones."""

    shift = 0

    def __call__(self, *arguments, **options):
        encoding = super().__call__(*arguments, **options)
        if "offset_mapping" in encoding:
            encoding["offset_mapping"] = [
                (a + self.shift, (a if b > a + 1 else b) + self.shift) for a, b in encoding["offset_mapping"]
            ]
        return encoding


def pointed() -> Pointed:
    return Pointed(tokenizer_object=sentencepiece().backend_tokenizer, unk_token="<unk>")


def test_tokens_with_ranges_of_length_0_reach_to_the_next_token():
    told = text_part(sentencepiece(), CAPITAL, special=False)
    assert text_part(pointed(), CAPITAL, special=False).ids == told.ids
    found = text_part(pointed(), CAPITAL, special=False).offsets
    assert [CAPITAL[a:b].strip() for a, b in found] == [CAPITAL[a:b].strip() for a, b in told.offsets]


def test_tokens_outside_of_their_text_are_refused_and_doctor_counts_such_texts():
    tokenizer = pointed()
    tokenizer.shift = 40
    with pytest.raises(SampleError, match="where its tokens lie is not known"):
        text_part(tokenizer, CAPITAL, special=False)
    assert alignment_of(tokenizer).startswith("5 of 5 texts fail: ")
    assert alignment_of(byte_level()).startswith("all of 5 texts")


@pytest.mark.parametrize("prompt", ["\n\n", "\t "])
def test_a_prompt_of_white_space_is_called_that(prompt):
    with pytest.raises(SampleError, match="white space"):
        mistral().encode_text(prompt, "Paris")


def test_a_text_behind_another_has_the_tokens_that_it_continues_with():
    tokenizer = sentencepiece()
    whole = text_part(tokenizer, f"{CAPITAL} Paris")
    after = following_part(tokenizer, CAPITAL, " Paris")
    assert (*text_part(tokenizer, CAPITAL).ids, *after.ids) == whole.ids
    assert tokenizer.convert_ids_to_tokens(list(after.ids)) == ["▁Paris"]
    assert following_part(tokenizer, "", CAPITAL).ids == text_part(tokenizer, CAPITAL).ids
