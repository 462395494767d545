"""``scenes``: generated images of several objects with exact masks, to be named or asked about.

The scenes are written in the layout of Open Images or GQA and read as those are. ``tiny-magma`` is trained on the
``train`` split; ``novel`` shows combinations of shape and colour that no other split does.
"""

import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.options import check_count
from atman_bench.core.records import Modality
from atman_bench.datasets import gqa, openimages
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._scenes_disk import write_naming, write_once, write_questions
from atman_bench.datasets._scenes_world import SIDE, Shape, Split

VERSION = 4
"""Raised with every change of what is generated: folders of another version are not reused."""


class Task(StrEnum):
    """What is asked about a scene."""

    NAMING = "naming"
    QUESTIONS = "questions"


@dataclass(frozen=True)
class ScenesConfig:
    """Options of ``scenes``.

    Attributes:
        n: Number of samples: objects to name, or questions.
        seed: Seed of the generator.
        split: ``held_out``, ``novel``, or ``train`` for what the embedded model is trained on.
        task: ``naming`` asks what is in the image, once for every object; ``questions`` asks as GQA does.
        crop: Crop the image to the object that is named.
        threshold: A unit is evidence if at least this share of its area is; null keeps the share as a soft label.
        data: Folder in which the generated scenes are kept, or null for one among the system's temporary files.
    """

    n: int = 100
    seed: int = 0
    split: Split = Split.HELD_OUT
    task: Task = Task.NAMING
    crop: bool = False
    threshold: float | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_count("scenes: n", self.n)
        if self.seed < 0:
            raise ConfigError(f"scenes: seed should be at least 0, received {self.seed}")
        if self.crop and self.task is Task.QUESTIONS:
            raise ConfigError("scenes: crop goes with the task naming; questions are about the whole picture")


def load(config: ScenesConfig) -> Dataset:
    """Generate the scenes unless they are there, and read them as real data is read.

    Raises:
        DataError: The folder cannot be written, or has lost some of its files.
    """
    kept = Path(config.data).expanduser() if config.data else Path(tempfile.gettempdir()) / "atman-bench-scenes"
    folder = kept / f"{config.task}-{config.split}-seed{config.seed}-n{config.n}-v{VERSION}"
    write = {Task.NAMING: write_naming, Task.QUESTIONS: write_questions}[config.task]
    write_once(folder, partial(write, seed=config.seed, split=config.split, n=config.n))
    dataset = _read(folder, config)
    if (found := len(dataset.samples)) != config.n:
        raise DataError(
            f"{folder} should hold {config.n} samples, found {found}: it was damaged after it was generated; "
            "delete it, and the next run writes it anew"
        )
    # What is left is shapes that happen not to occur in a few scenes: no entries that could have been samples.
    return replace(dataset, skipped=())


def _read(folder: Path, config: ScenesConfig) -> Dataset:
    if config.task is Task.QUESTIONS:
        return gqa.load(gqa.GqaConfig(data=str(folder), threshold=config.threshold))
    # The paper's filters choose among photographs; of the scenes every object is a sample.
    everything = openimages.OpenImagesConfig(
        data=str(folder),
        classes=tuple(Shape),
        crop=config.crop,
        per_class=config.n,
        min_aspect=1 / SIDE,
        max_aspect=SIDE,
        min_side=1,
        first_instance_only=False,
        threshold=config.threshold,
    )
    return openimages.load(everything)


def _label(config: ScenesConfig) -> str:
    named = {Task.NAMING: "", Task.QUESTIONS: "questions"}[config.task]
    return "cropped" if config.crop else named


SPEC = DatasetSpec(
    summary="generated pictures of several objects with exact masks, to be named or asked about; offline",
    config=ScenesConfig,
    load=load,
    modality=Modality.IMAGE,
    label=_label,
)
