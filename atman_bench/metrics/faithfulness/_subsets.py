"""How well summed scores predict the model under random subsets of units: LDS and R2."""

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.metrics.faithfulness._arrays import finite


def lds(
    masks: Bool[np.ndarray, "n U"], scores: Float[np.ndarray, " U"], logprobs: Float[np.ndarray, " n"]
) -> float | None:
    """Linear datamodeling score: Spearman of (sum of kept scores, log-probability) over random subsets.

    rank correlation of (masks @ scores, logprobs) with average ranks for ties, in [-1, 1], higher is better (Park et
    al. 2023, TRAK). None where either side is constant. Only the order of the sums counts, and so neither scale nor
    offset of the scores. Use subsets that no method has fitted its scores to.

    Args:
        masks: Random subsets, True = kept.
        scores: One map.
        logprobs: Log-probability of the target under each subset.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    predicted, actual = _pairs(masks, scores, logprobs)
    # Equal sums that were added up in another order differ by rounding, and would be ranked by it.
    size = float(np.abs(scores).sum()) or 1.0
    return _pearson(_ranks((predicted / size).round(12)), _ranks(actual))


def r2(
    masks: Bool[np.ndarray, "n U"], scores: Float[np.ndarray, " U"], logprobs: Float[np.ndarray, " n"]
) -> float | None:
    """Share of the variance of the log-probability that the best affine fit of the summed scores explains.

    Squared Pearson correlation of (masks @ scores, logprobs), in [0, 1], higher is better. None where either side is
    constant. A map of the wrong sign keeps its R2: read it beside ``lds``, whose sign tells.

    Args:
        masks: Random subsets, True = kept.
        scores: One map.
        logprobs: Log-probability of the target under each subset.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    correlation = _pearson(*_pairs(masks, scores, logprobs))
    return None if correlation is None else correlation**2


def rank_correlation(a: Float[np.ndarray, " U"], b: Float[np.ndarray, " U"]) -> float | None:
    """Spearman's correlation of two maps, average ranks for ties; None where either is constant.

    Raises:
        AtmanBenchError: They are not as long as each other, or a value is not finite.
    """
    return _pearson(_ranks(finite("a", a, None)), _ranks(finite("b", b, len(a))))


def _pairs(
    masks: Bool[np.ndarray, "n U"], scores: Float[np.ndarray, " U"], logprobs: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    kept = finite("masks", masks, None, None)
    return kept @ finite("scores", scores, kept.shape[1]), finite("logprobs", logprobs, len(kept))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def _pearson(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    spread = np.abs(a).max() * np.abs(b).max()
    if not spread:
        return None
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
