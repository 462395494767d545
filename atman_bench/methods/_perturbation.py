"""What the perturbation methods share: engine options, and sweeps over replaced embeddings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atman_bench.engine import EngineMode, EngineOptions, InputEdit, Sweep, sweep
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Encoded

COSTS_ONLY = {"identity": False}
"""Marks an option that changes cost but no value: it is no part of a stored map's fingerprint."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of every method that runs on the engine.

    Attributes:
        engine: ``fast`` (prefix reuse, target rows only) or ``naive`` (whole sequence, all logits): same numbers.
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
    weight = model.model.get_input_embeddings().weight
    vector = weight.new_zeros(weight.shape[1]) if baseline is Baseline.ZERO else weight.detach().float().mean(0)
    units = encoded.unit_of_position
    kept = torch.ones(present.shape[0], encoded.length, dtype=torch.bool)
    kept[:, units >= 0] = present[:, units[units >= 0]]
    return sweep(model, encoded, InputEdit(kept, vector), options)


def regression_target(
    model: ModelAdapter, encoded: Encoded, baseline: Baseline, options: EngineOptions
) -> Callable[[Float[Tensor, "P U"]], Float[Tensor, " P"]]:
    """What LIME and KernelSHAP regress on: the target's mean log-probability, given which units are present."""

    def logprob(present: Float[Tensor, "P U"]) -> Float[Tensor, " P"]:
        return -occlude(model, encoded, present.bool(), baseline, options).losses.mean(1)

    return logprob
