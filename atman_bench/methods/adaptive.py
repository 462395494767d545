"""Adaptive AtMan: whole chunks are suppressed first, and taken apart where the loss moves most (paper A.15)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.engine import first_rows, plain_pass, sweep
from atman_bench.errors import ConfigError
from atman_bench.methods import atman
from atman_bench.methods._base import MethodSpec
from atman_bench.methods.atman import AtManConfig, suppressor
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded

CHUNK = 16
"""Units of a coarse chunk: suppressing all chunks takes a sixteenth of the exact sweep, however long the sample is."""

PARTS = 4
"""How many parts a chunk is split into: from 16 units by 4 to single ones costs 20 passes, in halves 30."""

SLACK = 1 / 8
"""Parts of one chunk share a batch, chunks far from each other do not: the budget is counted in positions."""

BUDGETS = (0.1, 0.15, 0.2, 0.25, 0.4, 0.6)
"""Points of the trade-off curve; at 1 stands AtMan itself."""

Span = range
"""Consecutive units."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig(AtManConfig):
    """Options of AtMan, and what it may cost.

    Attributes:
        budget: Forward tokens, as a share of what suppressing every unit takes; 1 suppresses every unit. The plain pass
            and the coarse chunks always run, together 0.08 of it (0.1 of a short sample).
    """

    budget: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.budget <= 1:
            raise ConfigError(f"budget is a share of the exact sweep: expected above 0 to 1, received {self.budget}")


def explain(model: ModelAdapter, encoded: Encoded, config: AdaptiveConfig, seed: int) -> Attribution:
    """Best first: split the chunk with the largest |delta| per forward token of its split, while the budget lasts.

    Units of a chunk that is never split share its delta: their scores add up to what its suppression measured.
    """
    units = encoded.positions_of_units()
    suppress = suppressor(model, encoded, config)
    options = replace(config.engine_options(), slack=SLACK)
    kept = plain_pass(model, encoded)
    starts = first_rows(suppress(units), encoded.restarts)
    end = int(encoded.target_rows.max()) + 1

    def tokens(spans: Sequence[Span]) -> int:
        """What suppressing each of the spans takes: a restart at its first position."""
        firsts = (min(starts[span.start : span.stop]) for span in spans)
        return sum(encoded.length - first for first in firsts if first < end)

    def suppressed(spans: Sequence[Span]) -> dict[Span, Float[Tensor, " T"]]:
        """Delta of each of the spans."""
        groups = [[position for unit in span for position in units[unit]] for span in spans]
        return dict(zip(spans, sweep(model, encoded, suppress(groups), options, kept).deltas.T, strict=True))

    every = Span(len(units))
    single, coarse = _cut(every, 1), _cut(every, CHUNK if config.budget < 1 else 1)
    left = config.budget * (encoded.length + tokens(single)) - encoded.length - tokens(coarse)
    deltas = suppressed(coarse)
    while True:
        costs = {span: tokens(_parts(span)) for span in deltas if len(span) > 1}
        affordable = [span for span, cost in costs.items() if cost <= left]
        if not affordable:
            break
        best = max(affordable, key=lambda span: abs(deltas[span].mean().item()) / max(costs[span], 1))
        left -= costs[best]
        del deltas[best]
        deltas |= suppressed(_parts(best))
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


def _parts(span: Span) -> list[Span]:
    return _cut(span, -(-len(span) // PARTS))


def label(config: AdaptiveConfig) -> str:
    """AtMan's name of the other options, with the budget."""
    return f"{atman.label(config)}-budget{config.budget:g}"


SPEC = MethodSpec(
    summary="AtMan on chunks that are refined where the loss moves, within a budget of forward tokens (A.15)",
    version=1,
    config=AdaptiveConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + config.budget * n_units,
    label=label,
    variants={f"budget{budget:g}": {"budget": budget} for budget in BUDGETS},
)
