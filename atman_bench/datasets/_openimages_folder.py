"""A folder in the layout of Open Images V5 to V7 -> annotations and the files that they name.

Source: https://storage.googleapis.com/openimages/web/download_v7.html (formats of the files).
"""

import csv
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atman_bench.core.errors import DataError
from atman_bench.core.records import Skipped
from atman_bench.datasets._class_names import RENAMED
from atman_bench.datasets._photos import file_in

SEGMENTATION = "-annotations-object-segmentation.csv"
DESCRIPTIONS = "class-descriptions"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
COLUMNS = ("MaskPath", "ImageID", "LabelName", "BoxID", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")
LAYOUT = (
    f"expected a folder of Open Images: *{SEGMENTATION}, {DESCRIPTIONS}*.csv, images/IMAGEID.jpg and masks/MASKPATH "
    "(images and masks may lie in subfolders)"
)


@dataclass(frozen=True, slots=True)
class Instance:
    """One segmented object.

    Attributes:
        mask: File name of its mask.
        box: (left, top, right, bottom) as fractions of the image's sides.
    """

    mask: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotations:
    """What the segmentation files say.

    Attributes:
        images: Image -> class (its MID) -> instances, each in the order of the file.
        skipped: Rows and images that cannot be used.
    """

    images: dict[str, dict[str, list[Instance]]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class OpenImagesFolder:
    """Where the files of a copy of the data are.

    Attributes:
        root: The folder.
        segmentations: The segmentation files, sorted.
        descriptions: The class descriptions, sorted.
        pictures: File name of each image and mask -> its folder.
    """

    root: Path
    segmentations: tuple[Path, ...]
    descriptions: tuple[Path, ...]
    pictures: dict[str, Path]

    def image(self, image_id: str) -> Path | None:
        """The file of an image, None where it is missing."""
        return next(filter(None, (self.mask(image_id + suffix) for suffix in IMAGE_SUFFIXES)), None)

    def mask(self, name: str) -> Path | None:
        """The file of a mask, None where it is missing."""
        return file_in(self.pictures.get(name, self.root), name)


def scan(root: Path) -> OpenImagesFolder:
    """Find the files of a copy of the data; an image that lies in several folders is taken from the first by name.

    Raises:
        DataError: The folder, the segmentation files or the class descriptions are missing.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; {LAYOUT}")
    tables: list[Path] = []
    pictures: dict[str, Path] = {}
    for folder, path in _files(root):
        if path.suffix == ".csv":
            tables.append(path)
        elif path.suffix in IMAGE_SUFFIXES:
            # One folder object for all its files: the official training set has millions of them.
            pictures[path.name] = min(pictures.get(path.name, folder), folder)
    segmentations = tuple(sorted(path for path in tables if path.name.endswith(SEGMENTATION)))
    descriptions = tuple(sorted(path for path in tables if DESCRIPTIONS in path.name))
    for found, wanted in ((segmentations, f"*{SEGMENTATION}"), (descriptions, f"{DESCRIPTIONS}*.csv")):
        if not found:
            raise DataError(f"{root} holds no {wanted}; {LAYOUT}")
    return OpenImagesFolder(root, segmentations, descriptions, pictures)


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """All files below a folder, each with its own folder; links to folders are followed."""
    try:
        for path in folder.iterdir():
            if path.suffix in (".csv", *IMAGE_SUFFIXES):
                yield folder, path
            elif path.is_dir():
                yield from _files(path)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}; {LAYOUT}") from error


def read_class_names(folder: OpenImagesFolder) -> dict[str, str]:
    """MID -> name of every described class; a header line is recognised by its first field, which is no MID.

    Raises:
        DataError: A file is unreadable or describes no class.
    """
    names: dict[str, str] = {}
    for path in folder.descriptions:
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                rows = [row for row in csv.reader(stream) if len(row) >= 2 and row[0].startswith("/")]
        except (OSError, csv.Error) as error:
            raise DataError(
                f"cannot read {path}: {error}; expected lines 'MID,NAME', such as '/m/01yrx,Cat'"
            ) from error
        if not rows:
            raise DataError(f"{path} describes no class; expected lines 'MID,NAME', such as '/m/01yrx,Cat'")
        for mid, name, *_ in rows:
            names.setdefault(mid, RENAMED.get(mid, name.strip()))
    return names


def read_annotations(folder: OpenImagesFolder) -> Annotations:
    """Read all segmentation files. An image with a malformed row is skipped: its evidence would be incomplete.

    Raises:
        DataError: A file is unreadable or lacks columns.
    """
    annotations = Annotations()
    malformed: set[str] = set()
    for path in folder.segmentations:
        for line, row in rows_of(path):
            image_id = row["ImageID"]
            instance = _instance(row)
            if instance is None:
                malformed.add(image_id if _is_image_id(image_id) else f"{path.name}:{line}")
                continue
            mid = sys.intern(row["LabelName"])
            instances = annotations.images.setdefault(image_id, {}).setdefault(mid, [])
            if any(instance.mask == other.mask for other in instances):
                annotations.skipped.append(Skipped(f"{image_id}/{instance.mask}", "duplicate row"))
            else:
                instances.append(instance)
    for uid in sorted(malformed):
        annotations.images.pop(uid, None)
        annotations.skipped.append(Skipped(uid, "malformed row"))
    return annotations


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a segmentation file, one at a time, each with its line number.

    Missing values are empty texts; values beyond the last column are left out.

    Raises:
        DataError: The file is unreadable or lacks columns.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            found = reader.fieldnames or ()
            if missing := [column for column in COLUMNS if column not in found]:
                raise DataError(f"{path} lacks the columns {', '.join(missing)}; found {', '.join(found) or 'nothing'}")
            for row in reader:
                row.pop(None, None)
                yield reader.line_num, row
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; expected the columns {', '.join(COLUMNS)}") from error


def mask_name(row: dict[str, str]) -> str:
    """File name of a row's mask: some copies write its folder too."""
    return row["MaskPath"].rpartition("/")[2]


def _instance(row: dict[str, str]) -> Instance | None:
    """The instance of a row, or None if the row is malformed."""
    texts = [row[column] for column in ("BoxXMin", "BoxYMin", "BoxXMax", "BoxYMax")]
    if not (row["LabelName"] and row["MaskPath"] and _is_image_id(row["ImageID"]) and all(texts)):
        return None
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        return None
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return None
    return Instance(mask_name(row), (left, top, right, bottom))


def _is_image_id(text: str) -> bool:
    return re.fullmatch(r"[\w-]+", text) is not None
