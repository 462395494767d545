"""Methods that list all their perturbations before the first of them runs: one sweep, which workers can share."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import EngineOptions, Perturbations, Share, Sweep, sweep
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True)
class Listed:
    """The perturbations of one sample.

    Attributes:
        perturbations: P of them.
        which: Which of them the score of each of the U units is of.
    """

    perturbations: Perturbations
    which: Sequence[int]

    def run(self, model: ModelAdapter, encoded: Encoded, options: EngineOptions, share: Share | None = None) -> Sweep:
        """See ``sweep``."""
        return sweep(model, encoded, self.perturbations, options, share=share)

    def deltas(self, model: ModelAdapter, encoded: Encoded, options: EngineOptions) -> Float[Tensor, "T U"]:
        """Perturbed loss - plain loss of each target token."""
        return self.run(model, encoded, options).deltas[:, list(self.which)]
