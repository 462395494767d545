"""The colour scale that the maps of one figure share, and the numerical noise that no colour may show."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from atman_bench.core.records import Dtype, dtype_in
from atman_bench.report._overlay import scale_of

LOSS_CHANGES = frozenset(
    {"adaptive", "atman", "context_cite", "kernel_shap", "lime", "occlusion", "proxy_spex"},
)
"""Methods whose scores are changes of the loss under perturbations, in nats; all others have units of their own."""

_MACHINE_EPS = {Dtype.FLOAT32: 2.0**-23, Dtype.FLOAT16: 2.0**-10, Dtype.BFLOAT16: 2.0**-7}
_ROUNDINGS = 16
"""Machine epsilons of a loss that are noise. The fast and the naive engine compute the same losses in another order; on
the embedded models their scores differ by up to 1.9e-6 nats, 16 epsilons of float32."""


def scale_name(method: str, variant: str) -> str:
    """What maps that may share a colour scale have in common: their unit, and what it is counted over.

    A pixel's score is a small part of a patch's, so maps of pixels have a scale of their own.
    """
    if method in LOSS_CHANGES:
        return "change of the loss, nats"
    return f"{method} {'of pixels ' if variant.endswith('pixels') else ''}(own unit)"


def noise_of(method: str, target_logprobs: Sequence[float], dtype: str = Dtype.FLOAT32) -> float:
    """The largest score that rounding of the losses can make: 16 machine epsilons of a loss of at least one nat.

    Args:
        method: Scores that are no changes of losses are not differences of rounded numbers: their noise is 0.
        target_logprobs: Of the T target tokens under the plain model; their negative mean is the loss.
        dtype: Of the model, as ``type_name`` has it; quantised weights are no rounding, since both losses have them.
    """
    if method not in LOSS_CHANGES:
        return 0.0
    loss = -float(np.mean(target_logprobs)) if len(target_logprobs) else 0.0
    return _ROUNDINGS * _MACHINE_EPS[dtype_in(dtype)] * max(1.0, loss)


def without_noise(scores: Float[np.ndarray, " U"], noise: float) -> Float[np.ndarray, " U"]:
    """Scores with 0 for those that do not exceed the noise."""
    return np.where(np.abs(scores) > noise, scores, 0)


def shared_scale(maps: Iterable[Float[np.ndarray, " U"]]) -> float:
    """The score that gets full colour in all of these maps: see ``scale_of``; 0 where none has a score."""
    return scale_of(np.concatenate([np.zeros(1), *maps]))


def shades(scores: Float[np.ndarray, " U"], full: float) -> Float[np.ndarray, " U"]:
    """Strength of the colour of each score in [-1, 1]: the square root of its share of the score of full colour.

    A root, so that maps whose largest scores differ by a factor of a hundred are all seen on one scale.

    Args:
        scores: Without noise.
        full: From ``shared_scale``.
    """
    if full <= 0:
        return np.zeros_like(scores)
    return np.clip(np.sign(scores) * np.sqrt(np.abs(scores) / full), -1, 1)
