"""ProxySPEX (Butler et al. 2025, arXiv:2505.17495): boosted trees learn the response's log-odds with interactions.

The trees and their Fourier transform are those of the package shapiq (MIT), which ``atman-bench[spex]`` installs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Bool, Float

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import check_count
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._subsets import SurrogateConfig, sampled
from atman_bench.models._base import ModelAdapter

PACKAGES = ("shapiq", "lightgbm")

LEAF = 20
"""Samples of a leaf at the least, LightGBM's default: with fewer on either side no unit can be told apart."""

LEAST_SAMPLES = 64
"""The trees' depth, rate and number are chosen on four fifths of the samples, which have to fill two leaves."""


@dataclass(frozen=True, kw_only=True)
class ProxySpexConfig(SurrogateConfig):
    """Options of ProxySPEX.

    Attributes:
        n_samples: How many random sets are run, a forward pass each; each keeps a unit with probability 1/2.
    """

    n_samples: int = 256

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples, least=LEAST_SAMPLES)
        if missing := [package for package in PACKAGES if find_spec(package) is None]:
            raise ConfigError(f"proxy_spex needs {' and '.join(missing)}: pip install 'atman-bench[spex]'")


def explain(model: ModelAdapter, encoded: Encoded, config: ProxySpexConfig, seed: int) -> Attribution:
    """Shapley values of the surrogate of the whole response's log-odds, which is no mean over its tokens."""
    masks, log_odds = sampled(model, encoded, config, seed)
    return Attribution(torch.from_numpy(shapley_values(masks, log_odds)).float())


@dataclass(frozen=True)
class _Drawn:
    """Subsets in the place of those that shapiq would draw; it knows no other way to be given some."""

    coalitions_matrix: Bool[np.ndarray, "M U"]

    def sample(self, budget: int) -> None:
        """They are drawn already."""


def shapley_values(masks: Bool[np.ndarray, "M U"], values: Float[np.ndarray, " M"]) -> Float[np.ndarray, " U"]:
    """Shapley values of a sparse polynomial that is fitted to values of subsets.

    Trees that are fitted to the values are one polynomial in the Fourier basis; its terms with 95 % of the energy are
    fitted again (ridge), and become dividends m of the sets that interact (Moebius transform). A unit has its share of
    each set that it is in: sum over sets S with u in S of m(S) / |S| (Harsanyi 1963), so that scores add up to the
    surrogate's value of all units minus that of none.

    Args:
        masks: Random subsets, True = kept.
        values: One for each.

    Raises:
        ConfigError: The installed shapiq takes no subsets.
    """
    from shapiq import ProxySPEX  # takes seconds to import

    kept = masks.sum(0)
    if np.ptp(values) == 0 or np.minimum(kept, len(masks) - kept).max() < LEAF:
        return np.zeros(masks.shape[1])  # trees without a split, of which shapiq cannot make a polynomial
    approximator = ProxySPEX(n=masks.shape[1], index="SV", max_order=1, random_state=0)
    approximator._uniform_sampler = _Drawn(masks)
    found = approximator.approximate(len(masks), _known(masks, values))
    return np.array([found[(unit,)] for unit in range(masks.shape[1])], np.float64)


def _known(
    masks: Bool[np.ndarray, "M U"], values: Float[np.ndarray, " M"]
) -> Callable[[Bool[np.ndarray, "M U"]], Float[np.ndarray, " M"]]:
    """The values as a function of the subsets, which shapiq asks for."""

    def value_of(asked: Bool[np.ndarray, "M U"]) -> Float[np.ndarray, " M"]:
        if asked is not masks:
            raise ConfigError(
                "proxy_spex: this version of shapiq draws subsets of its own: pip install 'atman-bench[spex]'"
            )
        return values

    return value_of


SPEC = MethodSpec(
    summary="ProxySPEX: Shapley values of boosted trees on the response's log-odds under random sets (extra: spex)",
    version=1,
    config=ProxySpexConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + config.n_samples,
    stochastic=True,
    variants={"attention": {"edit": "attention"}},
    default=False,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention(options["edit"]),
)
