"""Measures of one map that take many forward passes: normalised AOPC, Soft-NC and Soft-NS."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.metrics.faithfulness._aopc import MOST_UNITS, Bounds, LogprobsOf, aopc, normalised_aopc
from atman_bench.metrics.faithfulness._maps import ProbabilityOf
from atman_bench.metrics.faithfulness._orders import removal_order, without_first
from atman_bench.metrics.faithfulness._soft import RATES, keep_rates, soft_nc, soft_ns

SOFT_DRAWS = 4
"""Random subsets at each keep rate."""


def costly_subsets(
    scores: Float[np.ndarray, " U"], thresholds: Float[np.ndarray, "R M U"]
) -> Mapping[str, Bool[np.ndarray, "n U"]]:
    """The subsets that these measures need beside the bounds of AOPC.

    ``one_by_one``: the order of removal, a unit at every step, for up to ``MOST_UNITS`` units; ``soft_nc`` and
    ``soft_ns``: M draws at each of R keep rates, then all units and none.

    Args:
        scores: One map, signed.
        thresholds: Uniform in [0, 1), the same for all maps of a sample, so that these differ in their scores alone: a
            unit is kept where its keep rate is above its threshold.

    Raises:
        AtmanBenchError: A score is not finite.
    """
    n_units = len(scores)
    ends = np.array([[True], [False]]).repeat(n_units, 1)

    def drawn(x: Float[np.ndarray, " U"]) -> Bool[np.ndarray, "n U"]:
        kept = [draws < keep_rates(x, rate) for rate, draws in zip(RATES, thresholds, strict=True)]
        return np.concatenate([*kept, ends])

    one_by_one = without_first(removal_order(scores), range(n_units + 1)) if n_units <= MOST_UNITS else ends[:0]
    return {"one_by_one": one_by_one, "soft_nc": drawn(-scores), "soft_ns": drawn(scores)}


def score_aopc(scores: Float[np.ndarray, " U"], logprobs_of: LogprobsOf, bounds: Bounds) -> float | None:
    """Normalised AOPC of one map; None where all orders are alike.

    Args:
        scores: One map, signed, of up to ``MOST_UNITS`` units.
        logprobs_of: Subsets -> log-probability of the target under each.
        bounds: Of the sample's orders.

    Raises:
        AtmanBenchError: A score or log-probability is not finite.
    """
    curve = logprobs_of(without_first(removal_order(scores), range(len(scores) + 1)))
    return normalised_aopc(aopc(curve), bounds)


def score_soft(
    scores: Float[np.ndarray, " U"],
    thresholds: Float[np.ndarray, "R M U"],
    logprobs_of: LogprobsOf,
    probability: ProbabilityOf = np.exp,
) -> dict[str, float | None]:
    """Soft-NC and Soft-NS of one map, of the distribution (p, 1 - p) of the whole target; None as these say.

    Args:
        scores: One map, signed.
        thresholds: See ``costly_subsets``.
        logprobs_of: Subsets -> log-probability of the target under each.
        probability: Of what that gives, see ``score_map``.

    Raises:
        AtmanBenchError: A score or log-probability is not finite.
    """
    values = {}
    subsets = costly_subsets(scores, thresholds)
    for name, measure in (("soft_nc", soft_nc), ("soft_ns", soft_ns)):
        p = np.minimum(probability(logprobs_of(subsets[name])), 1)  # rounding may leave a sure target above 1
        distributions = np.stack([p, 1 - p], -1)
        *drawn, full, empty = distributions
        perturbed = np.array(drawn).reshape(*thresholds.shape[:2], 2)
        values[name] = measure(full, perturbed, empty)
    return values
