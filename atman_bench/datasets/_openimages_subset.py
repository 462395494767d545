"""A smaller copy of what ``openimages`` chooses from a folder."""

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from atman_bench.core.errors import DataError
from atman_bench.datasets._check import counts
from atman_bench.datasets._openimages_folder import mask_name, rows_of, scan
from atman_bench.datasets.openimages import OpenImagesConfig, files_of, load

SELECTION = "selection.json"
"""What a selection leaves beside the copied files: its options, counts per class and reasons."""


@dataclass(frozen=True)
class Selection:
    """What was copied.

    Attributes:
        classes: Class -> number of samples.
        skipped: Reason -> how many were skipped for it.
    """

    classes: Mapping[str, int]
    skipped: Mapping[str, int]


def select(config: OpenImagesConfig, out: Path, *, link: bool = False) -> Selection:
    """Copy the chosen images and masks, their rows and the class descriptions; the same options choose all of it again.

    Args:
        config: What to choose.
        out: A new or empty folder; files keep their places relative to ``config.data``.
        link: Make hard links instead of copies of images and masks.

    Raises:
        ConfigError: As ``load``.
        DataError: As ``load``; or nothing is usable, ``out`` is not empty or lies inside the data, or writing fails.
    """
    root = Path(config.data or "")
    _refuse_used(out, root)
    dataset = load(config)
    skipped = counts(skip.reason for skip in dataset.skipped)
    if not dataset.samples:
        raise DataError(f"no sample of {root} is usable: {', '.join(f'{n} {reason}' for reason, n in skipped.items())}")
    classes = counts(str(sample.facts["class"]) for sample in dataset.samples)
    try:
        folder = scan(root)
        for path in sorted({path for sample in dataset.samples for path in files_of(sample)}):
            _place(path, out / path.relative_to(root), link=link)
        for path in folder.descriptions:
            _place(path, out / path.relative_to(root), link=False)
        masks = {path.name for sample in dataset.samples for path in files_of(sample)[1:]}
        for path in folder.segmentations:
            _filter_rows(path, out / path.relative_to(root), masks)
        options = {name: value for name, value in asdict(config).items() if name != "data"}
        document = {"options": options, "classes": classes, "skipped": skipped}
        (out / SELECTION).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        hint = "; leave out the hard links, which cannot leave a disk" if link else ""
        raise DataError(f"cannot copy the selection to {out}: {error.strerror}{hint}") from error
    return Selection(classes, skipped)


def _refuse_used(out: Path, root: Path) -> None:
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{out} lies inside the data, which would then hold its pictures twice; name another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty; name a new folder")


def _place(source: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.hardlink_to(source)
    else:
        shutil.copyfile(source, target)


def _filter_rows(source: Path, target: Path, masks: set[str]) -> None:
    """Copy the first row of each mask, with all its columns; a mask that was found is taken out of ``masks``."""
    chosen = []
    for _, row in rows_of(source):
        if (name := mask_name(row)) in masks:
            masks.remove(name)
            chosen.append(row)
    if not chosen:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, chosen[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
