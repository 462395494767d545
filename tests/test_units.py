"""Units beyond tokens: words, sentences, chunks and few-shot examples."""

import sys

import pytest
import tiny_models
import torch

import atman_bench
from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, DataError, SampleError, UnknownNameError
from atman_bench.core.records import UnitKind
from atman_bench.datasets._chunking import pieces
from atman_bench.evaluation import runner
from atman_bench.evaluation.config import RunConfig, load_config
from atman_bench.models._causal_lm import CausalLM

PROMPT = "Ada was born in Bern . Where does Ada live ? A:"
SENTENCES = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11]]
FACT = "Ada lives in Bern. Q: Where does Ada live? A:"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> CausalLM:
    folder = tmp_path_factory.mktemp("reader")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    return atman_bench.load_model(f"hf:{folder}", device="cpu")


@pytest.fixture(scope="module")
def tiny_text() -> CausalLM:
    return atman_bench.load_model("tiny-text", device="cpu")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (UnitKind.WORD, "Ada (née Bo)  lives.", ["Ada", " (née", " Bo)", "  lives."]),
        (UnitKind.WORD, "\nAda ", ["\nAda "]),
        (UnitKind.SENTENCE, 'He said "No." She left! Why?', ['He said "No."', " She left!", " Why?"]),
        (UnitKind.SENTENCE, "Pi is 3.14 here\nand there", ["Pi is 3.14 here\n", "and there"]),
        (UnitKind.SENTENCE, "Wait... what?! ok", ["Wait...", " what?!", " ok"]),
        (UnitKind.CHUNK, "Ada, Bo and Cy.", ["Ada,", " Bo and", " Cy."]),
        (
            UnitKind.EXAMPLE,
            "in: a\nout: b\n\nin: c\nout: d\n \n\nin: e",
            ["in: a\nout: b\n\n", "in: c\nout: d\n \n\n", "in: e"],
        ),
        (UnitKind.EXAMPLE, "one", ["one"]),
    ],
)
def test_text_is_cut_into_units_that_join_to_it(kind, text, expected):
    assert [text[start:end] for start, end in pieces(text, kind)] == expected
    assert "".join(expected) == text


@pytest.mark.parametrize("kind", [kind for kind in UnitKind if kind is not UnitKind.TOKEN])
def test_text_of_blanks_has_no_unit(kind):
    with pytest.raises(DataError):
        pieces(" \n\n ", kind)


@pytest.mark.parametrize("method", ["atman", "occlusion", "kernel_shap", "context_cite"])
def test_unit_is_taken_away_as_one(model, method):
    """Scores of sentences are those of groups of positions that are counted by hand."""
    arguments = {"prompt": PROMPT, "target": " Bern", "method": method}
    sentences = atman_bench.explain(model, **arguments, units="sentence")
    assert sentences.units.texts == ("Ada was born in Bern .", "Where does Ada live ?", "A:")
    torch.testing.assert_close(sentences.scores, atman_bench.explain(model, **arguments, units=SENTENCES).scores)
    if method in ("atman", "occlusion"):
        tokens = atman_bench.explain(model, **arguments).scores
        sums = torch.stack([tokens[group].sum() for group in SENTENCES])
        assert not torch.allclose(sentences.scores, sums, rtol=0.05)


@pytest.mark.parametrize("method", ["input_x_gradient", "rollout", "chefer", "attention", "ifr", "value_zeroing"])
def test_unit_has_the_sum_of_its_positions_where_nothing_is_taken_away(model, method):
    arguments = {"prompt": PROMPT, "target": " Bern", "method": method}
    tokens = atman_bench.explain(model, **arguments).scores
    sums = torch.stack([tokens[group].sum() for group in SENTENCES])
    torch.testing.assert_close(atman_bench.explain(model, **arguments, units="sentence").scores, sums)


def test_words_of_several_tokens_are_one_unit_each(tiny_text):
    tokens, words = (
        atman_bench.explain(tiny_text, prompt=FACT, target=" Bern", method="uniform", units=units)
        for units in ("token", "word")
    )
    assert len(tokens.units) > len(words.units)
    assert [text.strip() for text in words.units.texts] == FACT.split()
    assert [FACT[start:end] for start, end in words.units.spans] == list(words.units.texts)


def test_units_that_do_not_exist_and_prompts_without_text_are_refused(model):
    with pytest.raises(UnknownNameError, match="unknown value of units 'letter'"):
        atman_bench.explain(model, prompt=PROMPT, target=" Bern", units="letter")
    with pytest.raises(SampleError, match="units of kind word are parts of a text"):
        atman_bench.explain(model, prompt_ids=[1, 2], target_ids=[3], units="word")


def test_units_of_images_are_refused_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="scenes explains images, which have no words"):
        RunConfig(dataset="scenes", units=UnitKind.WORD)
    with pytest.raises(UnknownNameError, match="unknown value of units 'letter'"):
        load_config(None, {"units": "letter"}, [])


def test_units_are_part_of_a_cells_identity_and_of_its_datasets_name(tmp_path):
    def run(units: UnitKind) -> tuple[runner.RunSummary, str]:
        config = RunConfig(limit=2, methods=(("uniform", {}),), units=units, results=tmp_path)
        summary = runner.evaluate(config, lambda done, total, doing: None)
        (cell,) = runner.rows_of_run(config, summary)
        return summary, cell.dataset

    tokens, named = run(UnitKind.TOKEN)
    words, named_words = run(UnitKind.WORD)
    (of_tokens,), (of_words,) = tokens.cells, words.cells
    assert of_tokens.identity.fingerprint != of_words.identity.fingerprint
    assert not of_tokens.identity.same_experiment(of_words.identity)
    assert (named, named_words) == ("facts", "facts (unit: word)")
    for uid, stored in of_words.maps().items():
        assert len(stored.scores) < len(of_tokens.maps()[uid].scores)
        assert 1 <= sum(stored.label) <= sum(of_tokens.maps()[uid].label)
    again, _ = run(UnitKind.WORD)
    assert (again.reused, again.n_computed) == (2, 0)


def test_command_line_scores_words(tiny_text, monkeypatch, capsys):
    monkeypatch.setattr(atman_bench, "load_model", lambda name, **_: tiny_text, raising=False)
    arguments = ["explain", "-p", FACT, "-t", " Bern", "--units", "word", "--json", "-", "--method", "uniform"]
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out.count('"score"') == len(FACT.split())
