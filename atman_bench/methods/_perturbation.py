"""What the perturbation methods share: engine options, and sweeps over replaced embeddings."""

from dataclasses import dataclass, field
from enum import StrEnum

import torch
from captum.attr import Lime
from jaxtyping import Bool, Float
from torch import Tensor

from atman_bench.core.options import check_count
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._engine import EngineMode, EngineOptions, InputEdit, Sweep, sweep
from atman_bench.methods._objective import contrasted
from atman_bench.models._base import ModelAdapter

COSTS_ONLY = {"identity": False}
"""Marks an option that changes cost but no value: it is no part of a stored map's fingerprint."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of every method that runs on the engine.

    Attributes:
        engine: fast (prefix reuse), lean (no store: the memory of a plain pass) or naive (all logits): same numbers.
        batch: Perturbations per forward pass at the most; None lets the memory budget decide.
        memory_gb: Memory budget of a batch in GB; None takes a quarter of what is free.
    """

    engine: EngineMode = field(default=EngineMode.FAST, metadata=COSTS_ONLY)
    batch: int | None = field(default=None, metadata=COSTS_ONLY)
    memory_gb: float | None = field(default=None, metadata=COSTS_ONLY)

    def engine_options(self) -> EngineOptions:
        """As the engine takes them."""
        return EngineOptions(self.engine, self.batch, int(self.memory_gb * 1e9) if self.memory_gb else None)


class Baseline(StrEnum):
    """What replaces the embedding of an absent token."""

    ZERO = "zero"
    """The zero vector."""
    MEAN = "mean"
    """The mean of the model's token embeddings."""


def occlude(
    model: ModelAdapter, encoded: Encoded, present: Bool[Tensor, "P U"], baseline: Baseline, options: EngineOptions
) -> Sweep:
    """Losses with the embeddings of absent units replaced by a baseline."""
    return sweep(model, encoded, replaced(model, encoded, present, baseline), options)


def replaced(model: ModelAdapter, encoded: Encoded, present: Bool[Tensor, "P U"], baseline: Baseline) -> InputEdit:
    """The perturbations that replace the embeddings of absent units by a baseline."""
    mean = baseline is Baseline.MEAN
    vector = model.mean_embedding() if mean else torch.zeros_like(model.embeddings(encoded)[0, 0])
    return InputEdit(at_positions(encoded, present), vector)


def at_positions(encoded: Encoded, present: Bool[Tensor, "P U"]) -> Bool[Tensor, "P S"]:
    """Which positions are present: those of present units, and all that belong to none."""
    units = encoded.unit_of_position
    kept = torch.ones(present.shape[0], encoded.length, dtype=torch.bool)
    kept[:, units >= 0] = present[:, units[units >= 0]]
    return kept


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(EngineConfig):
    """Options of the methods that regress on sampled coalitions of units.

    Attributes:
        n_samples: Budget of forward passes, one for each coalition.
        baseline: What replaces the embedding of an absent token: zero, or the mean embedding.
    """

    n_samples: int = 256
    baseline: Baseline = Baseline.ZERO

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples)


def regress(
    regression: type[Lime], model: ModelAdapter, encoded: Encoded, config: RegressionConfig, seed: int
) -> Attribution:
    """Coefficients of captum's regression of the target's mean log-probability on which units are present."""

    def logprob(present: Float[Tensor, "P U"]) -> Float[Tensor, " P"]:
        return mean_logprobs(model, encoded, present, config)

    present = torch.ones(1, len(encoded.units))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scores = regression(logprob).attribute(
            present,
            baselines=torch.zeros_like(present),
            n_samples=config.n_samples,
            perturbations_per_eval=config.n_samples,  # the engine makes the batches
        )
    return Attribution(scores[0].float())


def mean_logprobs(
    model: ModelAdapter, encoded: Encoded, present: Float[Tensor, "P U"], config: RegressionConfig
) -> Float[Tensor, " P"]:
    """Mean log-probability of the target tokens for each coalition, or the contrast with their foil.

    Equal coalitions run once (U units have 2^U).
    """
    distinct, which = present.bool().unique(dim=0, return_inverse=True)
    options = config.engine_options()
    found = contrasted(encoded, lambda one: occlude(model, one, distinct, config.baseline, options).losses.T)
    return -torch.stack([*found]).mean(0)[which]
