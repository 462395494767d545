"""A check of every sample that a dataset would give: images and masks are decoded, reasons counted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from atman_bench.core.errors import SampleError
from atman_bench.core.images import mask_array, open_picture
from atman_bench.core.records import Picture, RegionMask, Sample, Segments
from atman_bench.core.segments import segment_array
from atman_bench.datasets._base import Dataset


@dataclass(frozen=True)
class Check:
    """What decoding every image has shown.

    Attributes:
        usable: Number of samples whose image and masks decode; of a text nothing has to be decoded.
        problems: Reason -> how many samples are unusable, or entries were skipped, for it.
    """

    usable: int
    problems: Mapping[str, int]


def check(dataset: Dataset) -> Check:
    """Decode every image and mask of a dataset."""
    found = [_problem(sample) for sample in dataset.samples]
    problems = [*(skip.reason for skip in dataset.skipped), *filter(None, found)]
    return Check(found.count(None), counts(problems))


def counts(items: Iterable[str]) -> dict[str, int]:
    """How often each occurs, most frequent first."""
    return dict(Counter(items).most_common())


def _problem(sample: Sample) -> str | None:
    """Why a sample's images cannot be used, None if they can."""
    if sample.picture is None:
        return None
    try:
        size = open_picture(Picture(sample.picture.path)).size
    except SampleError as error:
        return f"image: {error}"
    match sample.label:
        case RegionMask(files=files, value=value):
            covered = False
            for path in files:
                try:
                    covered |= bool(mask_array(Picture(path, sample.picture.crop), value, size).any())
                except SampleError as error:
                    return f"mask: {error}"
        case Segments():
            covered = bool(segment_array(sample.label).any())
        case _:
            return None
    return None if covered else "masks are empty"
