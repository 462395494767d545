"""The passes of ``adaptive`` in a prediction: which units it verifies depends on losses, which nobody knows yet.

So the units are taken in an order that is spread evenly over the input. What is counted is the real thing: the budget,
its rounds, their batches, and what is left because no further unit fits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from atman_bench.core.device_traits import CPU
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import end_of, first_rows, plain_pass, planned_tokens, sweep
from atman_bench.methods._proposal import by_gradient, by_rows
from atman_bench.methods.adaptive import SLACK, AdaptiveConfig, Budget, ProposalBy
from atman_bench.methods.atman import suppressor
from atman_bench.models._causal_lm import CausalLM

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, fill the unit interval as evenly as can be, however many there are."""


def even_order(starts: Sequence[int], end: int) -> list[int]:
    """Perturbations that are read, any first few of them spread over all."""
    reached = [i for i, start in enumerate(starts) if start < end]
    return [reached[i] for i in np.argsort(np.arange(len(reached)) * GOLDEN % 1).tolist()]


def rounds(starts: Sequence[int], budget: Budget, spent: float) -> Iterator[list[int]]:
    """The perturbations of each round.

    Args:
        starts: The first row that each perturbation runs again.
        budget: What may be spent.
        spent: On the plain pass and the proposal.
    """
    left, most = even_order(starts, budget.end), budget.longest_round(spent)
    while chosen := budget.affordable(left, starts, min(most, budget.limit - spent)):
        yield chosen
        spent += budget.tokens([starts[i] for i in chosen])
        left = [i for i in left if i not in set(chosen)]


def proposal_tokens(config: AdaptiveConfig, starts: Sequence[int], length: int, targets: int) -> int:
    """Forward tokens of the plain pass and the proposal, a backward pass counted as two forward passes.

    Args:
        config: How it is made.
        starts: The first row that each perturbation runs again.
        length: S, positions of the input.
        targets: T, the last positions but for the last token.
    """
    if config.proposal is ProposalBy.GRADIENT:
        return length * (4 if length > CPU.pass_tokens else 3)
    first = length - targets
    return length + planned_tokens([max(start, first) for start in starts], length, length)


def tokens_of(config: AdaptiveConfig, starts: Sequence[int], length: int, targets: int) -> int:
    """Forward tokens of a sample, everything counted; arguments as of ``proposal_tokens``."""
    budget = Budget.of(starts, length, length, config)
    spent = proposal_tokens(config, starts, length, targets)
    return spent + sum(budget.tokens([starts[i] for i in chosen]) for chosen in rounds(starts, budget, spent))


def run_rounds(
    model: CausalLM, encoded: Encoded, config: AdaptiveConfig, starts: Sequence[int], stretch: float
) -> None:
    """The passes themselves: the plain one, the proposal, the rounds.

    Args:
        model: What runs them.
        encoded: The input, of which every unit stands for its stretch of units.
        config: The budget.
        starts: The first row that each perturbation of all units would run again.
        stretch: Units that each of the input's stands for.
    """
    suppression = suppressor(model, encoded, config)(encoded.positions_of_units())
    own = first_rows(suppression, encoded.restarts)
    length, end, options = encoded.length, end_of(encoded), replace(config.engine_options(), slack=SLACK)
    spent = proposal_tokens(config, starts, length, len(encoded.target_ids))
    whole = Budget.of(starts, length, end, config)
    budget = replace(whole, exact=whole.exact / stretch, limit=spent + (whole.limit - spent) / stretch)
    if config.proposal is ProposalBy.ROWS:
        kept = plain_pass(model, encoded, options)
        by_rows(model, encoded, suppression, options, kept)
    else:
        _, kept = by_gradient(model, encoded, suppression, config, options)
    for chosen in rounds(own, budget, spent):
        sweep(model, encoded, replace(suppression, groups=[suppression.groups[i] for i in chosen]), options, kept)
