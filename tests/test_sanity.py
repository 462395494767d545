"""Sanity checks: what is asked of methods, weights that are put back, and verdicts."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import adapter as tiny_adapter

from atman_bench.cli.app import main
from atman_bench.core.errors import SampleError
from atman_bench.core.options import build
from atman_bench.core.records import CharSpans, Sample, Status
from atman_bench.evaluation import sanity
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.randomised import cascade, layers_of, stage_counts
from atman_bench.evaluation.runner import begin
from atman_bench.evaluation.sanity import run_checks
from atman_bench.evaluation.sanity_records import Check, SanityRow
from atman_bench.evaluation.sanity_samples import duplicated, sentences, without_answer
from atman_bench.methods._explain import explain_encoded
from atman_bench.report.sanity import frame_of_checks, sanity_table, verdicts_of
from atman_bench.report.verdicts import Ending

PROMPT = "Read: Ada lives in Bern . Bo lives in Rome . Q: Where does Ada live ? A:"
SAMPLE = Sample("q", PROMPT, " Bern", (6, 44), CharSpans(((PROMPT.index("Bern"), PROMPT.index("Bern") + 4),)), "g")


def silent(*_: object) -> None:
    pass


def test_a_fact_is_said_twice_within_what_is_explained():
    found = duplicated(SAMPLE)
    prompt, (start, end) = found.sample.prompt, found.sample.explain
    assert prompt[start:end] == "Ada lives in Bern . Bo lives in Rome . Ada lives in Bern ."
    assert [prompt[slice(*span)] for span in (found.first, found.second)] == ["Bern", "Bern"]
    assert found.first < found.second
    assert prompt.endswith(" Q: Where does Ada live ? A:")


def test_sentences_that_give_the_answer_are_left_out():
    found = without_answer(replace(SAMPLE, prompt=PROMPT.replace("Rome .", "Rome . Is Bern large ?"), explain=(6, 60)))
    assert found.prompt[slice(*found.explain)] == "Bo lives in Rome ."
    assert found.prompt.endswith(" Q: Where does Ada live ? A:")


@pytest.mark.parametrize(
    "changed",
    [{"label": CharSpans(())}, {"explain": None}, {"label": CharSpans(((0, 4),))}, {"explain": (6, 25)}],
    ids=["no evidence", "nothing explained", "evidence outside", "nothing else"],
)
def test_samples_without_such_a_variant_are_refused(changed):
    with pytest.raises(SampleError):
        without_answer(replace(SAMPLE, **changed))


def test_sentences_end_with_a_mark_and_a_blank():
    text = "A 1.5 mile walk. Really? Yes"
    assert [text[slice(*span)] for span in sentences(text, 0, len(text))] == ["A 1.5 mile walk.", "Really?", "Yes"]


@pytest.mark.parametrize(("n_layers", "counts"), [(1, (1,)), (3, (1, 2, 3)), (30, (8, 15, 23, 30))])
def test_layers_are_randomised_in_four_stages_at_the_most(n_layers, counts):
    assert stage_counts(n_layers) == counts


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj", "gemma3"])
def test_layers_change_from_the_top_and_all_weights_are_put_back_after_errors(family):
    adapter = tiny_adapter(family)
    before = {name: p.clone() for name, p in adapter.model.named_parameters()}
    layers = layers_of(adapter)
    assert len(layers) == adapter.host.n_layers

    def changed() -> set[int]:
        return {i for i, layer in enumerate(layers) for n, p in layer.named_parameters() if not same(layer, n, p)}

    full_names = {id(p): name for name, p in adapter.model.named_parameters()}

    def same(layer, name, parameter) -> bool:
        return torch.equal(parameter, before[full_names[id(parameter)]])

    with pytest.raises(KeyboardInterrupt), cascade(layers, seed=0) as randomise:
        randomise(1)
        assert changed() == {len(layers) - 1}
        randomise(len(layers))
        assert changed() == set(range(len(layers)))
        for layer in layers:  # entries are shuffled, not drawn anew
            for parameter in layer.parameters():
                old = before[full_names[id(parameter)]]
                assert torch.equal(parameter.flatten().sort().values, old.flatten().sort().values)
        raise KeyboardInterrupt
    assert all(torch.equal(p, before[name]) for name, p in adapter.model.named_parameters())


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> RunConfig:
    methods = [("atman", {}), ("attention", {}), ("uniform", {})]
    folder = tmp_path_factory.mktemp("sanity")
    return build(
        RunConfig,
        {
            "limit": 3,
            "max_tokens": 90,
            "methods": methods,
            "device": "cpu",
            "results": str(folder),
            "model": "tiny-text",
        },
    )


@pytest.fixture(scope="module")
def rows(config) -> list[SanityRow]:
    return run_checks(begin(config), config, silent)


def values(rows: list[SanityRow], method: str, check: Check) -> list[float | None]:
    return [row.value for row in rows if row.method == method and row.check is check]


def test_atman_is_exactly_zero_at_a_factor_of_one_and_others_have_no_factor(rows):
    assert values(rows, "atman", Check.FACTOR_ONE) == [0.0] * 3
    refused = [row for row in rows if row.method == "attention" and row.check is Check.FACTOR_ONE]
    assert {(row.status, row.error) for row in refused} == {
        (Status.SKIPPED, "attention suppresses nothing by a factor")
    }


def test_maps_change_with_the_model_and_a_map_that_sees_none_stays_undefined(rows):
    whole = [row.value for row in rows if row.method == "atman" and row.check is Check.RANDOMISED and row.share == 1]
    assert len(whole) == 3
    assert np.mean(whole) < 0.6
    assert set(values(rows, "uniform", Check.RANDOMISED)) == {None}


def test_a_map_that_sees_no_model_shares_the_credit_and_is_as_high_without_the_answer(rows):
    assert values(rows, "uniform", Check.DUPLICATE) == pytest.approx([0.5] * 3)
    assert values(rows, "uniform", Check.ABSENT) == pytest.approx([0.5] * 3)


def test_answers_are_stored_and_asked_once(config, rows, monkeypatch):
    monkeypatch.setattr(sanity, "explain_encoded", None)
    assert run_checks(begin(config), config, silent) == rows


def test_a_check_that_fails_is_a_row_and_weights_are_put_back(config, tmp_path, monkeypatch):
    run = begin(replace(config, results=tmp_path, limit=1))
    before = {name: p.clone() for name, p in run.adapter.model.named_parameters()}
    monkeypatch.setattr(sanity, "rank_correlation", lambda a, b: 1 / 0)
    found = run_checks(run, replace(config, results=tmp_path, limit=1), silent)
    assert {row.error for row in found if row.check is Check.RANDOMISED} == {"division by zero"}
    assert {row.status for row in found if row.check is Check.DUPLICATE} == {Status.OK}
    assert all(torch.equal(p, before[name]) for name, p in run.adapter.model.named_parameters())


def test_maps_of_a_sample_with_a_foil_are_of_the_contrast_and_the_foil_is_no_other_target(
    config, tmp_path, monkeypatch
):
    config = replace(config, results=tmp_path, limit=2, methods=(("atman", {}),))
    run = begin(config)
    first, second = run.selected.samples
    assert first.sample.target != second.sample.target
    swapped = [
        replace(one, sample=replace(one.sample, foil=other.sample.target))
        for one, other in [(first, second), (second, first)]
    ]
    asked = []

    def explain(model, encoded, *rest):
        asked.append(encoded.has_foil)
        return explain_encoded(model, encoded, *rest)

    monkeypatch.setattr(sanity, "explain_encoded", explain)
    found = run_checks(replace(run, selected=replace(run.selected, samples=tuple(swapped))), config, silent)
    assert asked
    assert all(asked)
    assert {row.error for row in found if row.check is Check.TARGET} == {"there is no other target"}
    assert {row.status for row in found if row.check is not Check.TARGET} == {Status.OK}


def made_up(check: Check, numbers: list[float], share: float = 0.0) -> list[SanityRow]:
    return [
        SanityRow("f", "atman", "shifted", f"q{i}", f"g{i}", check, share, Status.OK, number)
        for i, number in enumerate(numbers)
    ]


@pytest.mark.parametrize(
    ("check", "numbers", "ending"),
    [
        (Check.RANDOMISED, [0.1] * 6, Ending.HOLDS),
        (Check.RANDOMISED, [0.8] * 6, Ending.OPPOSITE),
        (Check.RANDOMISED, [0.0, 1.0, 0.2, 0.9, 0.5, 0.4], Ending.OPEN),
        (Check.RANDOMISED, [0.1] * 4, Ending.OPEN),  # too few groups for an interval
        (Check.TARGET, [0.95] * 6, Ending.OPPOSITE),
        (Check.DUPLICATE, [0.4] * 6, Ending.HOLDS),
        (Check.DUPLICATE, [0.1] * 6, Ending.OPPOSITE),
        (Check.ABSENT, [0.3] * 6, Ending.HOLDS),
        (Check.FACTOR_ONE, [0.0] * 6, Ending.HOLDS),
        (Check.FACTOR_ONE, [0.0] * 5 + [1e-7], Ending.OPPOSITE),
    ],
)
def test_a_verdict_follows_from_the_interval(check, numbers, ending):
    share = 1.0 if check is Check.RANDOMISED else 0.0
    frame = frame_of_checks(made_up(check, numbers, share), "facts", "tiny")
    (verdict,) = [v for v in verdicts_of(frame) if v.ending is not Ending.UNTESTED]
    assert verdict.ending is ending
    assert f"n = {len(numbers)}" in verdict.because


def test_the_table_names_checks_that_are_not_defined(rows):
    table = sanity_table(frame_of_checks(rows, "facts", "tiny-text"))
    assert [line[0] for line in table.lines] == ["atman:shifted", "attention", "uniform"]
    assert table.lines[0][-1] == "0 ✓"
    assert table.lines[1][-1] == "–"


def test_the_command_writes_table_verdicts_and_figure(config, rows, monkeypatch):
    arguments = (
        f"sanity tiny-text --methods atman,attention,uniform -n 3 --max-tokens 90 -q --device cpu -r {config.results}"
    )
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    text = (config.results / "sanity.md").read_text()
    assert "atman:shifted is zero where nothing is suppressed (sanity check): holds here" in text
    assert (config.results / "figures" / "sanity.png").exists()
