"""``coco``: photographs with boxes and outlines of everyday objects (COCO, instances).

Source: Lin et al. 2014; asked for as in the AtMan paper, Section 4.2 and A.7 (OpenImages). Annotations CC BY 4.0;
photographs under the terms of Flickr. Nothing of it is part of this package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from atman_bench.core.errors import DataError, SampleError
from atman_bench.core.records import Boxes, Label, Modality, Sample, Segments, Skipped
from atman_bench.core.segments import parse_runs, runs_array
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._class_prompts import naming_prompt
from atman_bench.datasets._json import expect, field, read_json
from atman_bench.datasets._objects import (
    NOTHING_CHOSEN,
    Evidence,
    ImageClass,
    ObjectsConfig,
    checked_picture,
    label_of,
    samples_of,
)
from atman_bench.datasets._photos import SUFFIXES, content_hash, data_folder, only_file

LAYOUT = "annotations/instances_*.json and the pictures that it names, in any folder below"


@dataclass(frozen=True)
class CocoConfig(ObjectsConfig):
    """Options of ``coco``.

    Attributes:
        instances: The instances file within the folder; null means the only instances*.json in it or in annotations/.
    """

    instances: str | None = None


@dataclass(frozen=True)
class _Instance:
    """One object.

    Attributes:
        box: Left, top, right and bottom in pixels.
        outline: Its polygons or mask; None where it has none.
    """

    box: tuple[float, float, float, float]
    outline: Segments | None


def load(config: CocoConfig) -> Dataset:
    """Read the instances; pixels are not decoded.

    All instances of one category in an image are the ground truth of one sample. Crowd regions are left out and listed
    among what was skipped; so are malformed annotations, and with them the category of their image, whose ground truth
    would be incomplete.

    Raises:
        ConfigError: No ``data``.
        UnknownNameError: ``classes`` has a name that the file lacks.
        DataError: The folder or its instances file is missing or malformed.
    """
    folder = data_folder(config.data, "coco", LAYOUT)
    file = _instances_file(folder, config.instances)
    document = read_json(file, dict, f"a folder with {LAYOUT}")
    names: dict[int, str] = {}
    for entry, where in _entries(document, "categories", file):
        names[field(entry, "id", int, where)] = field(entry, "name", str, where)
    if len(set(names.values())) < len(names):
        raise DataError(f"{file} has the name of a category twice: check that it is COCO's")
    config.check_classes("coco", list(names.values()))
    images: dict[int, tuple[str, tuple[int, int]]] = {}
    for entry, where in _entries(document, "images", file):
        size = (field(entry, "width", int, where), field(entry, "height", int, where))
        if min(size) < 1:
            raise DataError(f"{where}: width and height should be at least 1, found {size[0]} and {size[1]}")
        images[field(entry, "id", int, where)] = (field(entry, "file_name", str, where), size)

    skipped: list[Skipped] = []
    found = _instances(document, file, images, names, skipped)
    # By the name with its suffix: masks of other tasks, which are PNGs, are named like the photographs.
    pictures = {path.name: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    samples: list[Sample] = []
    seen: set[str] = set()
    for image, (name, size) in images.items():
        uid = Path(name).stem
        try:
            if uid in seen:
                raise SampleError("duplicate picture")
            path = checked_picture(pictures.get(Path(name).name), size)
        except SampleError as error:
            skipped.append(Skipped(uid, str(error)))
            continue
        seen.add(uid)
        classes = [
            _class(names[category], instances, size, config)
            for category, instances in sorted(found.get(image, {}).items())
        ]
        complete = [one for one in classes if one is not None]
        skipped += [Skipped(uid, "an object has no outline")] * (len(classes) - len(complete))
        chosen = samples_of(uid, path, complete, config)
        samples += chosen
        if not chosen:
            skipped.append(Skipped(uid, NOTHING_CHOSEN))
    if not images:
        raise DataError(f"{file} lists no picture: check that the file is complete")
    used = (sample.picture.path for sample in samples if sample.picture is not None)
    return Dataset(
        tuple(samples),
        tuple(skipped),
        content_hash(folder, [file], used),
        tuple((naming_prompt(name), f" {name}") for name in names.values()),
    )


def _instances_file(folder: Path, named: str | None) -> Path:
    """The file of instances."""
    if named is not None:
        return only_file(folder, named, "instances", LAYOUT)
    if not (folder / "annotations").is_dir():
        return only_file(folder, "instances*.json", "instances", LAYOUT)
    return only_file(folder, "annotations/instances*.json", "instances", LAYOUT)


def _entries(document: Mapping[str, Any], key: str, file: Path) -> Sequence[tuple[Mapping[str, Any], str]]:
    """The entries of a list in the file, and what messages call each."""
    return [
        (expect(entry, dict, f"{file}: {key}[{i}]"), f"{file}: {key}[{i}]")
        for i, entry in enumerate(field(document, key, list, str(file)))
    ]


def _instances(
    document: Mapping[str, Any],
    file: Path,
    images: Mapping[int, tuple[str, tuple[int, int]]],
    names: Mapping[int, str],
    skipped: list[Skipped],
) -> dict[int, dict[int, list[_Instance]]]:
    """Image -> category -> its instances; adds to ``skipped`` what is none."""
    found: dict[int, dict[int, list[_Instance]]] = {}
    incomplete: set[tuple[int, int]] = set()
    for entry, where in _entries(document, "annotations", file):
        image, category = field(entry, "image_id", int, where), field(entry, "category_id", int, where)
        uid = f"{image}/{entry.get('id', where)}"
        if image not in images or category not in names:
            lacks = "an image" if image not in images else "a category"
            skipped.append(Skipped(uid, f"annotation of {lacks} that the file does not list"))
        elif entry.get("iscrowd"):
            skipped.append(Skipped(uid, "crowd region"))
        elif (instance := _instance(entry, images[image][1], where)) is None:
            incomplete.add((image, category))
            skipped.append(Skipped(uid, "malformed annotation (its category is left out of this image)"))
        else:
            found.setdefault(image, {}).setdefault(category, []).append(instance)
    for image, category in incomplete:
        found.get(image, {}).pop(category, None)
    return found


def _instance(entry: Mapping[str, Any], size: tuple[int, int], where: str) -> _Instance | None:
    """An object, or None if its numbers make no sense.

    Raises:
        DataError: A field is missing or of another type.
    """
    box = _numbers(field(entry, "bbox", list, where))
    if box is None or len(box) != 4 or box[2] <= 0 or box[3] <= 0:
        return None
    left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if not (left < size[0] and right > 0 and top < size[1] and bottom > 0):
        return None
    segmentation = entry.get("segmentation")
    try:
        outline = _outline(segmentation, size, f"{where}: 'segmentation'") if segmentation else None
    except ValueError:
        return None
    return _Instance((left, top, right, bottom), outline)


def _outline(segmentation: object, size: tuple[int, int], where: str) -> Segments:
    """Polygons, or a mask as run lengths.

    Raises:
        DataError: It is neither.
        ValueError: Its numbers make no sense.
    """
    if isinstance(segmentation, list):
        polygons = [_numbers(expect(polygon, list, where)) for polygon in segmentation]
        if any(polygon is None or len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
            raise ValueError("a polygon has three corners at least")
        return Segments(size, polygons=tuple(polygon for polygon in polygons if polygon is not None))
    counts = expect(segmentation, dict, where).get("counts")
    runs = parse_runs(counts) if isinstance(counts, str) else expect(counts, list, f"{where}: 'counts'")
    if field(segmentation, "size", list, where) != [size[1], size[0]] or not all(isinstance(run, int) for run in runs):
        raise ValueError("the mask is of another image, or holds something else than lengths")
    runs_array(runs, size)
    return Segments(size, runs=(tuple(runs),))


def _numbers(values: Sequence[object]) -> tuple[float, ...] | None:
    """Finite numbers, or None if some are none."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return tuple(numbers) if len(numbers) == len(values) and all(map(isfinite, numbers)) else None


def _class(name: str, instances: Sequence[_Instance], size: tuple[int, int], config: CocoConfig) -> ImageClass | None:
    """The instances of a category in an image; None if masks are asked for and one has none."""
    outlines = [instance.outline for instance in instances if instance.outline is not None]
    complete = len(outlines) == len(instances)
    if config.evidence is Evidence.MASKS and not complete:
        return None
    boxes = tuple(instance.box for instance in instances)
    label: Label = Boxes(boxes, config.threshold)
    if config.evidence is not Evidence.BOXES and complete:
        polygons = tuple(polygon for outline in outlines for polygon in outline.polygons)
        runs = tuple(mask for outline in outlines for mask in outline.runs)
        label = Segments(size, polygons, runs, config.threshold)
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) / (size[0] * size[1])
    return ImageClass(name, min(area, 1.0), label, len(instances))


SPEC = DatasetSpec(
    summary="Photographs with boxes and outlines of objects, COCO instances (annotations CC BY 4.0)",
    config=CocoConfig,
    load=load,
    modality=Modality.IMAGE,
    label=label_of,
)
