"""The score transform, by which signed scores become a map: one option, the same for every method of a comparison.

It changes average precision by more than the choice of a method's variant does, so every row names it.
"""

from enum import StrEnum

import numpy as np
from jaxtyping import Float


class Sign(StrEnum):
    """A rule from relevance per target token, r (T, U), to a map x (U,); mean and sum are over target tokens.

    ========================  ====================  ==================================================================
    ``positive`` (default)    max(0, mean r)        what supports the target; evidence against it is left out
    ``signed``                mean r                as it is; A.11's metrics may leave [0, 1]
    ``absolute``              |mean r|              what matters, in either direction
    ``squared``               (mean r)^2            the same, sharpened: lowers AR, usually raises AP
    ``release-decoder``       sum r^2               the released code for decoders (squared per token, then summed)
    ``release-blip``          |sum r|               the released code for BLIP; metrics equal those of ``absolute``
    ========================  ====================  ==================================================================
    """

    POSITIVE = "positive"
    SIGNED = "signed"
    ABSOLUTE = "absolute"
    SQUARED = "squared"
    RELEASE_DECODER = "release-decoder"
    RELEASE_BLIP = "release-blip"


def apply_sign(
    sign: Sign, scores: Float[np.ndarray, " U"], per_target: Float[np.ndarray, "T U"] | None
) -> Float[np.ndarray, " U"]:
    """Turn relevance into a map by one of the rules above.

    Args:
        sign: The rule.
        scores: Relevance for the mean over target tokens.
        per_target: Relevance for each target token; a method that explains their mean only (None) counts as having one
            target token.
    """
    mean = np.asarray(scores, np.float64)
    each = mean[None] if per_target is None else np.asarray(per_target, np.float64)
    match sign:
        case Sign.POSITIVE:
            return np.maximum(mean, 0)
        case Sign.SIGNED:
            return mean
        case Sign.ABSOLUTE:
            return np.abs(mean)
        case Sign.SQUARED:
            return np.square(mean)
        case Sign.RELEASE_DECODER:
            return np.square(each).sum(0)
        case Sign.RELEASE_BLIP:
            return np.abs(each.sum(0))
