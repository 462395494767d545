"""LIME over units (captum), on replaced embeddings: each coalition drops every unit with probability 1/2."""

from captum.attr import Lime

from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._perturbation import RegressionConfig, regress
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: RegressionConfig, seed: int) -> Attribution:
    """See ``regress``."""
    return regress(Lime, model, encoded, config, seed)


SPEC = MethodSpec(
    summary="LIME on units (captum), with a budget of forward passes",
    version=1,
    config=RegressionConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 2 + config.n_samples,
    stochastic=True,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.EMBEDDING,
)
