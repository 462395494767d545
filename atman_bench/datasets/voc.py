"""``voc``: photographs with boxes and class masks of twenty kinds of objects (PASCAL VOC).

Source: Everingham et al. 2010 and the development kit (formats); asked for as in the AtMan paper, Section 4.2 and A.7
(OpenImages). Photographs under the terms of Flickr. Nothing of it is part of this package.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from atman_bench.core.errors import DataError, SampleError
from atman_bench.core.records import Boxes, Label, Modality, RegionMask, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._class_prompts import naming_prompt
from atman_bench.datasets._objects import (
    NOTHING_CHOSEN,
    Evidence,
    ImageClass,
    ObjectsConfig,
    checked_picture,
    label_of,
    samples_of,
)
from atman_bench.datasets._photos import content_hash, data_folder, only_file, pictures_below

LAYOUT = "Annotations/ID.xml, JPEGImages/ID.jpg and, for some, SegmentationClass/ID.png (as VOCdevkit/VOC2012 has it)"

MASK_VALUES = {
    **{"aeroplane": 1, "bicycle": 2, "bird": 3, "boat": 4, "bottle": 5, "bus": 6, "car": 7, "cat": 8, "chair": 9},
    **{"cow": 10, "diningtable": 11, "dog": 12, "horse": 13, "motorbike": 14, "person": 15, "pottedplant": 16},
    **{"sheep": 17, "sofa": 18, "train": 19, "tvmonitor": 20},
}
"""Class -> value of its pixels in the official masks, whose 255 (borders, objects hard to tell) is no class."""

READABLE = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
"""Names that are two words."""


@dataclass(frozen=True)
class VocConfig(ObjectsConfig):
    """Options of ``voc``.

    Attributes:
        image_set: A list of images below ImageSets/, without its suffix (``Segmentation/val``); null means all.
    """

    image_set: str | None = None


@dataclass(frozen=True)
class _Object:
    """One object: its class, and left, top, right and bottom in pixels."""

    name: str
    box: tuple[float, float, float, float]


def load(config: VocConfig) -> Dataset:
    """Read the annotations; pixels are not decoded.

    All objects of one class in an image, difficult and truncated ones too, are the ground truth of one sample: the
    class's pixels where the image has a mask, else the boxes (``evidence`` chooses one kind for all). Parts of objects
    (a person's head) are no objects.

    Raises:
        ConfigError: No ``data``.
        UnknownNameError: ``classes`` has a name that no annotation has.
        DataError: The folder is not of the official layout.
    """
    folder = data_folder(config.data, "voc", LAYOUT)
    annotations = _annotations(folder, config.image_set)
    pictures = pictures_below(folder / "JPEGImages", LAYOUT)
    masks = pictures_below(folder / "SegmentationClass", LAYOUT) if (folder / "SegmentationClass").is_dir() else {}
    skipped: list[Skipped] = []
    found: dict[str, list[ImageClass]] = {}
    for path in annotations:
        uid = path.stem
        try:
            objects, size = _objects(path)
            checked_picture(pictures.get(uid), size)
        except SampleError as error:
            skipped.append(Skipped(uid, str(error)))
            continue
        found[uid] = []
        for name in sorted({one.name for one in objects}):
            boxes = tuple(one.box for one in objects if one.name == name)
            label = _label(name, boxes, masks.get(uid), config)
            if label is None:
                skipped.append(Skipped(f"{uid}/{name}", "the picture has no mask of the class"))
                continue
            area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) / (size[0] * size[1])
            found[uid].append(ImageClass(READABLE.get(name, name), min(area, 1.0), label, len(boxes)))
    names = sorted(
        {one.name for classes in found.values() for one in classes} | {READABLE.get(name, name) for name in MASK_VALUES}
    )
    config.check_classes("voc", names)
    samples: list[Sample] = []
    for uid, classes in found.items():
        chosen = samples_of(uid, pictures[uid], classes, config)
        samples += chosen
        if not chosen:
            skipped.append(Skipped(uid, NOTHING_CHOSEN))
    used = [sample.picture.path for sample in samples if sample.picture is not None]
    used += [path for sample in samples if isinstance(sample.label, RegionMask) for path in sample.label.files]
    return Dataset(
        tuple(samples),
        tuple(skipped),
        content_hash(folder, annotations, used),
        tuple((naming_prompt(name), f" {name}") for name in names),
    )


def _annotations(folder: Path, image_set: str | None) -> list[Path]:
    """The annotation files, sorted.

    Raises:
        DataError: There are none, or the list of images cannot be read or names one without an annotation.
    """
    files = {path.stem: path for path in sorted((folder / "Annotations").glob("*.xml"))}
    if not files:
        raise DataError(f"{folder} holds no Annotations/*.xml; expected a folder with {LAYOUT}")
    if image_set is None:
        return list(files.values())
    listed = only_file(folder, f"ImageSets/{image_set}.txt", "image_set", LAYOUT)
    try:
        # The lists of Main/ say after each image whether it shows a class.
        wanted = [line.split()[0] for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {listed}: {error}; expected one image a line") from error
    if missing := [name for name in wanted if name not in files]:
        raise DataError(f"{listed} names {missing[0]!r}, which has no annotation in {folder / 'Annotations'}")
    return [files[name] for name in sorted(set(wanted))]


def _objects(path: Path) -> tuple[list[_Object], tuple[int, int]]:
    """The objects of an annotation, and the width and height of its image.

    Raises:
        SampleError: It is malformed.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
        objects = [_object(element) for element in root.findall("object")]
        size = (int(_text(root, "size/width")), int(_text(root, "size/height")))
        if any(one.box[0] >= size[0] or one.box[1] >= size[1] for one in objects):
            raise ValueError("box")
    except (OSError, ElementTree.ParseError, ValueError, RecursionError) as error:
        raise SampleError("annotation is malformed") from error
    return objects, size


def _object(element: ElementTree.Element) -> _Object:
    """An object; the format counts pixels from 1, and the last ones belong to the box.

    Raises:
        ValueError: It has no name, or its box makes no sense.
    """
    left, top, right, bottom = (float(_text(element, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
    if not (0 <= left <= right < 1e9 and 0 <= top <= bottom < 1e9):  # some tools count from 0
        raise ValueError("box")
    return _Object(_text(element, "name"), (left - 1, top - 1, right, bottom))


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(path)
    return text


def _label(
    name: str, boxes: tuple[tuple[float, float, float, float], ...], mask: Path | None, config: VocConfig
) -> Label | None:
    """Ground truth of a class; None if masks are asked for and there is none."""
    if config.evidence is not Evidence.BOXES and mask is not None and name in MASK_VALUES:
        return RegionMask((mask,), MASK_VALUES[name], config.threshold)
    return None if config.evidence is Evidence.MASKS else Boxes(boxes, config.threshold)


SPEC = DatasetSpec(
    summary="Photographs with boxes and class masks of objects, PASCAL VOC",
    config=VocConfig,
    load=load,
    modality=Modality.IMAGE,
    label=label_of,
)
