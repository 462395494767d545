"""The engine: what it runs, what that costs, and what happens when memory runs out."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import tiny_models
import torch

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.similarity import suppression_factors
from atman_bench.core.errors import ConfigError
from atman_bench.core.measure import count_tokens
from atman_bench.core.tensors import Encoded
from atman_bench.methods import atman
from atman_bench.methods._engine import EngineMode, EngineOptions, InputEdit, Perturbations, plan, sweep
from atman_bench.methods.atman import AtManConfig, explain

MODEL = tiny_models.adapter("llama")
ENCODED = MODEL.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
LENGTH = ENCODED.length


def suppress(positions: list[int]) -> AttentionEdit:
    """One perturbation per position."""
    factors = torch.ones(len(positions), LENGTH)
    factors[range(len(positions)), positions] = 0.1
    return AttentionEdit(factors)


def drop(positions: list[int]) -> InputEdit:
    kept = torch.ones(len(positions), LENGTH, dtype=torch.bool)
    kept[range(len(positions)), positions] = False
    return InputEdit(kept, torch.zeros(32))


def test_batches_have_descending_starts_and_never_more_rows_than_allowed():
    starts = [7, 0, 3, 3, 12, 9, 1, 5, 5, 5]
    batches = plan(starts, end=12, rows_at=lambda start: 1 if start < 3 else 3)
    assert [b.perturbations for b in batches] == [[5, 0, 7], [8, 9, 2], [3], [6], [1]]
    assert [b.start for b in batches] == [5, 3, 3, 1, 0]


@pytest.mark.parametrize("perturb", [suppress, drop])
def test_one_at_a_time_recomputes_exactly_the_positions_that_can_change(perturb: Callable[[list[int]], Perturbations]):
    positions = [20, 0, 8, 3, 19]
    with count_tokens(MODEL.model) as counter:
        sweep(MODEL, ENCODED, perturb(positions), EngineOptions(batch=1))
    assert counter.tokens == LENGTH + sum(LENGTH - start for start in positions)


@pytest.mark.parametrize("perturb", [suppress, drop])
def test_all_engines_agree_on_any_order_of_perturbations(perturb: Callable[[list[int]], Perturbations]):
    perturbations = perturb([20, 0, 8, 3, 19, 22, 1])
    results = [sweep(MODEL, ENCODED, perturbations, EngineOptions(mode, batch=3)).losses for mode in EngineMode]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-4)
    assert (results[0] - sweep(MODEL, ENCODED, perturbations, EngineOptions()).plain).abs().max() > 0.01


def reading(rows: list[int]) -> Encoded:
    """The same sequence, with targets read at other rows, as where words of a prompt are explained."""
    return replace(ENCODED, target_rows=torch.tensor(rows), target_ids=torch.arange(len(rows)))


def test_what_comes_after_the_last_row_that_is_read_costs_nothing():
    with count_tokens(MODEL.model) as counter:
        result = sweep(MODEL, reading([4, 10]), suppress([11, 15]), EngineOptions())
    assert counter.tokens == LENGTH
    assert not result.deltas.any()


def test_a_token_does_not_matter_to_rows_before_it():
    deltas = sweep(MODEL, reading([4, 10, 18]), suppress([2, 7, 18]), EngineOptions(batch=1)).deltas
    assert (deltas != 0).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("mode", EngineMode)
def test_no_perturbation_gives_no_losses(mode):
    result = sweep(MODEL, ENCODED, suppress([]), EngineOptions(mode))
    assert result.losses.shape == (0, 3)
    assert result.plain.shape == (3,)


def test_the_plain_losses_are_the_models_own():
    plain = sweep(MODEL, ENCODED, suppress([]), EngineOptions()).plain
    torch.testing.assert_close(plain, -torch.tensor(MODEL.plain(ENCODED).logprobs), rtol=0, atol=1e-5)


@contextmanager
def batch_sizes() -> Iterator[list[int]]:
    """How many rows each pass has."""
    sizes: list[int] = []
    handle = MODEL.model.model.layers[-1].mlp.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    try:
        yield sizes
    finally:
        handle.remove()


@pytest.mark.parametrize("mode", EngineMode)
def test_a_small_memory_budget_changes_only_the_batches(mode):
    edit = replace(suppress(list(range(20))), form=Form.MASK)
    with batch_sizes() as sizes:
        small = sweep(MODEL, ENCODED, edit, EngineOptions(mode, memory_bytes=1)).losses
    assert sizes == [1] * 21
    with batch_sizes() as sizes:
        large = sweep(MODEL, ENCODED, edit, EngineOptions(mode, memory_bytes=10**9)).losses
    assert max(sizes) > 1
    torch.testing.assert_close(small, large, rtol=0, atol=1e-5)


@contextmanager
def running_out_of_memory(error: Exception, beyond: int) -> Iterator[None]:
    """Fail in the last layer, when the layers below have overwritten their keys, if a batch has more rows than that."""

    def fail(module: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        if args[0].shape[0] > beyond:
            raise error

    handle = MODEL.model.model.layers[-1].mlp.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory")],
    ids=["cuda", "cpu"],
)
@pytest.mark.parametrize("mode", EngineMode)
def test_out_of_memory_halves_the_batch_and_keeps_the_numbers(caplog, mode, error):
    edit = suppress(list(range(20)))
    expected = sweep(MODEL, ENCODED, edit, EngineOptions(mode, batch=1)).losses
    with running_out_of_memory(error, beyond=2), caplog.at_level(logging.WARNING, "atman_bench.methods._engine"):
        losses = sweep(MODEL, ENCODED, edit, EngineOptions(mode, batch=8)).losses
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)
    assert "out of memory with 8 perturbations at once: halving the batch" in caplog.messages


def test_out_of_memory_with_a_single_perturbation_is_raised():
    with (
        running_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"), beyond=0),
        pytest.raises(torch.OutOfMemoryError),
    ):
        sweep(MODEL, ENCODED, suppress([3, 4]), EngineOptions())


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with running_out_of_memory(RuntimeError("shapes"), beyond=2), pytest.raises(RuntimeError, match="shapes"):
        sweep(MODEL, ENCODED, suppress(list(range(20))), EngineOptions(batch=8))


def test_a_batch_below_1_is_refused():
    with pytest.raises(ConfigError, match="batch must be at least 1, received 0"):
        EngineOptions(batch=0)


def test_the_lean_engine_keeps_nothing_and_reads_target_rows_only(monkeypatch):
    calls = []
    run = MODEL.run
    monkeypatch.setattr(MODEL, "run", lambda encoded, what: calls.append(what) or run(encoded, what))
    sweep(MODEL, ENCODED, suppress([3, 8]), EngineOptions(EngineMode.LEAN, batch=1))
    assert [(call.start, call.store, call.rows) for call in calls] == [(0, None, ENCODED.target_rows.tolist())] * 3


def test_factors_are_made_for_a_few_perturbations_at_a_time(monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []

    def spy(groups: list[list[int]], *options: object) -> torch.Tensor:
        made.append(len(groups))
        return suppression_factors(groups, *options)

    monkeypatch.setattr(atman, "suppression_factors", spy)
    long = MODEL.encode_ids([i % tiny_models.VOCABULARY for i in range(3 * atman.TOGETHER)], tiny_models.TARGET_IDS)
    explain(MODEL, long, AtManConfig(), seed=0)
    assert max(made) == atman.TOGETHER  # and not three times as many


def test_positions_of_one_token_are_suppressed_together_and_once():
    repeated = MODEL.encode_ids([5, 17, 5, 40, 17, 5, 80, 3], tiny_models.TARGET_IDS)
    config = AtManConfig(kappa=0.999, batch=1)
    with count_tokens(MODEL.model) as counter:
        scores = explain(MODEL, repeated, config, seed=0).per_target
    assert counter.tokens == repeated.length + sum(repeated.length - first for first in (0, 1, 3, 6, 7))
    assert scores[:, [0, 2, 5]].eq(scores[:, :1]).all()
    assert scores[:, 4].equal(scores[:, 1])
    factors = torch.ones(1, repeated.length)
    factors[0, [0, 2, 5]] = 0.1
    alone = sweep(MODEL, repeated, AttentionEdit(factors), EngineOptions(EngineMode.NAIVE))
    torch.testing.assert_close(scores[:, 0], alone.deltas[:, 0], rtol=0, atol=1e-4)
