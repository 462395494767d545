"""Adaptive AtMan: verified scores are AtMan's own, the cost stays within the budget, and estimates are bounded."""

import itertools
from dataclasses import replace

import pytest
import tiny_models
import torch
from lines import Line, frame_of_lines

from atman_bench.api.explain import load_model
from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.measure import count_tokens
from atman_bench.core.records import JointUnits, PatchUnits, Status, TextUnits
from atman_bench.core.tensors import Attribution
from atman_bench.datasets import DATASETS
from atman_bench.datasets.facts import FactsConfig
from atman_bench.methods import _proposal, adaptive, atman, atman_gradient
from atman_bench.methods._engine import EngineMode, EngineOptions, plain_pass, plan, sweep
from atman_bench.methods._factor_gradients import FactorGradientConfig, gradients_of_plain_pass
from atman_bench.methods._proposal import Proposal
from atman_bench.methods.adaptive import AdaptiveConfig, ProposalBy, Search
from atman_bench.methods.atman import AtManConfig
from atman_bench.methods.atman_gradient import Aggregate, AtManGradientConfig
from atman_bench.report.figures import FIGURES

MODEL = tiny_models.adapter("llama")
ENCODED = MODEL.encode_ids([(7 * i * i + 3 * i) % tiny_models.VOCABULARY for i in range(70)], tiny_models.TARGET_IDS)
UNITS = len(ENCODED.units)
EXACT_TOKENS = ENCODED.length + sum(ENCODED.length - i for i in range(UNITS))
EXACT = atman.explain(MODEL, ENCODED, AtManConfig(), seed=0)
NOTHING_LEFT = 0.001
"""A budget that the plain pass and the proposal spend."""


def attribute(budget: float, **options: object) -> Attribution:
    return adaptive.explain(MODEL, ENCODED, AdaptiveConfig(budget=budget, **options), seed=0)


def verified(found: Attribution) -> torch.Tensor:
    return torch.isclose(found.per_target, EXACT.per_target, rtol=0, atol=1e-5).all(0)


@pytest.mark.parametrize("options", [{}, {"kappa": 0.3}], ids=str)
@pytest.mark.parametrize("budget", [1.0, 100.0])
def test_the_whole_budget_gives_the_exact_sweep_bit_for_bit(budget, options):
    exact = atman.explain(MODEL, ENCODED, AtManConfig(**options), seed=0)
    assert torch.equal(attribute(budget, **options).per_target, exact.per_target)


@pytest.mark.parametrize("budget", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("options", [{}, {"proposal": ProposalBy.ROWS}], ids=str)
def test_forward_tokens_stay_within_the_budget_a_backward_pass_counted_as_two_forward_passes(budget, options):
    with count_tokens(MODEL.model) as counter:
        attribute(budget, **options)
    backward = 0 if options else 2 * ENCODED.length
    assert budget - 0.1 < (counter.tokens + backward) / EXACT_TOKENS <= budget


def test_a_budget_above_1_is_a_number_of_forward_passes():
    with count_tokens(MODEL.model) as counter:
        attribute(20)
    assert 18 < counter.tokens / ENCODED.length + 2 <= 20


def test_a_number_of_passes_is_at_most_the_whole_sweep():
    assert [AdaptiveConfig(budget=20).share(exact) for exact in (80, 10)] == [0.25, 1]


def test_a_budget_below_the_proposal_gives_its_estimates():
    centred = atman_gradient.explain(MODEL, ENCODED, AtManGradientConfig(aggregate=Aggregate.CENTRED), seed=0)
    found = attribute(NOTHING_LEFT)
    torch.testing.assert_close(found.scores, centred.scores, rtol=0, atol=1e-6)
    assert "give a larger one" in found.remarks[-1]
    assert "give a larger one" not in attribute(0.4).remarks[-1]


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 3}, {"engine": EngineMode.LEAN}], ids=str)
def test_how_the_engine_runs_changes_no_map(options):
    torch.testing.assert_close(attribute(0.4, **options).per_target, attribute(0.4).per_target, rtol=0, atol=1e-5)


def test_a_larger_budget_verifies_more_units():
    counts = [int(verified(attribute(budget)).sum()) for budget in (NOTHING_LEFT, 0.3, 0.6)]
    assert counts[0] < 5 < counts[1] < counts[2] < UNITS


def search_of(estimates: list[float], deltas: list[float | None], latest: list[int] | None = None) -> Search:
    count = len(estimates)
    known = torch.tensor([delta is not None for delta in deltas])
    found = torch.tensor([[delta or 0.0 for delta in deltas]])
    proposal = Proposal(torch.zeros(count, 1), 1, torch.tensor([estimates]), 0)
    neighbours = torch.zeros(0, count, dtype=torch.bool)
    return Search(proposal, torch.arange(count), torch.ones(count), neighbours, found, known, latest or [])


@pytest.mark.parametrize(
    ("delta", "beta"), [(0.5, 0.5), (50.0, 2.0), (-1.0, 0.0)], ids=["least squares", "at most 2", "never negative"]
)
def test_estimates_are_scaled_to_what_was_verified_within_bounds(delta, beta):
    assert search_of([1.0, 3.0], [delta, None]).estimates().tolist() == [[beta, 3 * beta]]


def test_nothing_is_known_to_be_verified_before_the_first_round_and_all_is_after_the_last():
    assert search_of([1.0, 1.0], [None, None]).unverified_share() == 1
    assert search_of([1.0, 1.0], [2.0, 1.0], latest=[1]).unverified_share() == 0


def test_the_unverified_share_is_the_most_pessimistic_of_estimates_signals_and_the_last_round():
    left = adaptive.SAFETY * 3.0
    by_estimate = search_of([1.0, 0.25, 1.5], [2.0, 0.5, None], latest=[1])
    assert by_estimate.unverified_share() == pytest.approx(left / (left + 2.5))
    by_last_round = search_of([1.0, 3.0, 0.0], [1.0, 3.0, None], latest=[1])
    assert by_last_round.unverified_share() == pytest.approx(left / (left + 4))
    by_signals = search_of([0.0] * 3, [3.0, 0.0, None], latest=[1])
    by_signals.proposal = Proposal(torch.tensor([[1.0], [0.0], [1.0]]), 1, torch.zeros(1, 3), 0)
    assert by_signals.unverified_share() == pytest.approx(left / (left + 3))


def test_a_fidelity_ends_the_search_before_the_budget_does():
    counts = [int(verified(attribute(0.99, fidelity=fidelity)).sum()) for fidelity in (0.1, 0.5)]
    assert counts[0] < counts[1] < UNITS


def test_no_round_begins_after_the_time_is_over(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(adaptive.time, "perf_counter", lambda: float(next(clock)))
    torch.testing.assert_close(attribute(0.9, seconds=0.5).scores, attribute(NOTHING_LEFT).scores)


def test_verified_neighbours_in_the_same_text_raise_a_unit():
    text, patches = TextUnits(("a", "b")), PatchUnits((1, 2), (0, 0, 2, 1), (2, 1))
    near = adaptive.neighbours_of(JointUnits((text, TextUnits(("c",) * 3), patches)))
    assert near.int().tolist() == [[1, 0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]]
    assert adaptive.beside(torch.tensor([0.0, 2.0, 4.0, 0.0, 0.0, 4.0, 0.0]), near).tolist() == [0.5, 0, 0, 1, 1, 0, 0]


def test_perturbations_beside_verified_ones_come_first():
    search = replace(
        search_of([0.0] * 5, [None, None, 1.0, None, None]), neighbours=adaptive.neighbours_of(TextUnits(("",) * 5))
    )
    search.proposal = Proposal(torch.tensor([[0.4], [0.0], [1.0], [0.2], [0.45]]), 1, torch.zeros(1, 5), 0)
    assert search.order() == [4, 0, 3, 1]


def test_of_equal_promise_those_come_first_that_take_fewer_tokens():
    search = replace(search_of([0.0] * 3, [None] * 3), tokens=torch.tensor([100.0, 9.0, 16.0]))
    search.proposal = Proposal(torch.tensor([[0.3], [0.1], [0.1]]), 1, torch.zeros(1, 3), 0)
    # Scores 0.09, 0.01 and 0.01: per token 0.0009, 0.0011 and 0.0006.
    assert search.order() == [1, 0, 2]


def test_signals_that_told_what_was_verified_come_to_count():
    search = search_of([0.0] * 4, [1.0, 0.0, None, None])
    search.proposal = Proposal(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 1, torch.zeros(1, 4), 0)
    # Ridge by hand: each weight moves halfway from where it starts (1 and 0) to what its one verified unit shows.
    torch.testing.assert_close(search.expected_roots(), torch.tensor([0.5, 0.5, 0.5, 0.5]))
    search.deltas[0, 0] = 4.0
    search.verified[1] = False
    assert search.order() == [1, 2, 3]
    search.verified[1] = True
    assert search.order() == [2, 3]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_the_forward_pass_of_the_gradient_is_the_plain_one_that_sweeps_restart_from(name):
    model = tiny_models.adapter(name)
    encoded = model.encode_ids(ENCODED.inputs["input_ids"][0, :40].tolist(), tiny_models.TARGET_IDS)
    count = len(encoded.target_ids)
    ones, objectives = AttentionEdit(torch.ones(2, encoded.length)), torch.eye(count)[:2]
    for checkpointed in (False, True):
        how = FactorGradientConfig(checkpointing=checkpointed)
        plain = gradients_of_plain_pass(model, encoded, ones, objectives, how, EngineMode.FAST)[1]
        expected = plain_pass(model, encoded, EngineOptions())
        torch.testing.assert_close(plain.losses, expected.losses, rtol=0, atol=1e-6)
        for ours, theirs in zip(plain.store.layers, expected.store.layers, strict=True):
            torch.testing.assert_close((ours.keys, ours.values), (theirs.keys, theirs.values), rtol=0, atol=1e-6)


def test_a_unit_after_the_row_of_a_target_gets_no_score_for_it():
    early = replace(ENCODED, target_rows=torch.tensor([20, 60]), target_ids=ENCODED.target_ids[:2])
    found = adaptive.explain(MODEL, early, AdaptiveConfig(), seed=0)
    assert not found.per_target[0, 21:].any()
    assert not found.per_target[:, 61:].any()
    assert found.per_target[1, 21:61].all()


def test_rows_from_the_first_target_row_on_are_all_that_the_cheap_proposal_runs():
    with count_tokens(MODEL.model) as counter:
        attribute(NOTHING_LEFT, proposal=ProposalBy.ROWS)
    assert counter.tokens == ENCODED.length + UNITS * (ENCODED.length - int(ENCODED.target_rows[0]))


def test_a_form_without_derivative_is_proposed_by_rows():
    assert AdaptiveConfig(form=Form.MASK) == AdaptiveConfig(form=Form.MASK, proposal=ProposalBy.ROWS)
    assert attribute(0.5, form=Form.MASK).scores.any()


def test_rows_need_a_prefix_to_restart_from():
    with pytest.raises(NotApplicableError, match="choose engine fast"):
        attribute(0.5, proposal=ProposalBy.ROWS, engine=EngineMode.LEAN)


@pytest.mark.parametrize("error", [NotApplicableError("no gradient"), torch.OutOfMemoryError("too large")], ids=repr)
def test_rows_stand_in_for_a_gradient_that_cannot_be_had(monkeypatch, caplog, error):
    def refuse(*args: object) -> None:
        raise error

    expected = attribute(0.4, proposal=ProposalBy.ROWS)
    monkeypatch.setattr(_proposal, "gradients_of_plain_pass", refuse)
    assert torch.equal(attribute(0.4).scores, expected.scores)
    assert f"({error}): proposal 'rows' instead" in caplog.text


def test_other_errors_of_the_gradient_are_not_hidden(monkeypatch):
    def fail(*args: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(_proposal, "gradients_of_plain_pass", fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        attribute(0.4)


def test_a_fact_is_found_for_a_quarter_of_the_forward_tokens():
    model = load_model("tiny-text")
    sample = DATASETS.get("facts").load(FactsConfig()).samples[0]
    encoded = model.encode(sample)
    exact = atman.explain(model, encoded, AtManConfig(), seed=0).scores
    quarter = adaptive.explain(model, encoded, AdaptiveConfig(), seed=0).scores
    assert quarter.argmax() == exact.argmax()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, "expected above 0, received 0.0"),
        ({"budget": float("nan")}, "expected above 0, received nan"),
        ({"seconds": 0.0}, "seconds is a time: expected above 0, received 0.0"),
        ({"fidelity": 1.0}, "expected between 0 and 1, received 1.0"),
        ({"kappa": 2.0}, "kappa is a cosine"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        AdaptiveConfig(**options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kappa": 0.7, "budget": 0.4}, "shifted-kappa0.7-budget0.4"),
        ({"fidelity": 0.95, "seconds": 30, "budget": 1}, "shifted-budget1-seconds30-fidelity0.95"),
        ({"proposal": ProposalBy.ROWS}, "shifted-budget0.25-rows"),
        ({"form": Form.MASK}, "mask-budget0.25"),
    ],
    ids=str,
)
def test_variants_are_named_by_what_changes_their_maps(options, name):
    assert adaptive.label(AdaptiveConfig(**options)) == name


def test_sweeps_that_share_a_plain_pass_run_it_once_and_may_go_back_to_the_start():
    factors = torch.ones(2, ENCODED.length)
    factors[[0, 1], [60, 5]] = 0.1
    late, early = (AttentionEdit(factors[[i]]) for i in (0, 1))
    kept = plain_pass(MODEL, ENCODED, EngineOptions())
    with count_tokens(MODEL.model) as counter:
        losses = [sweep(MODEL, ENCODED, edit, EngineOptions(), kept).losses for edit in (early, late, early)]
    assert counter.tokens == sum(ENCODED.length - start for start in (5, 60, 5))
    for found, edit in zip(losses, (early, late, early), strict=True):
        torch.testing.assert_close(found, sweep(MODEL, ENCODED, edit, EngineOptions()).losses, rtol=0, atol=1e-5)


def test_no_batch_runs_more_for_nothing_than_the_slack_allows():
    batches = plan([0, 1, 2, 50, 99], end=100, rows_at=lambda start: 8, slack=1 / 8)
    assert [b.perturbations for b in batches] == [[4], [3], [2, 1, 0]]


def curve_row(method: str, variant: str, uid: str, value: float, tokens: int, metric: str) -> Line:
    row = Line("x", "facts", "tiny", method, variant, uid, metric, "positive", value, Status.OK, group=uid)
    return replace(row, forward_tokens=tokens)


def test_the_curve_compares_with_the_exact_sweep_of_the_same_options_on_common_samples():
    cells = {
        ("atman", "shifted"): {"a": (0.8, 1000), "b": (0.4, 3000)},
        ("atman", "literal"): {"a": (0.1, 10), "b": (0.1, 10)},
        ("adaptive", "shifted-budget0.25"): {"a": (0.8, 300), "b": (0.1, 500), "only here": (0.0, 9)},
        ("adaptive", "shifted-budget0.25-rows"): {"a": (0.0, 1), "b": (0.0, 1)},
    }
    frame = frame_of_lines(
        [
            curve_row(*cell, uid, value, tokens, metric)
            for cell, samples in cells.items()
            for uid, (value, tokens) in samples.items()
            for metric in ("average_precision", "average_recall")
        ]
    )
    figure = FIGURES.get("adaptive_curve").plot(frame)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "mAP, shifted, n = 2")
    assert line.get_xydata().tolist() == [pytest.approx([20, 75]), [100, 100]]


def test_the_curve_needs_both_methods():
    rows = [curve_row("atman", "shifted", "a", 1.0, 10, metric) for metric in ("average_precision", "average_recall")]
    assert FIGURES.get("adaptive_curve").lacks(frame_of_lines(rows)) == ("adaptive",)
