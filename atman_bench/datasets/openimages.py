"""``openimages``: photographs with human masks, from a local copy of Open Images V5 to V7 (the paper's Table 1b).

Source: the AtMan paper, Section 4.2; which images are kept follows the authors' preparation script. They cropped every
image to its object, so a uniform map already scores the mask's share of the crop: read the numbers beside the floors.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError, SampleError
from atman_bench.core.images import picture_size
from atman_bench.core.records import Modality, Picture, RegionMask, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._class_names import PAPER_CLASSES
from atman_bench.datasets._openimages_folder import (
    Instance,
    OpenImagesFolder,
    read_annotations,
    read_class_names,
    scan,
)
from atman_bench.datasets._photos import check_threshold

PROMPT = "This is a picture of"
STICKS_OUT = 0.01
"""A box may stick out of its image by this share of the side: rounding, which is clipped."""


class Article(StrEnum):
    """What stands between the prompt and the class; the released code has all three, in different files."""

    A_AN = "a_an"
    A = "a"
    NONE = "none"


@dataclass(frozen=True)
class OpenImagesConfig:
    """Options of ``openimages``; the defaults are the paper's.

    Attributes:
        data: A folder in the official layout.
        classes: Names as in the class descriptions; null means those of the paper's 350 that occur.
        crop: Crop image and mask to the union of the boxes of the object's instances.
        per_class: At most this many images of each class.
        seed: Seed of the choice of images within each class.
        min_aspect: Width / height of the crop (of the image, if not cropped) must be above this.
        max_aspect: Width / height must be below this.
        min_side: Pixels that both sides of the crop (of the image, if not cropped) must have.
        first_instance_only: Keep an image only for the class of its first instance; false gives a sample for
            each of its classes.
        article: What stands before the class.
        threshold: A unit is evidence if this share of its area is; null keeps the share as a soft label, as the paper.
    """

    data: str | None = None
    classes: tuple[str, ...] | None = None
    crop: bool = True
    per_class: int = 200
    seed: int = 51
    min_aspect: float = 0.8
    max_aspect: float = 1.2
    min_side: int = 200
    first_instance_only: bool = True
    article: Article = Article.A_AN
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse options that no image can meet.

        Raises:
            ConfigError: See above.
        """
        for name in ("per_class", "min_side"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"openimages: {name} should be at least 1, received {value}")
        if not 0 <= self.min_aspect < self.max_aspect:
            raise ConfigError(
                f"openimages: min_aspect should be below max_aspect, received {self.min_aspect} and {self.max_aspect}"
            )
        check_threshold(self.threshold)


def load(config: OpenImagesConfig) -> Dataset:
    """Choose images of each class; only the headers of image files are read.

    Raises:
        ConfigError: No ``data``, or a class that the descriptions do not name.
        DataError: The folder is not of the official layout, or holds no instance of the classes.
    """
    if config.data is None:
        raise ConfigError("openimages needs data: give a folder in the layout of Open Images (--data FOLDER)")
    folder = scan(Path(config.data))
    names = read_class_names(folder)
    wanted = _wanted_classes(config.classes, names, folder)
    annotations = read_annotations(folder)
    skipped = annotations.skipped

    candidates: dict[str, dict[str, list[Instance]]] = {mid: {} for mid in wanted}
    for image_id, by_class in annotations.images.items():
        for mid in list(by_class)[:1] if config.first_instance_only else by_class:
            if mid in candidates:
                candidates[mid][image_id] = by_class[mid]
            elif mid not in names:
                skipped.append(Skipped(f"{image_id}/{mid}", "class has no description"))

    samples: list[Sample] = []
    for mid, of_class in candidates.items():
        if config.classes is not None and not of_class:
            skipped.append(Skipped(names[mid], "class has no image"))
        # Each class has a generator of its own, so that its choice does not depend on which others are asked for.
        order = sorted(of_class)
        random.Random(f"{config.seed}/{mid}").shuffle(order)
        found = (_sample(config, folder, names[mid], image_id, of_class[image_id]) for image_id in order)
        chosen, unusable = _first_samples(found, config.per_class)
        samples += chosen
        skipped += unusable
    if not samples and not skipped:
        raise DataError(f"{config.data} holds no segmented instance of the chosen classes; name others with classes")
    asked = sorted({(sample.prompt, sample.target) for sample in samples})
    return Dataset(tuple(samples), tuple(skipped), _content_hash(folder, samples), tuple(asked))


def _first_samples(found: Iterable[Sample | Skipped], n: int) -> tuple[list[Sample], list[Skipped]]:
    """The first ``n`` samples, and what was skipped on the way; what comes after them is not looked at."""
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for item in found:
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        samples.append(item)
        if len(samples) == n:
            break
    return samples, skipped


def _wanted_classes(asked: Sequence[str] | None, names: Mapping[str, str], folder: OpenImagesFolder) -> list[str]:
    """MIDs of the asked-for classes, by name; case does not matter."""
    if asked is None:
        chosen = {name.casefold() for name in PAPER_CLASSES}
    else:
        chosen = {name.casefold() for name in asked}
        known = {name.casefold(): name for name in names.values()}
        for name in asked:
            if name.casefold() not in known:
                near = [known[match] for match in get_close_matches(name.casefold(), known)]
                hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
                raise ConfigError(
                    f"openimages: unknown class {name!r}: {hint}names are those of {folder.descriptions[0].name}"
                )
    return sorted((mid for mid, name in names.items() if name.casefold() in chosen), key=lambda mid: (names[mid], mid))


def _sample(
    config: OpenImagesConfig, folder: OpenImagesFolder, name: str, image_id: str, instances: Sequence[Instance]
) -> Sample | Skipped:
    """One image as a sample of one of its classes, or why it is none."""
    label = name.lower()
    uid = image_id if config.first_instance_only else f"{image_id}/{re.sub('[^a-z0-9]+', '-', label).strip('-')}"
    if (path := folder.image(image_id)) is None:
        return Skipped(uid, "image is missing")
    masks = [path for path in (folder.mask(instance.mask) for instance in instances) if path is not None]
    if len(masks) < len(instances):
        return Skipped(uid, "mask is missing")
    try:
        size = picture_size(path)
    except SampleError as error:
        return Skipped(uid, f"image: {error}")
    if not all(-STICKS_OUT <= edge <= 1 + STICKS_OUT for instance in instances for edge in instance.box):
        return Skipped(uid, "box is outside the image")
    box = _union(instances, size)
    boxes = [box, *(instance.box for instance in instances)]
    if any(left >= right or top >= bottom for left, top, right, bottom in boxes):
        return Skipped(uid, "box is empty")
    crop, view = (box, "crop") if config.crop else ((0, 0, *size), "image")
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    if not config.min_aspect < width / height < config.max_aspect:
        return Skipped(uid, f"{view} outside aspect {config.min_aspect:g} to {config.max_aspect:g}")
    if min(width, height) < config.min_side:
        return Skipped(uid, f"{view} smaller than {config.min_side} pixels")
    return Sample(
        uid=uid,
        prompt=_prompt(config.article, label),
        target=f" {label}",
        explain=None,
        label=RegionMask(tuple(masks), threshold=config.threshold),
        group=image_id,
        facts={"class": name, "instances": len(instances)},
        picture=Picture(path, box if config.crop else None),
    )


def _union(instances: Iterable[Instance], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The smallest rectangle around all boxes, inside the image: (left, top, right, bottom) in pixels.

    Edges go to the nearest pixel: files write pixels as fractions of six digits, and rounding gives those pixels back.
    """
    lefts, tops, rights, bottoms = zip(*(instance.box for instance in instances), strict=True)
    width, height = size
    return (
        round(max(min(lefts), 0.0) * width),
        round(max(min(tops), 0.0) * height),
        round(min(max(rights), 1.0) * width),
        round(min(max(bottoms), 1.0) * height),
    )


def _prompt(article: Article, label: str) -> str:
    word = {Article.A_AN: "an" if label[:1] in set("aeiou") else "a", Article.A: "a", Article.NONE: ""}[article]
    return f"{PROMPT} {word}".rstrip()


def _content_hash(folder: OpenImagesFolder, samples: Iterable[Sample]) -> str:
    """SHA-256 of the annotations and descriptions, and of the names and sizes of the chosen samples' files.

    Hashing every image would take longer than many a run.
    """
    digest = hashlib.sha256()
    for path in (*folder.segmentations, *folder.descriptions):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    for sample in samples:
        for path in files_of(sample):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def files_of(sample: Sample) -> tuple[Path, ...]:
    """The image and the masks of a sample."""
    images = (sample.picture.path,) if sample.picture is not None else ()
    masks = sample.label.files if isinstance(sample.label, RegionMask) else ()
    return (*images, *masks)


SPEC = DatasetSpec(
    summary="Open Images V5 to V7 segmentations from a local folder (Table 1b)",
    config=OpenImagesConfig,
    load=load,
    modality=Modality.IMAGE,
    label=lambda config: "cropped" if config.crop else "uncropped",
)
