"""``caltech101``: photographs, each with the mask of one object.

Source: Fei-Fei et al. 2004 (photographs); asked for as in the AtMan paper, Section 4.2 and A.7 (OpenImages).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import Modality, Picture, RegionMask, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._class_prompts import class_name, naming_prompt
from atman_bench.datasets._json import field, read_json
from atman_bench.datasets._photos import check_threshold, content_hash, data_folder, file_in

LAYOUT = "segmented.json (a list of {image, mask, class}) and the pictures and masks that it names"


@dataclass(frozen=True)
class Caltech101Config:
    """Options of ``caltech101``.

    Attributes:
        data: A folder with segmented.json (a list of image, mask and class) and the files that it names.
        threshold: A unit is evidence if at least this share of its area is; null keeps the share as a soft label.
        per_class: Use only the first so many images of each class; null means all.
    """

    data: str | None = None
    threshold: float | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_threshold(self.threshold)
        if self.per_class is not None and self.per_class < 1:
            raise ConfigError(f"per_class must be at least 1, received {self.per_class}; leave it out for no limit")


def load(config: Caltech101Config) -> Dataset:
    """Read the list of segmented images; pixels are not decoded.

    The label is every mask pixel that is not 0. Each image is its own group.

    Raises:
        ConfigError: No ``data``.
        DataError: The folder or its segmented.json is missing or malformed.
    """
    folder = data_folder(config.data, "caltech101", LAYOUT)
    index = folder / "segmented.json"
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    files: list[Path] = []
    used: Counter[str] = Counter()
    for i, record in enumerate(read_json(index, list, f"a folder with {LAYOUT}")):
        image, mask, category = (field(record, key, str, f"{index}: [{i}]") for key in ("image", "mask", "class"))
        if used[category] == config.per_class:
            continue
        uid = f"{category}/{Path(image).stem}"
        if uid in samples:
            skipped.append(Skipped(uid, "duplicate picture"))
        elif file_in(folder, image) is None:
            skipped.append(Skipped(uid, "picture file is missing"))
        elif file_in(folder, mask) is None:
            skipped.append(Skipped(uid, "mask file is missing"))
        else:
            used[category] += 1
            files += [folder / image, folder / mask]
            label = class_name(category)
            samples[uid] = Sample(
                uid=uid,
                prompt=naming_prompt(label),
                target=" " + label,
                explain=None,
                label=RegionMask((folder / mask,), threshold=config.threshold),
                group=image,
                facts={"class": label},
                picture=Picture(folder / image),
            )
    if not samples and not skipped:
        raise DataError(f"{index} lists no picture: check that the file is complete")
    names = sorted({(sample.prompt, sample.target) for sample in samples.values()})
    return Dataset(tuple(samples.values()), tuple(skipped), content_hash(folder, [index], files), tuple(names))


SPEC = DatasetSpec(
    summary="Photographs with the mask of one object each, Caltech-101 (as Table 1b)",
    config=Caltech101Config,
    load=load,
    modality=Modality.IMAGE,
)
