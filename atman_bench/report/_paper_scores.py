"""What the AtMan paper (NeurIPS 2023) reports for experiments that this suite repeats, x 100 as printed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """What the paper reports for one dataset and kind of model.

    Attributes:
        source: Where the numbers stand, and which model they are of.
        scores: By method: mAP, mAP_IQ, mAR and mAR_IQ, as far as they are printed.
        pixels: The same for variants that score single pixels.
    """

    source: str
    scores: Mapping[str, Mapping[str, float]]
    pixels: Mapping[str, Mapping[str, float]]


def reported(dataset: str, model: str) -> Reported | None:
    """What the paper reports for a dataset as rows name it, and a model; None if it has no such experiment."""
    return BLIP_OPENIMAGES if (dataset, _is_blip(model)) == (OPENIMAGES, True) else REPORTED.get(dataset)


def paper_scores(dataset: str, model: str, method: str, variant: str) -> Mapping[str, float]:
    """The paper's numbers for a cell, empty if there are none."""
    found = reported(dataset, model)
    return {} if found is None else scores_of(found, method, variant)


def scores_of(found: Reported, method: str, variant: str) -> Mapping[str, float]:
    """What is reported for a cell, empty if nothing is. The paper has one variant per method and granularity."""
    if "pooled" in variant:
        return {}
    return (found.pixels if "pixels" in variant else found.scores).get(method, {})


def _is_blip(model: str) -> bool:
    """Whether a model is BLIP, by its name in rows."""
    name = model.lower()
    # The official checkpoint is called model_base_vqa_capfilt_large.
    return ("blip" in name or "capfilt" in name) and not re.search("blip-?2", name)


OPENIMAGES = "openimages (cropped)"
"""The paper crops every image to its object; whole images are another experiment."""


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
    ),
    "gqa": Reported(
        "A.12, MAGMA 6B",
        {"atman": {"mAP": 52.4, "mAR": 24.3}, "integrated_gradients": {"mAP": 33.3, "mAR": 27.0}},
        {},
    ),
}
"""By the name of the dataset in rows."""

# The released notebook gives AtMan's mAR as 28.4 and mAR_IQ as 26.4, from at most 256 images; Chefer's are of all.
BLIP_OPENIMAGES = Reported(
    "Table 3, BLIP", {"chefer": _four(59.7, 60.3, 20.2, 19.4), "atman": _four(64.6, 66.1, 26.4, 28.4)}, {}
)
