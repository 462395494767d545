"""ContextCite (Cohen-Wang et al. 2024): a sparse surrogate of the response's log-odds over random sets of units."""

from dataclasses import dataclass

import torch

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import check_count
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._perturbation import Baseline, EngineConfig
from atman_bench.methods._subsets import BANK_SIZE, InterventionOptions, random_subsets, run_bank
from atman_bench.metrics.faithfulness import context_cite
from atman_bench.models._base import ModelAdapter

FIRST_SEED = 1 << 32
"""Seeds of the subsets that are fitted start here: faithfulness is measured on others."""


@dataclass(frozen=True, kw_only=True)
class ContextCiteConfig(EngineConfig):
    """Options of ContextCite.

    Attributes:
        edit: How units that a set leaves out are taken away: embedding (replaced, as removed text) or attention
            (suppressed in full, as AtMan does: our own surrogate).
        baseline: What replaces the embedding of an absent token: zero, or the mean embedding.
        n_samples: How many random sets are run; each keeps a unit with probability 1/2.
        alpha: Weight of the Lasso's penalty.
    """

    edit: Intervention = Intervention.EMBEDDING
    baseline: Baseline = Baseline.ZERO
    n_samples: int = BANK_SIZE
    alpha: float = 0.01

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples, least=2)
        if self.alpha <= 0:
            raise ConfigError(f"alpha must be above 0, received {self.alpha}")


def explain(model: ModelAdapter, encoded: Encoded, config: ContextCiteConfig, seed: int) -> Attribution:
    """Weights of the surrogate of the whole response, which is no mean over its tokens."""
    masks = random_subsets(encoded.uid, len(encoded.units), config.n_samples, FIRST_SEED + seed)
    options = InterventionOptions(
        intervention=config.edit,
        baseline=config.baseline,
        engine=config.engine,
        batch=config.batch,
        memory_gb=config.memory_gb,
    )
    logprobs = run_bank(model, encoded, masks, options)
    return Attribution(torch.from_numpy(context_cite(masks, logprobs, config.alpha)).float())


SPEC = MethodSpec(
    summary="ContextCite: Lasso on the response's log-odds under random sets of units",
    version=1,
    config=ContextCiteConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + config.n_samples,
    stochastic=True,
    variants={"attention": {"edit": "attention"}},
    default=False,
    perturbs=lambda options: Intervention(options["edit"]),
)
