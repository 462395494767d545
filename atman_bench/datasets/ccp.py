"""``ccp``: photographs of dressed people with a mask of every garment (Clothing Co-Parsing).

Source: Yang et al. 2014 (photographs and masks); asked for as in the AtMan paper, Section 4.2 and A.7 (OpenImages).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.errors import DataError, UnknownNameError
from atman_bench.core.records import Modality, Picture, RegionMask, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._class_prompts import naming_prompt
from atman_bench.datasets._json import expect, read_json
from atman_bench.datasets._photos import check_choice, check_threshold, content_hash, data_folder, pictures_below

LAYOUT = "images/, masks/, labels.json (label names by mask value) and pixel_level_areas.json ({image: {label: share}})"

BACKGROUND = "null"
"""The label of everything that is no garment, and of garments without a label."""


@dataclass(frozen=True)
class CcpConfig:
    """Options of ``ccp``.

    Attributes:
        data: A folder with images/, masks/, labels.json and pixel_level_areas.json.
        min_area: Smallest share of the image that a label may cover.
        max_area: Largest share of the image that a label may cover.
        per_image: How many labels of each image are used, in seeded order; null means all.
        seed: Seed of that order.
        labels: Use only these labels; null means all.
        threshold: A unit is evidence if at least this share of its area is; null keeps the share as a soft label.
    """

    data: str | None = None
    min_area: float = 0.02
    max_area: float = 0.60
    per_image: int | None = 1
    seed: int = 0
    labels: tuple[str, ...] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_threshold(self.threshold)
        check_choice(self.min_area, self.max_area, self.per_image, "labels")


def load(config: CcpConfig) -> Dataset:
    """Choose labels of each image in the folder by the listed areas; pixels are not decoded.

    The folder may hold a part of the dataset: listed images with neither a photograph nor a mask are no part of it.
    Labels of one image form a group.

    Raises:
        ConfigError: No ``data``.
        UnknownNameError: ``labels`` has a name that labels.json lacks.
        DataError: The folder or one of its parts is missing or malformed.
    """
    folder = data_folder(config.data, "ccp", LAYOUT)
    annotations = (folder / "labels.json", folder / "pixel_level_areas.json")
    names = _read_names(annotations[0])
    for label in config.labels or ():
        if label not in names or label == BACKGROUND:
            raise UnknownNameError("label of ccp", label, set(names) - {BACKGROUND})
    areas = read_json(annotations[1], dict, f"a folder with {LAYOUT}")
    images, masks = (pictures_below(folder / part, LAYOUT) for part in ("images", "masks"))
    entries = [
        entry
        for name in sorted(images.keys() | masks.keys())
        for entry in _read_picture(name, images.get(name), masks.get(name), areas.get(name), names, config)
    ]
    if not entries:
        raise DataError(f"{folder} holds no picture; expected a folder with {LAYOUT}")
    samples = tuple(entry for entry in entries if isinstance(entry, Sample))
    used = {sample.group for sample in samples}
    return Dataset(
        samples,
        tuple(entry for entry in entries if isinstance(entry, Skipped)),
        content_hash(folder, annotations, (part[name] for part in (images, masks) for name in used)),
        tuple((naming_prompt(label), f" {label}") for label in names if label != BACKGROUND),
    )


def _read_names(path: Path) -> Sequence[str]:
    """Label names by mask value."""
    names = [
        expect(name, str, f"{path}: [{i}]") for i, name in enumerate(read_json(path, list, f"a folder with {LAYOUT}"))
    ]
    if len(set(names)) < len(names):
        raise DataError(f"{path} has a name twice: a mask's values would be ambiguous")
    return names


def _read_picture(
    name: str, image: Path | None, mask: Path | None, areas: object, names: Sequence[str], config: CcpConfig
) -> Iterator[Sample | Skipped]:
    """The chosen labels of one image, and what is wrong with it."""
    if image is None or mask is None or areas is None:
        missing = "picture file is" if image is None else "mask file is" if mask is None else "areas of the labels are"
        yield Skipped(name, f"{missing} missing")
        return
    shares = _shares(name, areas)
    for label in sorted(shares.keys() - set(names)):
        yield Skipped(f"{name}/{label}", "label is not in labels.json")
    chosen = [
        label
        for label in names
        if label != BACKGROUND
        and config.min_area <= shares.get(label, -1) <= config.max_area
        and (config.labels is None or label in config.labels)
    ]
    if not chosen:
        yield Skipped(name, "no label of the chosen names and areas")
    # A larger per_image keeps the labels of a smaller one.
    random.Random(f"{config.seed}/{name}").shuffle(chosen)
    for label in chosen[: config.per_image]:
        yield Sample(
            uid=f"{name}/{label}",
            prompt=naming_prompt(label),
            target=" " + label,
            explain=None,
            label=RegionMask((mask,), names.index(label), config.threshold),
            group=name,
            facts={"class": label},
            picture=Picture(image),
        )


def _shares(name: str, areas: object) -> Mapping[str, float]:
    """Which share of an image each of its labels covers."""
    where = f"pixel_level_areas.json: {name!r}"
    shares = expect(areas, dict, where)
    for label, share in shares.items():
        if not isinstance(share, int | float):
            raise DataError(f"{where}: {label!r} should be a number, found {type(share).__name__}")
    return shares


SPEC = DatasetSpec(
    summary="Photographs of dressed people with masks of garments, Clothing Co-Parsing (as Table 1b)",
    config=CcpConfig,
    load=load,
    modality=Modality.IMAGE,
)
