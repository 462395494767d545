"""Adaptive AtMan: whole chunks are suppressed first, and halved where the loss moves most (paper A.15)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.core.errors import ConfigError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import atman
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._engine import first_rows, plain_pass, sweep
from atman_bench.methods.atman import AtManConfig, suppressor
from atman_bench.models._base import ModelAdapter

CHUNK = 16
"""Units of a coarse chunk: suppressing all chunks takes a sixteenth of the exact sweep, however long the sample is."""

NEARLY_BEST = 1 / 3
"""Steps that promise at least this share of the best one's gain run beside it: fewer, larger batches."""

SLACK = 1 / 16
"""See ``EngineOptions``: neighbouring parts share a batch, parts far from each other do not."""

BUDGETS = (0.1, 0.15, 0.2, 0.25, 0.4, 0.6)
"""Points of the trade-off curve; at 1 stands AtMan itself."""

Span = range
"""Consecutive units."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig(AtManConfig):
    """Options of AtMan, and what it may cost.

    Attributes:
        budget: Forward tokens, as a share of what suppressing every unit takes; 1 suppresses every unit. The plain pass
            and the coarse chunks always run, together 0.07 of it (0.1 of a sample of 80 units).
    """

    budget: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.budget <= 1:
            raise ConfigError(f"budget is a share of the exact sweep: expected above 0 to 1, received {self.budget}")


@dataclass(frozen=True)
class Step:
    """One suppression that would tell more about a span.

    Attributes:
        span: The span as it is known so far.
        measured: What is suppressed: the span itself where its delta is only inferred, or its second half.
        cost: Forward tokens of the suppression.
        gain: |delta| of the span per forward token.
    """

    span: Span
    measured: Span
    cost: int
    gain: float


def explain(model: ModelAdapter, encoded: Encoded, config: AdaptiveConfig, seed: int) -> Attribution:
    """Best first: take the step with the largest |delta| per forward token, while the budget lasts.

    A chunk is halved by suppressing its second half, whose restart is the cheaper one; the first half is given what is
    left of the chunk's delta. Suppressions do not add up, so an inferred delta may be measured later: a step like any
    other. Units of a chunk that is never halved share its delta.
    """
    units = encoded.positions_of_units()
    suppress = suppressor(model, encoded, config)
    options = replace(config.engine_options(), slack=SLACK)
    kept = plain_pass(model, encoded, options)
    starts = first_rows(suppress(units), encoded.restarts)
    end = int(encoded.target_rows.max()) + 1

    def tokens(span: Span) -> int:
        """What suppressing a span takes: a restart at its first position."""
        first = min(starts[span.start : span.stop])
        return encoded.length - first if first < end else 0

    def suppressed(spans: Sequence[Span]) -> dict[Span, Float[Tensor, " T"]]:
        """Delta of each of the spans."""
        groups = [[position for unit in span for position in units[unit]] for span in spans]
        return dict(zip(spans, sweep(model, encoded, suppress(groups), options, kept).deltas.T, strict=True))

    every = Span(len(units))
    coarse = _cut(every, CHUNK if config.budget < 1 else 1)
    exact = encoded.length + sum(map(tokens, _cut(every, 1)))
    left = config.budget * exact - encoded.length - sum(map(tokens, coarse))
    deltas = suppressed(coarse)

    def steps_of(span: Span, *, inferred: bool) -> list[Step]:
        ways = [span] if inferred else []
        if len(span) > 1:
            ways.append(_second_half(span))
        size = abs(deltas[span].mean().item())
        return [Step(span, way, tokens(way), size / max(tokens(way), 1)) for way in ways]

    steps = [step for span in deltas for step in steps_of(span, inferred=False)]
    while chosen := _best(steps, left):
        left -= sum(step.cost for step in chosen)
        done = {step.span for step in chosen}
        steps = [step for step in steps if step.span not in done]
        found = suppressed([step.measured for step in chosen])
        for step in chosen:
            whole = deltas.pop(step.span)
            deltas[step.measured] = found[step.measured]
            steps += steps_of(step.measured, inferred=False)
            if rest := Span(step.span.start, step.measured.start):
                deltas[rest] = _rest_of(whole, found[step.measured])
                steps += steps_of(rest, inferred=True)
    # A unit after the row that a target is read from cannot have moved it, whatever its chunk did.
    reached = torch.tensor(starts) <= encoded.target_rows.cpu()[:, None]
    per_target = torch.zeros(reached.shape)
    for span, delta in deltas.items():
        sharing = reached[:, span.start : span.stop]
        share = delta / sharing.sum(1).clamp(min=1)
        per_target[:, span.start : span.stop] = share[:, None] * sharing
    return Attribution.mean_of(per_target)


def _cut(span: Span, size: int) -> list[Span]:
    return [span[first : first + size] for first in range(0, len(span), size)]


def _best(steps: Sequence[Step], left: float) -> list[Step]:
    """The best step within what is left of the budget, and those that promise nearly as much; one for each span."""
    affordable = sorted((step for step in steps if step.cost <= left), key=lambda step: -step.gain)
    chosen: dict[Span, Step] = {}
    for step in affordable:
        if step.gain >= NEARLY_BEST * affordable[0].gain and step.span not in chosen and step.cost <= left:
            chosen[step.span] = step
            left -= step.cost
    return list(chosen.values())


def _rest_of(whole: Float[Tensor, " T"], part: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """What a part leaves of a delta, never of the other sign: a part that moves more than the whole leaves nothing."""
    rest = whole - part
    return torch.where(rest.sign() == whole.sign(), rest, 0.0)


def _second_half(span: Span) -> Span:
    return span[-(-len(span) // 2) :]


def label(config: AdaptiveConfig) -> str:
    """AtMan's name of the other options, with the budget."""
    return f"{atman.label(config)}-budget{config.budget:g}"


SPEC = MethodSpec(
    summary="AtMan on chunks that are refined where the loss moves, within a budget of forward tokens (A.15)",
    version=2,
    config=AdaptiveConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + config.budget * n_units,
    label=label,
    variants={f"budget{budget:g}": {"budget": budget} for budget in BUDGETS},
)
