"""Generated needles in filler."""

import re

import pytest

from atman_bench.core.errors import ConfigError
from atman_bench.datasets.needle import KEYS, Evidence, NeedleConfig, load

STATEMENT = re.compile(r"The code of the (\w+) is (\d{4})\.")


def context_of(sample) -> str:
    return sample.prompt[slice(*sample.explain)]


@pytest.fixture(scope="module")
def samples():
    return load(NeedleConfig(n=60, words=80)).samples


def test_same_options_give_the_same_samples_and_a_larger_number_keeps_them():
    assert load(NeedleConfig(n=5)) == load(NeedleConfig(n=5))
    assert load(NeedleConfig(n=5)).samples == load(NeedleConfig(n=9)).samples[:5]
    assert load(NeedleConfig(n=5, seed=1)).samples != load(NeedleConfig(n=5)).samples
    assert load(NeedleConfig(n=5, seed=1)).content_hash != load(NeedleConfig(n=5)).content_hash


def test_answer_is_that_of_the_asked_key_and_stands_once(samples):
    for sample in samples:
        told = dict(STATEMENT.findall(context_of(sample)))
        (asked,) = re.findall(r"What is the code of the (\w+)\?", sample.prompt)
        assert sample.target == f" {told[asked]}"
        assert context_of(sample).count(told[asked]) == 1
        ((start, end),) = sample.label.spans
        assert sample.prompt[start:end] == f"The code of the {asked} is {told[asked]}."


def test_distractors_have_other_keys_and_values(samples):
    for sample in samples:
        told = STATEMENT.findall(context_of(sample))
        assert len(told) == len(dict(told)) == len({value for _, value in told}) == 4


def test_evidence_may_be_the_value_alone():
    for sample in load(NeedleConfig(n=5, evidence=Evidence.VALUE)).samples:
        ((start, end),) = sample.label.spans
        assert f" {sample.prompt[start:end]}" == sample.target


@pytest.mark.parametrize("words", [0, 1, 100, 3000])
def test_filler_has_the_wanted_length_and_no_key_or_digit(words):
    for sample in load(NeedleConfig(n=3, words=words)).samples:
        filler = STATEMENT.sub("", context_of(sample))
        assert words <= len(filler.split()) < words + 15
        assert not re.search(r"\d", filler)
        assert not set(KEYS) & set(re.findall(r"\w+", filler))


@pytest.mark.parametrize("distractors", [0, 5, len(KEYS) - 1])
def test_number_of_distractors_is_exact(distractors):
    for sample in load(NeedleConfig(n=3, distractors=distractors)).samples:
        assert len(STATEMENT.findall(context_of(sample))) == distractors + 1


def test_asked_statement_stands_at_the_wanted_depth():
    depths = (0.0, 0.5, 1.0)
    for i, sample in enumerate(load(NeedleConfig(n=6, words=200, depths=depths)).samples):
        before = STATEMENT.sub("", sample.prompt[sample.explain[0] : sample.label.spans[0][0]])
        whole = STATEMENT.sub("", context_of(sample))
        assert before.count(".") == round(depths[i % 3] * whole.count("."))
        assert sample.facts["depth"] == depths[i % 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"words": -1}, "words must be at least 0"),
        ({"distractors": len(KEYS)}, "distractors must be at most"),
        ({"depths": ()}, "depths are shares"),
        ({"depths": (1.5,)}, "depths are shares"),
        ({"template": "{context}"}, "{question} exactly once"),
    ],
)
def test_impossible_option_is_a_config_error(options, said):
    with pytest.raises(ConfigError, match=said):
        NeedleConfig(**options)
