"""ContextCite: a sparse linear surrogate of the response's log-odds over random subsets (Cohen-Wang et al. 2024)."""

import numpy as np
from jaxtyping import Bool, Float, Int

from atman_bench.metrics.faithfulness._arrays import finite

CERTAIN = -(2.0**-24)
"""A log-probability above it is 0 in float32, whose next number below 1 this is the logarithm of."""


def response_logit(logprobs: Float[np.ndarray, "*n T"]) -> Float[np.ndarray, "*n"]:
    """Log-odds of the whole response: s - log(1 - e^s), s = sum over tokens of log p.

    The logit of the response's probability, not the mean of its tokens' logits. Computed in float64, so that no digits
    are lost where p is near 1; a response that float32 cannot tell from certain counts as p = 1 - 2^-24 (16.6), since
    an infinite value would leave nothing to fit.

    Args:
        logprobs: Log-probability of each token of the response, under each subset.

    Raises:
        AtmanBenchError: A value is not finite.
    """
    total = np.minimum(finite("logprobs", logprobs).sum(-1), CERTAIN)
    return np.asarray(total - np.log(-np.expm1(total)))


def token_logit(logits: Float[np.ndarray, "*n V"], labels: Int[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Log-odds of single tokens: z_y - log sum over v != y of e^z_v, which is log p - log(1 - p).

    Args:
        logits: Of the whole vocabulary.
        labels: The tokens y.

    Raises:
        AtmanBenchError: A value is not finite.
    """
    z = finite("logits", logits)
    index = np.asarray(labels)[..., None]
    chosen = np.take_along_axis(z, index, -1)
    others = z.copy()
    np.put_along_axis(others, index, -np.inf, -1)
    peak = others.max(-1, keepdims=True)
    rest = peak + np.log(np.exp(others - peak).sum(-1, keepdims=True))
    return np.asarray((chosen - rest)[..., 0])


def context_cite(
    masks: Bool[np.ndarray, "n U"], logprobs: Float[np.ndarray, "n T"], alpha: float = 0.01
) -> Float[np.ndarray, " U"]:
    """Weights of the surrogate: how much keeping each unit adds to the log-odds of the response; positive = helps.

    See ``sparse_weights``, with y from ``response_logit``.

    Any span of the response reuses the passes: hand over the span's columns of ``logprobs``.

    Args:
        masks: Random subsets, True = kept.
        logprobs: Log-probability of each token of the response under each subset.
        alpha: Weight of the penalty; more gives fewer weights that are not 0.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    n_tokens = logprobs.shape[-1]
    return sparse_weights(masks, response_logit(finite("logprobs", logprobs, len(masks), n_tokens)), n_tokens, alpha)


def sparse_weights(
    masks: Bool[np.ndarray, "n U"], values: Float[np.ndarray, " n"], n_tokens: int, alpha: float
) -> Float[np.ndarray, " U"]:
    """How much keeping each unit adds to a value of subsets, by a Lasso.

    Each column of the masks, as 0 and 1, minus its mean over its population deviation (1 for a column that is constant,
    whose weight is 0) is X. A Lasso with intercept c minimises |y / T - X b - c|^2 / (2 n) + alpha |b|_1; the weights
    are T b / deviation.

    Args:
        masks: Random subsets, True = kept.
        values: y, under each subset.
        n_tokens: T, of the response.
        alpha: Weight of the penalty; more gives fewer weights that are not 0.

    Raises:
        AtmanBenchError: Shapes do not match, or a value is not finite.
    """
    from sklearn.linear_model import Lasso  # takes a second to import

    kept = finite("masks", masks, None, None)
    y = finite("values", values, len(kept)) / n_tokens
    deviation = kept.std(0)
    deviation[deviation == 0] = 1
    fitted = Lasso(alpha=alpha).fit((kept - kept.mean(0)) / deviation, y)
    return n_tokens * fitted.coef_ / deviation
