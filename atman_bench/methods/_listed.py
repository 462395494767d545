"""Methods that list all their perturbations before the first of them runs: one sweep, which workers can share."""

from collections.abc import Sequence
from dataclasses import dataclass

from atman_bench.core.tensors import Attribution, Encoded
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

    def explained(self, model: ModelAdapter, encoded: Encoded, options: EngineOptions) -> Attribution:
        """Relevance = perturbed loss - plain loss."""
        return attribution_of(self.run(model, encoded, options), self.which)


def attribution_of(found: Sweep, which: Sequence[int]) -> Attribution:
    """The map of a sweep, whole or joined.

    Args:
        found: The sweep.
        which: See ``Listed``.
    """
    return Attribution.mean_of(found.deltas[:, list(which)])
