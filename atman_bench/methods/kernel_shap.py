"""KernelSHAP over units (captum), on replaced embeddings: coalitions are drawn, and weighed, by the Shapley kernel."""

from captum.attr import KernelShap

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._perturbation import RegressionConfig, regress
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: RegressionConfig, seed: int) -> Attribution:
    """See ``regress``."""
    return regress(KernelShap, model, encoded, config, seed)


SPEC = MethodSpec(
    summary="KernelSHAP on units (captum), with a budget of forward passes",
    version=1,
    config=RegressionConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 2 + config.n_samples,
    stochastic=True,
)
