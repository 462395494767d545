"""What a dataset file defines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atman_bench.core.records import Modality, Sample, Skipped


@dataclass(frozen=True)
class Dataset:
    """A loaded dataset.

    Attributes:
        samples: In the order of the source; a seeded choice among them is the runner's.
        skipped: Entries that are no usable samples (unanswerable, offsets that do not match), with the reason.
        content_hash: SHA-256 of the data, or the revision it was loaded from; part of the fingerprint of stored maps.
        names: (prompt, target) of every class, where samples ask for the name of one of them.
    """

    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]
    content_hash: str
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset.

    Attributes:
        summary: One line for ``atman-bench list datasets``.
        config: Frozen dataclass of the options; ``data`` (path or hub id, None for the built-in) is one of them.
        load: ``config -> Dataset``; raises DataError.
        modality: Whether its samples have images.
        label: ``config -> what tables add to the dataset's name``, for options that change the evaluation setting
            (a crop); an empty string adds nothing.
    """

    summary: str
    config: type[Any]
    load: Callable[[Any], Dataset]
    modality: Modality = Modality.TEXT
    label: Callable[[Any], str] = lambda config: ""
