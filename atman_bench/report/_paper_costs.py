"""What the AtMan paper's Fig. 5 shows of costs, read off its pixels: one 80 GB GPU, half precision, batch 1.

Sizes are called as in ``models._sizes``; the paper counts image encoder and adapters among a model's parameters.
"""

from dataclasses import dataclass

READING_ERROR_GB = 0.5
"""Uncertainty of every memory reading."""


@dataclass(frozen=True)
class Reading:
    """One point of the paper's figure; both are None where the paper's run went out of memory.

    Attributes:
        seconds: Run time.
        gigabytes: Peak memory, weights included; None also where curves hide each other.
    """

    seconds: float | None
    gigabytes: float | None


OOM = Reading(None, None)

SIZES = {"6.0B": 6.434, "8.9B": 8.951, "13.1B": 13.146, "17.3B": 17.34}
"""The paper's models, with the billions of parameters that the spacing of its memory curves tells; its own names are
truncated, or nominal."""

READINGS: dict[tuple[str, str], dict[int, tuple[Reading, ...]]] = {
    ("atman", "default"): {
        128: (Reading(4.5, 13.0), Reading(5.5, 18.1), Reading(8.1, 26.6), Reading(10.9, 35.1)),
        256: (Reading(10.4, 13.2), Reading(13.7, 18.4), Reading(19.3, 27.1), Reading(24.0, 35.6)),
        512: (Reading(36.3, 13.6), Reading(46.5, 18.9), Reading(62.0, 27.8), Reading(79.0, 36.5)),
        768: (Reading(80.0, None), Reading(102.0, None), Reading(138.5, None), Reading(176.0, 37.1)),
        1024: (Reading(159.5, 15.0), Reading(202.0, 20.6), Reading(269.0, None), Reading(343.5, 38.7)),
    },
    ("chefer", "full"): {
        128: (Reading(0.187, 27.8), Reading(0.262, 38.4), Reading(0.392, 55.9), Reading(0.57, 73.3)),
        256: (Reading(0.206, 28.8), Reading(0.293, 40.3), Reading(0.486, 59.4), Reading(0.705, 78.3)),
        512: (Reading(0.3, 31.5), Reading(0.408, 44.3), Reading(0.619, 65.3), OOM),
        768: (Reading(0.386, 35.2), Reading(0.529, 49.5), OOM, OOM),
        1024: (Reading(0.457, 39.0), Reading(0.637, 54.9), OOM, OOM),
    },
    ("plain", "default"): {
        1024: (Reading(0.047, 14.4), Reading(0.082, 19.8), Reading(0.145, 28.8), Reading(0.21, 37.9)),
    },
}
"""(method, variant) -> tokens -> one point per model. The paper's Chefer accumulates gradients of all weights."""


def paper_reading(model: str, method: str, variant: str, tokens: int) -> Reading | None:
    """What the paper shows for a cell as rows name it (``random:6.0B``); None if it does not show one."""
    family, _, size = model.partition(":")
    points = READINGS.get((method, variant), {}).get(tokens)
    return points[list(SIZES).index(size)] if points and family == "random" and size in SIZES else None


def above_weights_gb(model: str, reading: Reading) -> float | None:
    """Memory above the paper's half-precision weights; None where that is less than the reading is uncertain by."""
    if reading.gigabytes is None:
        return None
    above = reading.gigabytes - 2 * SIZES[model.partition(":")[2]]
    return above if above > READING_ERROR_GB else None
