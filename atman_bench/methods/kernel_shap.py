"""KernelSHAP over units (captum), on replaced embeddings."""

from dataclasses import dataclass

import torch
from captum.attr import KernelShap

from atman_bench.methods._base import MethodSpec
from atman_bench.methods._perturbation import Baseline, EngineConfig, regression_target
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded


@dataclass(frozen=True, kw_only=True)
class KernelShapConfig(EngineConfig):
    """Options of KernelSHAP.

    Attributes:
        n_samples: Budget of forward passes; coalitions are drawn by the Shapley kernel.
        baseline: What replaces the embedding of an absent token: zero, or the mean embedding.
    """

    n_samples: int = 256
    baseline: Baseline = Baseline.ZERO


def explain(model: ModelAdapter, encoded: Encoded, config: KernelShapConfig, seed: int) -> Attribution:
    """Coefficients of captum's Shapley-weighted regression of the target's mean log-probability on present units."""
    logprob = regression_target(model, encoded, config.baseline, config.engine_options())
    present = torch.ones(1, len(encoded.units))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scores = KernelShap(logprob).attribute(
            present,
            baselines=torch.zeros_like(present),
            n_samples=config.n_samples,
            perturbations_per_eval=config.n_samples,
        )
    return Attribution(scores[0].float())


SPEC = MethodSpec(
    summary="KernelSHAP on units (captum), with a budget of forward passes",
    version=1,
    config=KernelShapConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 2 + config.n_samples,
    stochastic=True,
)
