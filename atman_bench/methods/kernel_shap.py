"""KernelSHAP over units (captum), on replaced embeddings: coalitions are drawn, and weighed, by the Shapley kernel."""

import torch
from captum.attr import KernelShap

from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._perturbation import RegressionConfig, mean_logprobs, regress
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: RegressionConfig, seed: int) -> Attribution:
    """See ``regress``. A single unit has two coalitions, all and none: the Shapley value is their difference."""
    if len(encoded.units) == 1:
        present, absent = mean_logprobs(model, encoded, torch.tensor([[1.0], [0.0]]), config)
        return Attribution((present - absent)[None])
    return regress(KernelShap, model, encoded, config, seed)


SPEC = MethodSpec(
    summary="KernelSHAP on units (captum), with a budget of forward passes",
    version=1,
    config=RegressionConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 2 + config.n_samples,
    stochastic=True,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.EMBEDDING,
)
