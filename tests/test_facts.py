import random
from dataclasses import replace

import pytest

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import identity_options
from atman_bench.datasets._facts_grammar import KINDS, SHAPES, Split, write_article
from atman_bench.datasets._squad_format import read_articles
from atman_bench.datasets.facts import SPEC, FactsConfig, generate, load

LEXICONS = {lexicon for kind in KINDS for lexicon in (kind.entities, *(r.values for r in kind.relations))}


@pytest.fixture(scope="module")
def samples():
    return load(FactsConfig(n=300)).samples


def test_same_options_give_the_same_samples_and_another_seed_others():
    assert load(FactsConfig(n=20)) == load(FactsConfig(n=20))
    assert load(FactsConfig(n=20)).samples != load(FactsConfig(n=20, seed=1)).samples


def test_content_hash_follows_the_content():
    first = load(FactsConfig(n=20)).content_hash
    assert first == load(FactsConfig(n=20)).content_hash
    assert first != load(FactsConfig(n=20, seed=1)).content_hash


@pytest.mark.parametrize("n", [1, 7, 200])
def test_number_of_questions_is_exact_and_every_one_is_usable(n):
    dataset = load(FactsConfig(n=n))
    assert len({sample.uid for sample in dataset.samples}) == n
    assert not dataset.skipped


def test_evidence_reads_as_the_target_and_occurs_once(samples):
    for sample in samples:
        ((start, end),) = sample.label.spans
        context = sample.prompt[slice(*sample.explain)]
        # The character before belongs to it: the target's tokens start with that space, so the evidence's do too.
        assert sample.prompt[start - 1 : end] == sample.target
        assert context.count(sample.target.strip()) == 1


def test_evidence_is_anywhere_in_the_context(samples):
    relative = [sample.label.spans[0][0] / sample.explain[1] for sample in samples]
    for tenth in range(10):
        assert sum(tenth / 10 <= r < (tenth + 1) / 10 for r in relative) >= 0.05 * len(samples)


def test_groups_are_paragraphs_of_several_sizes(samples):
    contexts: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for sample in samples:
        contexts.setdefault(sample.group, set()).add(sample.prompt[slice(*sample.explain)])
        sizes[sample.group] = sizes.get(sample.group, 0) + 1
    assert all(len(texts) == 1 for texts in contexts.values())
    assert len(set(sizes.values())) >= 4


@pytest.mark.parametrize("shape", SHAPES)
def test_every_question_has_distractors_of_its_relation_and_of_its_entity(shape):
    article = write_article(random.Random(0), Split.HELD_OUT, shape)
    (kind,) = (kind for kind in KINDS if kind.name == article["title"])
    (paragraph,) = article["paragraphs"]
    entities = [entity for entity in kind.entities.phrases(Split.HELD_OUT) if entity in paragraph["context"]]
    asked = [
        (entity, relation)
        for qa in paragraph["qas"]
        for entity in entities
        for relation in kind.relations
        if qa["question"] in {question.replace("{entity}", entity) for question in relation.questions}
    ]
    # Each fact of the paragraph is asked once, so the questions tell which relations each entity has.
    assert len(asked) == len(set(asked)) == len(paragraph["qas"]) == shape.entities * shape.relations
    assert len({entity for entity, _ in asked}) == shape.entities
    assert len({relation for _, relation in asked}) == shape.relations


@pytest.mark.parametrize("lexicon", sorted(LEXICONS, key=str), ids=lambda lexicon: lexicon.parts[0][0])
def test_splits_share_no_phrase_and_hold_out_one_in_five(lexicon):
    train, held_out = lexicon.phrases(Split.TRAIN), lexicon.phrases(Split.HELD_OUT)
    assert not train & held_out
    assert 0.15 < len(held_out) / (len(train) + len(held_out)) < 0.25


def test_splits_share_no_answer_and_no_paragraph():
    train, held_out = (load(FactsConfig(n=500, split=split)).samples for split in Split)
    assert not {s.target for s in train} & {s.target for s in held_out}
    assert not {s.group for s in train} & {s.group for s in held_out}


def test_facts_are_read_by_the_parser_of_squad():
    document = generate(30, 0, Split.HELD_OUT)
    assert load(FactsConfig(n=30)).samples == read_articles(document, "any name", "any hash").samples


def test_impossible_number_of_questions_is_a_config_error():
    with pytest.raises(ConfigError, match="at least 1, received 0"):
        load(replace(FactsConfig(), n=0))


def test_variant_has_the_decisive_sentence_twice_and_nothing_else_changes(samples):
    twice = load(FactsConfig(n=300, twice=True)).samples
    for once, doubled in zip(samples, twice, strict=True):
        ((start, end),) = once.label.spans
        context = once.prompt[slice(*once.explain)]
        (decisive,) = [s for s in context.removesuffix(".").split(". ") if once.prompt[start:end] in s]
        sentences = doubled.prompt[slice(*doubled.explain)].removesuffix(".").split(". ")
        first, second = [i for i, sentence in enumerate(sentences) if sentence == decisive]
        assert second - first > 1
        del sentences[first]
        assert sorted(sentences) == sorted(context.removesuffix(".").split(". "))
        assert [doubled.prompt[a:b] for a, b in doubled.label.spans] == [once.prompt[start:end]] * 2
        assert doubled.label.spans[0] < doubled.label.spans[1]
        assert (doubled.uid, doubled.group, doubled.target) == (once.uid, once.group, once.target)


def test_variant_has_cells_of_its_own_and_the_default_keeps_its_own():
    assert "twice" not in identity_options(FactsConfig())
    assert identity_options(FactsConfig(twice=True))["twice"] is True
    assert SPEC.label(FactsConfig(twice=True)) != SPEC.label(FactsConfig())
