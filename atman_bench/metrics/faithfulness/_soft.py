"""Soft-NC and Soft-NS (Zhao and Aletras 2023; ReAGent, Zhao and Shan 2024) at equal keep rates.

Instead of removing top units, every unit is kept with a probability that rises with its score. The published code feeds
softmaxed scores, of about 1/U each, so that its comprehensiveness perturbs next to nothing, and leaves the root out of
the Hellinger distance. Here scores give ranks, ranks give probabilities with a stated mean, and values are areas over
such keep rates: every map perturbs equally much, and only which units it keeps differs.
"""

import numpy as np
from jaxtyping import Float

from atman_bench.core.errors import AtmanBenchError
from atman_bench.metrics.faithfulness._arrays import finite
from atman_bench.metrics.faithfulness._orders import curve_auc

RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Mean keep rates where the caller does not say otherwise."""


def keep_rates(scores: Float[np.ndarray, " U"], rate: float) -> Float[np.ndarray, " U"]:
    """Probabilities of keeping each unit: u^g, u = (average rank - 1/2) / U, with g such that their mean is the rate.

    They rise with the score, are equal for tied units, lie in (0, 1), and do not depend on the scores' scale. Soft-NS
    keeps units with these probabilities, Soft-NC with those of the negated scores.

    Args:
        scores: One map.
        rate: The mean, in (0, 1).

    Raises:
        AtmanBenchError: The rate is outside of (0, 1), or a score is not finite.
    """
    if not 0 < rate < 1:
        raise AtmanBenchError(f"a keep rate is a probability between 0 and 1, received {rate}")
    _, place, counts = np.unique(finite("scores", scores, None), return_inverse=True, return_counts=True)
    logs = np.log((counts.cumsum() - counts / 2) / len(place))[place]
    low, high = 0.0, 1.0
    while np.exp(high * logs).mean() > rate:
        high *= 2
    for _ in range(100):  # halving: the mean falls as g rises
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(middle * logs).mean() > rate else (low, middle)
    return np.exp((low + high) / 2 * logs)


def hellinger(p: Float[np.ndarray, "*n V"], q: Float[np.ndarray, "*n V"]) -> Float[np.ndarray, "*n"]:
    """sqrt(sum over v of (sqrt(p_v) - sqrt(q_v))^2 / 2): distance of distributions, in [0, 1].

    Raises:
        AtmanBenchError: A value is not finite, or negative.
    """
    a, b = finite("p", p), finite("q", q)
    if (a < 0).any() or (b < 0).any():
        raise AtmanBenchError("distributions have no negative entries: hand over probabilities, not logarithms")
    return np.asarray(np.sqrt(np.square(np.sqrt(a) - np.sqrt(b)).sum(-1) / 2))


def soft_nc(
    full: Float[np.ndarray, " V"],
    perturbed: Float[np.ndarray, "R M V"],
    empty: Float[np.ndarray, " V"],
    rates: Float[np.ndarray, " R"] | None = None,
) -> float | None:
    """Normalised soft comprehensiveness: area over keep rates of H(full, perturbed) / H(full, empty); higher is better.

    The perturbed inputs keep the *least* relevant units, so a good map moves the distribution far. None where the empty
    input has the distribution of the full one.

    Args:
        full: Distribution of the predicted token with all units; (p, 1 - p) where only the target's is known.
        perturbed: The same under M draws at each of R keep rates (``keep_rates`` of the negated scores).
        empty: The same without any unit.
        rates: The keep rates, ascending; ``RATES`` by default.

    Raises:
        AtmanBenchError: See ``hellinger`` and ``curve_auc``.
    """
    return _area(full, perturbed, empty, rates)


def soft_ns(
    full: Float[np.ndarray, " V"],
    perturbed: Float[np.ndarray, "R M V"],
    empty: Float[np.ndarray, " V"],
    rates: Float[np.ndarray, " R"] | None = None,
) -> float | None:
    """Normalised soft sufficiency: area over keep rates of 1 - H(full, perturbed) / H(full, empty); higher is better.

    The perturbed inputs keep the *most* relevant units (``keep_rates`` of the scores), so a good map leaves the
    distribution where it was. Arguments, None and errors as for ``soft_nc``.
    """
    moved = _area(full, perturbed, empty, rates)
    return None if moved is None else 1 - moved


def _area(
    full: Float[np.ndarray, " V"],
    perturbed: Float[np.ndarray, "R M V"],
    empty: Float[np.ndarray, " V"],
    rates: Float[np.ndarray, " R"] | None,
) -> float | None:
    furthest = hellinger(full, empty)
    if not furthest:
        return None
    moved = hellinger(np.broadcast_to(full, perturbed.shape), perturbed).mean(-1)
    return curve_auc(moved / furthest, np.array(RATES) if rates is None else rates)
