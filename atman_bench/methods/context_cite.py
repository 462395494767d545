"""ContextCite (Cohen-Wang et al. 2024): a sparse surrogate of the response's log-odds over random sets of units."""

from dataclasses import dataclass

import torch

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._subsets import SurrogateConfig, sampled
from atman_bench.metrics.faithfulness import sparse_weights
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class ContextCiteConfig(SurrogateConfig):
    """Options of ContextCite.

    Attributes:
        alpha: Weight of the Lasso's penalty.
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0:
            raise ConfigError(f"alpha must be above 0, received {self.alpha}")


def explain(model: ModelAdapter, encoded: Encoded, config: ContextCiteConfig, seed: int) -> Attribution:
    """Weights of the surrogate of the whole response, which is no mean over its tokens."""
    masks, log_odds = sampled(model, encoded, config, seed)
    return Attribution(torch.from_numpy(sparse_weights(masks, log_odds, len(encoded.target_ids), config.alpha)).float())


SPEC = MethodSpec(
    summary="ContextCite: Lasso on the response's log-odds under random sets of units",
    version=1,
    config=ContextCiteConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + config.n_samples,
    stochastic=True,
    variants={"attention": {"edit": "attention"}},
    default=False,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention(options["edit"]),
)
