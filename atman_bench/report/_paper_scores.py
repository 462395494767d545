"""What the AtMan paper (NeurIPS 2023) reports for experiments that this suite repeats, x 100 as printed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """What the paper reports for one dataset and kind of model.

    Attributes:
        source: Where the numbers stand, and which model they are of.
        scores: By method: mAP, mAP_IQ, mAR and mAR_IQ, as far as they are printed.
        pixels: The same for variants that score single pixels.
        variants: By method, which variants the numbers are of; of other methods the plain ones.
    """

    source: str
    scores: Mapping[str, Mapping[str, float]]
    pixels: Mapping[str, Mapping[str, float]]
    variants: Mapping[str, frozenset[str]]


def reported(dataset: str, model: str, uids: Iterable[str]) -> Reported | None:
    """What the paper reports for a dataset as rows name it, and a model; None if it has no such experiment.

    Args:
        dataset: Name in rows.
        model: Name in rows.
        uids: Of the samples: data of a user's own in the format of SQuAD have other ids than SQuAD has.
    """
    pattern = _PUBLISHED_IDS.get(dataset)
    if pattern is None or not all(pattern.fullmatch(uid) for uid in uids):
        return None
    return BLIP_OPENIMAGES if (dataset, _is_blip(model)) == (OPENIMAGES, True) else REPORTED.get(dataset)


def scores_of(found: Reported, method: str, variant: str) -> Mapping[str, float]:
    """What is reported for a cell; empty for variants that the paper did not run, as single tokens or other forms."""
    if variant not in found.variants.get(method, _PLAIN):
        return {}
    return (found.pixels if "pixels" in variant else found.scores).get(method, {})


def in_words(found: Reported) -> str:
    """The numbers in a sentence, for pages on other data than the paper's."""

    def listed(scores: Mapping[str, Mapping[str, float]], suffix: str = "") -> list[str]:
        return [f"{method}{suffix} {' / '.join(f'{x:g}' for x in of.values())}" for method, of in scores.items()]

    numbers = "; ".join([*listed(found.scores), *listed(found.pixels, " at pixels")])
    return f"The paper ({found.source}), mAP / mAP_IQ / mAR / mAR_IQ, of two numbers mAP / mAR: {numbers}."


def _is_blip(model: str) -> bool:
    """Whether a model is BLIP, by its name in rows."""
    name = model.lower()
    # The official checkpoint is called model_base_vqa_capfilt_large.
    return ("blip" in name or "capfilt" in name) and not re.search("blip-?2", name)


OPENIMAGES = "openimages (cropped)"
"""The paper crops every image to its object; whole images are another experiment."""

_PUBLISHED_IDS = {
    "squad": re.compile(r"[0-9a-f]{24}"),
    OPENIMAGES: re.compile(r"[0-9a-f]{16}.*"),
    "gqa": re.compile(r"[0-9]+.*"),
}
"""What ids look like in the published data."""

_PLAIN = frozenset({"default", "checkpointed", "pixels"})
_VARIANTS = {
    "atman": frozenset({"shifted-kappa0.7", "shifted-min-all-kappa0.7"}),
    "gradcam": frozenset({"default", "guided-pixels"}),
}
"""Variants that the paper ran throughout: AtMan with kappa = 0.7 and the shift of the released decoder."""


def _four(mean_precision: float, iq_precision: float, mean_recall: float, iq_recall: float) -> Mapping[str, float]:
    return {"mAP": mean_precision, "mAP_IQ": iq_precision, "mAR": mean_recall, "mAR_IQ": iq_recall}


REPORTED = {
    # An interquartile mean recall of 100 cannot come from labels of several tokens under A.11: the paper's scored unit
    # was probably coarser than a token. A.9 prints no interquartile means.
    "squad": Reported(
        "Table 1a and A.9, a 6B model",
        {
            "integrated_gradients": _four(49.5, 49.5, 87.1, 98.6),
            "input_x_gradient": _four(51.7, 61.4, 91.8, 100.0),
            "chefer": _four(72.7, 77.5, 96.6, 100.0),
            "atman": _four(73.7, 81.8, 93.4, 100.0),
            "rollout": {"mAP": 23.1, "mAR": 53.4},
        },
        {},
        _VARIANTS,
    ),
    # A.9 repeats AtMan's mAR as 13.7.
    OPENIMAGES: Reported(
        "Table 1b and A.9, pixels Table 2; MAGMA 6B",
        {
            "gradcam": _four(55.2, 54.3, 4.2, 3.8),
            "input_x_gradient": _four(59.1, 59.0, 10.8, 10.2),
            "integrated_gradients": _four(60.5, 60.6, 10.7, 10.0),
            "chefer": _four(58.3, 57.8, 11.7, 11.1),
            "atman": _four(65.5, 70.2, 15.7, 19.7),
            "rollout": {"mAP": 43.6, "mAR": 1.3},
        },
        {
            "input_x_gradient": _four(38.0, 34.1, 0.2, 0.1),
            "integrated_gradients": _four(46.1, 45.2, 0.3, 0.1),
            "gradcam": _four(56.7, 60.4, 0.1, 0.1),
        },
        _VARIANTS,
    ),
    "gqa": Reported(
        "A.12, MAGMA 6B",
        {"atman": {"mAP": 52.4, "mAR": 24.3}, "integrated_gradients": {"mAP": 33.3, "mAR": 27.0}},
        {},
        _VARIANTS,
    ),
}
"""By the name of the dataset in rows."""

# The released notebook gives AtMan's mAR as 28.4 and mAR_IQ as 26.4, from at most 256 images; Chefer's are of all.
BLIP_OPENIMAGES = Reported(
    "Table 3, BLIP",
    {"chefer": _four(59.7, 60.3, 20.2, 19.4), "atman": _four(64.6, 66.1, 26.4, 28.4)},
    {},
    # The released similarity and Chefer's loss of the whole answer; cosines and logits are this suite's.
    {
        "atman": frozenset({"literal-ref-kappa0.1-most150-in-units-f0.95"}),
        "chefer": frozenset({"objective=answer-loss"}),
    },
)
