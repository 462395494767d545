"""What the readers of photographs with annotated objects share: options, and samples of an image's classes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from atman_bench.core.errors import SampleError, UnknownNameError
from atman_bench.core.images import picture_size
from atman_bench.core.records import Label, Picture, Sample
from atman_bench.datasets._class_prompts import naming_prompt
from atman_bench.datasets._photos import check_choice, check_threshold

NOTHING_CHOSEN = "no object of the chosen classes and areas"
"""Why an image gives no sample."""


class Evidence(StrEnum):
    """What of an object is ground truth."""

    MASKS = "masks"
    """Its outline."""
    BOXES = "boxes"
    """Its bounding box."""


@dataclass(frozen=True)
class ObjectsConfig:
    """Options of the datasets of photographs with annotated objects.

    Attributes:
        data: A folder in the official layout.
        evidence: masks, boxes, or null: masks where there are some, boxes elsewhere.
        classes: Use only these classes; null means all.
        min_area: Smallest share of the image that the objects of a class may cover: areas of their boxes,
            added up.
        max_area: Largest share of the image.
        per_image: How many classes of each image are used, in seeded order; null means all.
        seed: Seed of that order.
        threshold: A unit is evidence if at least this share of its area is; null keeps the share as a soft label.
    """

    data: str | None = None
    evidence: Evidence | None = None
    classes: tuple[str, ...] | None = None
    min_area: float = 0.0
    max_area: float = 1.0
    per_image: int | None = None
    seed: int = 0
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_threshold(self.threshold)
        check_choice(self.min_area, self.max_area, self.per_image, "classes")

    def check_classes(self, dataset: str, names: Sequence[str]) -> None:
        """Refuse a class that the data do not have.

        Raises:
            UnknownNameError: See above.
        """
        for name in self.classes or ():
            if name not in names:
                raise UnknownNameError(f"class of {dataset}", name, names)


@dataclass(frozen=True)
class ImageClass:
    """All objects of one class in an image.

    Attributes:
        name: The class.
        area: The share of the image that their boxes cover, areas added up, 1 at most.
        label: Where they are, all of them together.
        n_objects: How many they are.
    """

    name: str
    area: float
    label: Label
    n_objects: int


def checked_picture(path: Path | None, size: tuple[int, int]) -> Path:
    """The image of an annotation; only its header is read.

    Args:
        path: Its file, None where it is missing.
        size: Width and height that the annotation counts in.

    Raises:
        SampleError: It is missing, no image, or of another size.
    """
    if path is None:
        raise SampleError("picture file is missing")
    if picture_size(path) != size:
        raise SampleError("picture is of another size than its annotation says")
    return path


def samples_of(image: str, path: Path, classes: Sequence[ImageClass], config: ObjectsConfig) -> list[Sample]:
    """A sample for each chosen class of an image; these form a group.

    Args:
        image: What the image is called.
        path: Its file.
        classes: Its classes, in an order that does not depend on the options.
        config: Which classes are chosen.
    """
    chosen = [
        found
        for found in classes
        if config.min_area <= found.area <= config.max_area and (config.classes is None or found.name in config.classes)
    ]
    if config.per_image is not None:
        # A larger per_image keeps the classes of a smaller one.
        random.Random(f"{config.seed}/{image}").shuffle(chosen)
    return [
        Sample(
            uid=f"{image}/{found.name}",
            prompt=naming_prompt(found.name),
            target=f" {found.name}",
            explain=None,
            label=found.label,
            group=image,
            facts={"class": found.name, "n_objects": found.n_objects},
            picture=Picture(path),
        )
        for found in chosen[: config.per_image]
    ]


def label_of(config: ObjectsConfig) -> str:
    """What tables add to the dataset's name."""
    return "" if config.evidence is None else str(config.evidence)
