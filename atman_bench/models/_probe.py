"""What the probes of all model families check: edits reach every layer, and a hosted model is the same model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.core.errors import ModelError

TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Logits may differ by this share of the largest between our attention and the model's: rounding, over many layers."""


@dataclass(frozen=True)
class ProbeReport:
    """What a model's probe found.

    Attributes:
        path: How edits get into the model: ``routed`` or ``patched``.
        layers: Softmax-attention layers, all of which are edited.
        details: What was checked, with the largest deviations.
    """

    path: str
    layers: int
    details: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One input of a probe: differences are relative to the largest logit.

    Attributes:
        name: Of the model's class.
        own: Logits by the model's own attention.
        tolerance: Largest relative difference that counts as rounding.
    """

    name: str
    own: Float[Tensor, "1 R V"]
    tolerance: float

    @cached_property
    def _scale(self) -> float:
        return self.own.abs().max().clamp(min=1).item()

    def difference(self, logits: Float[Tensor, "1 R V"], others: Float[Tensor, "1 R V"]) -> float:
        """The largest; 0 between no rows."""
        return (logits - others).abs().max().item() / self._scale if logits.numel() else 0.0

    def check_layers(self, calls: Sequence[int], n_layers: int) -> None:
        """An edit was called once in each layer.

        Raises:
            ModelError: It was not.
        """
        if sorted(calls) != list(range(n_layers)):
            raise ModelError(
                f"{self.name}: the edit was called for layers {list(calls)}, expected each of {n_layers} once"
            )

    def check_same(self, hosted: Float[Tensor, "1 K V"], change: str, reason: str, rows: slice = slice(None)) -> float:
        """Nothing changed.

        Args:
            hosted: Logits by our attention.
            change: What was done.
            reason: What it means if logits changed.
            rows: Which K of the R rows they are of.

        Raises:
            ModelError: They did.
        """
        found = self.difference(self.own[:, rows], hosted)
        if not found <= self.tolerance:
            raise ModelError(
                f"{self.name}: {change} the logits by {found:.2g} of their largest value, expected at most "
                f"{self.tolerance:g}; {reason}"
            )
        return found

    def check_causal(self, earlier: Float[Tensor, "1 R V"], later: Float[Tensor, "1 R V"], reason: str) -> float:
        """Logits of earlier rows are the same with another later token.

        Raises:
            ModelError: They are not.
        """
        found = self.difference(earlier, later)
        if not found <= self.tolerance:
            raise ModelError(f"{self.name}: a later token moves earlier logits by {found:.2g}; {reason}")
        return found

    def check_removed(self, rows: Float[Tensor, "1 R V"], others: Float[Tensor, "1 R V"]) -> float:
        """Logits behind a token that attention cannot see are the same with another token there.

        Both are rows of one batch, which rounds them alike: a tenth of the tolerance finds weak paths too.

        Raises:
            ModelError: They are not.
        """
        found = self.difference(rows, others)
        if not found <= self.tolerance / 10:
            raise ModelError(
                f"{self.name}: a token that is removed from all attention still moves later logits by {found:.2g}; its "
                "layers have a path beside attention, in which AtMan cannot suppress it, so this model is refused"
            )
        return found
