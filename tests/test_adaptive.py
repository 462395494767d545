"""Adaptive AtMan: its numbers are AtMan's own, its cost stays within the budget, and it looks where the loss moves."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from lines import Line, frame_of_lines

from atman_bench.api.explain import load_model
from atman_bench.attention.edit import AttentionEdit
from atman_bench.core.errors import ConfigError
from atman_bench.core.measure import count_tokens
from atman_bench.core.records import Status
from atman_bench.core.tensors import Attribution
from atman_bench.methods import _engine, adaptive, atman
from atman_bench.methods._engine import EngineMode, EngineOptions, plain_pass, plan, sweep
from atman_bench.methods.adaptive import CHUNK, AdaptiveConfig
from atman_bench.methods.atman import AtManConfig
from atman_bench.report.figures import FIGURES

MODEL = tiny_models.adapter("llama")
ENCODED = MODEL.encode_ids([(7 * i * i + 3 * i) % tiny_models.VOCABULARY for i in range(70)], tiny_models.TARGET_IDS)
UNITS = len(ENCODED.units)
EXACT_TOKENS = ENCODED.length + sum(ENCODED.length - i for i in range(UNITS))


def attribute(budget: float, **options: object) -> Attribution:
    return adaptive.explain(MODEL, ENCODED, AdaptiveConfig(budget=budget, **options), seed=0)


def delta_of(positions: list[int]) -> torch.Tensor:
    """Loss under the suppression of some positions - plain loss, by the engine that reuses nothing."""
    factors = torch.ones(1, ENCODED.length)
    factors[:, positions] = 0.1
    return sweep(MODEL, ENCODED, AttentionEdit(factors), EngineOptions(EngineMode.NAIVE)).deltas[:, 0]


@pytest.mark.parametrize("options", [{}, {"kappa": 0.3}], ids=str)
def test_the_whole_budget_gives_the_exact_sweep(options):
    exact = atman.explain(MODEL, ENCODED, AtManConfig(**options), seed=0)
    torch.testing.assert_close(attribute(1.0, **options).per_target, exact.per_target, rtol=0, atol=1e-5)


@pytest.mark.parametrize("budget", [0.15, 0.25, 0.5, 0.8])
def test_forward_tokens_stay_within_the_budget(budget):
    with count_tokens(MODEL.model) as counter:
        attribute(budget, batch=1)
    assert budget - 0.1 < counter.tokens / EXACT_TOKENS <= budget


def test_a_budget_below_the_coarse_chunks_still_runs_them_and_no_more():
    with count_tokens(MODEL.model) as counter:
        scores = attribute(0.001, batch=1).per_target
    assert counter.tokens == ENCODED.length + sum(ENCODED.length - i for i in range(0, UNITS, CHUNK))
    for first in range(0, UNITS, CHUNK):
        chunk = chunk_from(first)
        shared = delta_of(chunk)[:, None].expand(-1, len(chunk)) / len(chunk)
        torch.testing.assert_close(scores[:, chunk], shared, rtol=0, atol=1e-5)


def chunk_from(first: int) -> list[int]:
    return list(range(first, min(first + CHUNK, UNITS)))


def test_the_chunk_that_moves_the_loss_most_per_token_is_halved_first_and_its_first_half_gets_what_is_left():
    def second_half(first: int) -> list[int]:
        chunk = chunk_from(first)
        return chunk[-(len(chunk) // 2) :]

    def cost(first: int) -> int:
        return ENCODED.length - second_half(first)[0]

    firsts = range(0, UNITS, CHUNK)
    best = max(firsts, key=lambda first: delta_of(chunk_from(first)).mean().abs().item() / cost(first))
    one_step = (ENCODED.length + sum(ENCODED.length - first for first in firsts) + cost(best) + 0.5) / EXACT_TOKENS
    whole, part = delta_of(chunk_from(best)), delta_of(second_half(best))
    left = torch.where((whole - part).sign() == whole.sign(), whole - part, 0)
    halves = chunk_from(best)[: -len(second_half(best))], second_half(best)

    scores = attribute(one_step).per_target

    for half, delta in zip(halves, (left, part), strict=True):
        expected = (delta / len(half))[:, None].expand(-1, len(half))
        torch.testing.assert_close(scores[:, half], expected, rtol=0, atol=1e-5)
    assert all(len(scores[0, chunk_from(first)].unique()) == 1 for first in firsts if first != best)


def test_what_stands_out_is_measured_and_not_inferred():
    exact = atman.explain(MODEL, ENCODED, AtManConfig(), seed=0).scores
    scores = attribute(0.9).scores
    top = scores.abs().topk(10).indices
    torch.testing.assert_close(scores[top], exact[top], rtol=0, atol=1e-5)


def test_a_part_that_moves_more_than_the_whole_leaves_nothing_of_it():
    whole, part = torch.tensor([3.0, 1.0, -2.0, 0.0]), torch.tensor([1.0, 4.0, -0.5, 1.0])
    assert adaptive._rest_of(whole, part).tolist() == [2.0, 0.0, -1.5, 0.0]


def test_a_fact_is_found_for_a_quarter_of_the_forward_tokens():
    model = load_model("tiny-text")
    facts = ["Ada lives in Rome.", "Bob was born in Oslo.", "Eve works in Bern."]
    encoded = model.encode_text(" ".join(facts) + " Where does Ada live? She lives in", " Rome")
    exact = atman.explain(model, encoded, AtManConfig(), seed=0).scores
    quarter = adaptive.explain(model, encoded, AdaptiveConfig(), seed=0).scores
    assert quarter.argmax() == exact.argmax()


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.5])
def test_an_impossible_budget_is_refused(budget):
    with pytest.raises(ConfigError, match=f"expected above 0 to 1, received {budget}"):
        AdaptiveConfig(budget=budget)


def test_options_of_atman_are_checked_and_named_too():
    with pytest.raises(ConfigError, match="kappa is a cosine"):
        AdaptiveConfig(kappa=2.0)
    assert adaptive.label(AdaptiveConfig(kappa=0.7, budget=0.4)) == "shifted-kappa0.7-budget0.4"


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


@pytest.mark.parametrize("mode", [EngineMode.LEAN, EngineMode.NAIVE])
def test_engines_without_a_store_allocate_none_and_run_one_plain_pass(monkeypatch, mode):
    fast = attribute(0.25)
    runs: list[int] = []
    monkeypatch.setattr(_engine, "PrefixStore", None)  # whoever makes one fails
    monkeypatch.setattr(adaptive, "sweep", lambda *args: runs.append(len(args[2].groups)) or sweep(*args))
    with count_tokens(MODEL.model) as counter:
        found = attribute(0.25, engine=mode)
    torch.testing.assert_close(found.per_target, fast.per_target, rtol=0, atol=1e-4)
    assert counter.tokens == ENCODED.length * (1 + sum(runs))


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
