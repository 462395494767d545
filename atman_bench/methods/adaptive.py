"""Adaptive AtMan: a proposal from one gradient of the edit, then exact suppressions where it expects most (A.15).

The paper suggests to aggregate tokens and to refine; a gradient ranks single units better than aggregates do.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atman_bench.attention.edit import Form
from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Intervention, JointUnits, TextUnits, Units
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import atman
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._engine import end_of, first_rows, plain_pass, planned_tokens, sweep
from atman_bench.methods._proposal import Proposal, by_gradient_if_possible, by_rows, over_largest
from atman_bench.methods.atman import AtManConfig, suppressor
from atman_bench.models._base import ModelAdapter

logger = logging.getLogger(__name__)

ROUNDS = 6
"""Rounds that a budget lasts for: each knows the neighbours that the ones before it verified."""

LONGEST_ROUND = 1 / 20
"""Forward tokens of a round at the most, as a share of the exact sweep's: how often ``fidelity`` is asked."""

SLACK = 1 / 4
"""See ``EngineOptions``. The units of a round are far apart; without bound they would run each other's rows."""

REACH = 2
"""How far from a verified unit of a text others are expected to matter too, in units."""

RIDGE = 1.0
"""Penalty on how far the weights of signals move from where they start, in verified units of full signals."""

BOOST = 0.3
"""What a unit gains beside the one with the largest verified score, as a share of the highest priority."""

MOST_BETA = 2.0
"""Estimates are scaled by 0 to this: a fit to few verified units must not blow them up or turn their sign."""

SAFETY = 3.0
"""The estimate of what is unverified, times this, is what ``fidelity`` trusts: see ``docs/performance.md``."""

BUDGETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.4, 0.6)
"""Points of the trade-off curve; at 1 stands AtMan itself."""


class ProposalBy(StrEnum):
    """What says which units are suppressed first."""

    GRADIENT = "gradient"
    """A forward and a backward pass through the edit; ``rows`` where the model or its memory does not allow it."""
    ROWS = "rows"
    """Suppressions that rerun only the rows from the first target row on."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig(AtManConfig):
    """Options of AtMan, and what it may cost.

    Attributes:
        budget: Up to 1 the forward tokens as a share of what restarts for every unit take, above 1 as full-length
            forward passes. All is counted, rows of a batch that run for nothing, and a backward pass as two forward
            passes. The plain pass and the proposal always run: 3 passes (4 beyond 512 positions). A budget for all
            units makes the exact sweep.
        seconds: Stop after about this long as well; which units are verified then depends on the machine.
        fidelity: Stop as well where verified units hold at least this share of the positive scores, as far as can be
            estimated; None goes on until the budget is spent.
        proposal: What says which units are suppressed first: gradient, or rows; always rows for the form mask.
    """

    budget: float = 0.25
    seconds: float | None = None
    fidelity: float | None = None
    proposal: ProposalBy = field(default=ProposalBy.GRADIENT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget > 0:
            raise ConfigError(
                "budget is a share of the exact sweep up to 1, and a number of forward passes above: expected above 0, "
                f"received {self.budget}"
            )
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds is a time: expected above 0, received {self.seconds}")
        if self.fidelity is not None and not 0 < self.fidelity < 1:
            raise ConfigError(
                f"fidelity is a share of the positive scores: expected between 0 and 1, received {self.fidelity}"
            )
        if self.form is Form.MASK:
            object.__setattr__(self, "proposal", ProposalBy.ROWS)

    def share(self, exact_passes: float) -> float:
        """The budget as a share of an exact sweep that takes so many full-length forward passes, 1 at the most."""
        return min(1.0, self.budget if self.budget <= 1 else self.budget / exact_passes)


@dataclass(frozen=True)
class Budget:
    """What a sample may cost, in forward tokens: a backward pass counts as two forward passes.

    Attributes:
        length: S, positions of the sample.
        end: One past the last row that is read.
        exact: What the plain pass and a restart for every perturbation take.
        limit: What may be spent.
    """

    length: int
    end: int
    exact: float
    limit: float

    @classmethod
    def of(cls, starts: Sequence[int], length: int, end: int, config: AdaptiveConfig) -> "Budget":
        """That of perturbations by the first row that each runs again."""
        exact = length + sum(length - start for start in starts if start < end)
        return cls(length, end, exact, config.share(exact / length) * exact)

    @property
    def exhaustive(self) -> bool:
        """Whether the exact sweep fits."""
        return self.limit == self.exact

    def longest_round(self, spent: float) -> float:
        """Forward tokens of a round at the most, once the plain pass and the proposal have run."""
        return max(min((self.limit - spent) / ROUNDS, LONGEST_ROUND * self.exact), 2 * self.length)

    def tokens(self, starts: Sequence[int]) -> int:
        """What a round takes, rows of a batch that run for nothing included."""
        return planned_tokens(starts, self.length, self.end, SLACK)

    def affordable(self, order: Sequence[int], starts: Sequence[int], tokens: float) -> list[int]:
        """The first perturbations of an order that fit into a number of tokens; those too dear alone are left."""
        chosen: list[int] = []
        for one in order:
            if self.tokens([starts[i] for i in (*chosen, one)]) <= tokens:
                chosen.append(one)
            elif chosen:
                break
        return chosen


@dataclass
class Search:
    """What is known while P perturbations, those of U units, are verified.

    Attributes:
        proposal: What is known of them beforehand.
        which: The perturbation that suppresses each unit.
        tokens: Forward tokens that each perturbation takes alone.
        neighbours: See ``neighbours_of``.
        deltas: Rise of each of the T losses, where it is verified.
        verified: Where it is.
        latest: The perturbations of the last round.
    """

    proposal: Proposal
    which: Int[Tensor, " U"]
    tokens: Float[Tensor, " P"]
    neighbours: Bool[Tensor, "R U"]
    deltas: Float[Tensor, "T P"]
    verified: Bool[Tensor, " P"]
    latest: Sequence[int] = ()

    def order(self) -> list[int]:
        """Perturbations that are not verified yet, those first that are expected to verify most relevance per token."""
        priority = self.expected_roots()
        gains = BOOST * priority.max() * beside(self._positive()[self.which], self.neighbours)
        priority = priority + torch.zeros_like(priority).scatter_reduce(0, self.which, gains, "amax")
        # Priorities are roots of scores, so tokens count by their roots.
        order = (priority / self.tokens.sqrt()).argsort(descending=True, stable=True)
        return order[~self.verified[order]].tolist()

    def expected_roots(self) -> Float[Tensor, " P"]:
        """The root of each score over the largest, as ridge regression of the verified ones on the signals expects it.

        Which layers tell what matters differs between samples. Weights start at the mean of the leading signals, and
        move from there as far as the verified units ask for.
        """
        signals, leading = self.proposal.signals.double(), self.proposal.leading
        weights = signals.new_zeros(signals.shape[1])
        weights[:leading] = 1 / leading
        seen = signals[self.verified]
        missed = over_largest(self._positive())[self.verified].double().sqrt() - seen @ weights
        penalty = RIDGE * torch.eye(len(weights), dtype=weights.dtype)
        weights += torch.linalg.solve(seen.T @ seen + penalty, seen.T @ missed)
        return (signals @ weights).clamp(min=0).float()

    def add(self, perturbations: Sequence[int], deltas: Float[Tensor, "T N"]) -> None:
        """Take note of a round."""
        self.deltas[:, perturbations], self.verified[perturbations] = deltas, True
        self.latest = perturbations

    def estimates(self) -> Float[Tensor, "R P"]:
        """What the proposal expects, scaled to the verified perturbations by least squares, each of its rows alone."""
        expected = self.proposal.estimate
        losses = self.deltas if len(expected) == len(self.deltas) else self.deltas.mean(0, keepdim=True)
        energy = expected[:, self.verified].square().sum(1)
        fit = (losses * expected)[:, self.verified].sum(1) / energy
        return torch.where(energy > 0, fit.clamp(0, MOST_BETA), 1.0)[:, None] * expected

    def unverified_share(self) -> float:
        """Share of the units' positive scores that is not verified yet, by the most pessimistic of three guesses.

        These are the estimates themselves; what the regression on the signals expects; and that all that is left is
        like the last round, though the most promising come first.
        """
        if not self.latest:
            return 1.0
        left, positive = ~self.verified[self.which], self._positive()
        by_estimate = self.estimates().mean(0).clamp(min=0)[self.which][left].sum()
        by_signals = positive.max() * self.expected_roots()[self.which][left].square().sum()
        by_last_round = positive[self.latest].mean() * left.sum()
        guess = SAFETY * torch.stack([by_estimate, by_signals, by_last_round]).max()
        known = positive[self.which].sum()
        return (guess / (guess + known)).item() if known > 0 else 1.0

    def _positive(self) -> Float[Tensor, " P"]:
        """Verified scores, 0 where they are negative or not known."""
        return self.deltas.mean(0).clamp(min=0)


def explain(model: ModelAdapter, encoded: Encoded, config: AdaptiveConfig, seed: int) -> Attribution:
    """Suppress single units exactly, the most promising first, in rounds; estimate the others from the proposal.

    Units that are verified have AtMan's own scores; the others get beta times the proposal's estimate, of the mean
    loss the same for each target token that they can reach. What a round may cost and which units are in it follow from
    the default batches, so that no option of the engine changes a map.
    """
    started = time.perf_counter()
    suppression, which = suppressor(model, encoded, config)(encoded.positions_of_units()).distinct()
    starts = first_rows(suppression, encoded.restarts)
    budget = Budget.of(starts, encoded.length, end_of(encoded), config)
    if budget.exhaustive and config.fidelity is None and config.seconds is None:
        return atman.explain(model, encoded, config, seed)

    options = replace(config.engine_options(), slack=SLACK)
    if config.proposal is ProposalBy.ROWS:
        kept = plain_pass(model, encoded, options)
        proposal = by_rows(model, encoded, suppression, options, kept)
    else:
        proposal, kept = by_gradient_if_possible(model, encoded, suppression, config, options)
    count = len(suppression.groups)
    search = Search(
        proposal,
        torch.tensor(which),
        # A perturbation after the last row that is read takes none, and is never run.
        (encoded.length - torch.tensor(starts)).clamp(min=1).float(),
        neighbours_of(encoded.units),
        torch.zeros(len(encoded.target_ids), count),
        # Units after the last row that is read do nothing, and need no pass to tell.
        torch.tensor(starts) >= budget.end,
    )
    spent = proposal.tokens
    most = budget.longest_round(spent)
    while config.fidelity is None or search.unverified_share() > 1 - config.fidelity:
        left = budget.limit - spent
        if config.seconds is not None:
            elapsed = time.perf_counter() - started
            left = min(left, (config.seconds - elapsed) * spent / elapsed)
        chosen = budget.affordable(search.order(), starts, min(most, left))
        if not chosen:
            break
        some = replace(suppression, groups=[suppression.groups[i] for i in chosen])
        search.add(chosen, sweep(model, encoded, some, options, kept).deltas)
        spent += budget.tokens([starts[i] for i in chosen])
    exactly, share = int(search.verified[search.which].sum()), spent / budget.exact
    remark = (
        f"{exactly} of {len(which)} units are suppressed exactly, the others estimated, for {share:.0%} of the "
        f"exact sweep; by a cautious guess these hold {search.unverified_share():.0%} of the positive relevance"
    )
    if not exactly:
        remark += "; the budget ends with the proposal, which alone is no explanation: give a larger one"
    logger.info("adaptive: sample %s: %s", encoded.uid, remark)
    # A perturbation after the row that a target is read from cannot have moved it.
    reached = torch.tensor(starts) <= encoded.target_rows.cpu()[:, None]
    estimates = search.estimates()
    if len(estimates) < len(reached):  # of the mean: the sum over targets, shared by those that are reached
        estimates = estimates * len(reached) / reached.sum(0).clamp(min=1)
    found = Attribution.mean_of(torch.where(search.verified, search.deltas, estimates * reached)[:, search.which])
    return replace(found, remarks=(*proposal.remarks, remark))


def neighbours_of(units: Units) -> Bool[Tensor, "R U"]:
    """Whether each unit and the one 1 to R = ``REACH`` units further on are units of the same text.

    Patches have no neighbours: what surrounds a verified patch tells no more than the proposal does.
    """
    blocks = units.blocks if isinstance(units, JointUnits) else (units,)
    text = [number if isinstance(block, TextUnits) else -1 for number, block in enumerate(blocks) for _ in block.texts]
    near = torch.zeros(REACH, len(text), dtype=torch.bool)
    for distance in range(1, REACH + 1):
        for unit, (one, other) in enumerate(zip(text, text[distance:], strict=False)):
            near[distance - 1, unit] = one == other >= 0
    return near


def beside(scores: Float[Tensor, " U"], neighbours: Bool[Tensor, "R U"]) -> Float[Tensor, " U"]:
    """Sum of the scores of each unit's neighbours, over the largest score."""
    total = torch.zeros_like(scores)
    for distance, near in enumerate(neighbours, start=1):
        units = near.nonzero().flatten()
        total[units] += scores[units + distance]
        total[units + distance] += scores[units]
    return total / scores.max().clamp(min=torch.finfo(scores.dtype).tiny)


def label(config: AdaptiveConfig) -> str:
    """AtMan's name of the other options, with the budget, and what else ends the search."""
    parts = [atman.label(config), f"budget{config.budget:g}"]
    if config.seconds is not None:
        parts.append(f"seconds{config.seconds:g}")
    if config.fidelity is not None:
        parts.append(f"fidelity{config.fidelity:g}")
    if config.proposal is ProposalBy.ROWS and config.form is not Form.MASK:
        parts.append("rows")
    return "-".join(parts)


def _forwards(n_units: int, n_targets: int, config: AdaptiveConfig) -> float:
    """The budget, or the plain pass and the proposal (checkpointed) where it allows no more."""
    return max(4.0, config.share(1 + n_units) * (1 + n_units))


SPEC = MethodSpec(
    summary="AtMan on the units that one gradient pass proposes, within a budget; estimates of the others (A.15)",
    version=5,
    config=AdaptiveConfig,
    explain=explain,
    forwards=_forwards,
    label=label,
    variants={
        **{f"budget{budget:g}": {"budget": budget} for budget in BUDGETS},
        "rows": {"proposal": "rows"},
        "fidelity0.95": {"budget": 1.0, "fidelity": 0.95},
    },
    contrast=Contrast.TOKEN,
    perturbs=lambda options: Intervention.ATTENTION,
)
