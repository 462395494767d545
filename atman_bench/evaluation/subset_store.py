"""Evaluated subsets on disk: what the model says of each sample's target without some of its units.

``RESULTS/subsets/<dataset>/<model>/<intervention>-<fingerprint>/`` holds ``about.json`` (what the fingerprint was taken
of, and the environment of the run that created the folder) and ``subsets-<writer>.jsonl``. Subsets are stored with
their masks, so the mask bank and the orders of all methods share them; measures are functions of them and of maps.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import (
    PartWriter,
    check_schema,
    part_files,
    read_parts,
    record_of,
    refuse_in_use,
    safe_name,
    unwritable,
)
from atman_bench.core.options import ADDED_LATER
from atman_bench.core.records import SCHEMA, Cost, UnitKind
from atman_bench.core.texts import parse_json
from atman_bench.evaluation.stored import fingerprint_of, float32_list

_ABOUT = "about.json"
_FOLDER = "subsets"
_KIND = "subsets"


@dataclass(frozen=True)
class EvaluatedSubsets:
    """M subsets of one sample's units that ran together.

    Attributes:
        uid: The sample's.
        n_units: U.
        kept: Each mask's bits, True = kept, as hexadecimal digits; the last byte is filled up with zeros.
        logprobs: (M, T) log-probability of each target token under each subset, or of a contrast (M, 1) how far the
            target's is above the foil's; each number names a float32 exactly.
        cost: Of running them.
    """

    uid: str
    n_units: int
    kept: tuple[str, ...]
    logprobs: tuple[tuple[float, ...], ...]
    cost: Cost

    @classmethod
    def of(
        cls, uid: str, masks: Bool[np.ndarray, "M U"], logprobs: Float[np.ndarray, "M T"], cost: Cost
    ) -> "EvaluatedSubsets":
        """A record of arrays.

        Raises:
            StoreError: A log-probability is not finite.
        """
        return cls(uid, masks.shape[1], keys_of(masks), tuple(map(float32_list, logprobs)), cost)


def keys_of(masks: Bool[np.ndarray, "M U"]) -> tuple[str, ...]:
    """The bits of each mask as hexadecimal digits."""
    return tuple(row.tobytes().hex() for row in np.packbits(masks, axis=1))


@dataclass(frozen=True)
class SubsetIdentity:
    """Everything that can change what the model says under a subset, and nothing else.

    Attributes:
        dataset: Name of the dataset.
        dataset_options: Its resolved options; where the data lie is left out, ``dataset_hash`` is their content.
        dataset_hash: The dataset's content hash.
        model: Name of the model as the user wrote it.
        model_hash: Content hash of its weights, or the hub revision.
        dtype: Name of the weights' type.
        intervention: Resolved options of how units are taken away.
        version: Raised whenever the way to take them away changes.
        units: What of a text is one unit.
        contrast: Whether samples with a foil are asked for the contrast; before they were asked for the target alone.
    """

    dataset: str
    dataset_options: Mapping[str, Any]
    dataset_hash: str
    model: str
    model_hash: str
    dtype: str
    intervention: Mapping[str, Any]
    version: int
    units: UnitKind = field(default=UnitKind.TOKEN, metadata=ADDED_LATER)
    contrast: bool = field(default=False, metadata=ADDED_LATER)

    @cached_property
    def fingerprint(self) -> str:
        """See ``fingerprint_of``."""
        return fingerprint_of(self)


@dataclass(frozen=True)
class SubsetCell:
    """One folder of evaluated subsets. Making one touches nothing on disk.

    Attributes:
        results: The results folder.
        identity: What they depend on.
    """

    results: Path
    identity: SubsetIdentity

    @property
    def folder(self) -> Path:
        """Where it is."""
        names = (self.identity.dataset, self.identity.model)
        leaf = f"{self.identity.intervention['intervention']}-{self.identity.fingerprint}"
        return self.results.joinpath(_FOLDER, *map(safe_name, names), leaf)

    def evaluated(self) -> list[EvaluatedSubsets]:
        """All records, oldest first.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        return list(read_parts(self.folder, _KIND, _from_json))

    def clear(self) -> None:
        """Remove what was evaluated (``--overwrite``).

        Raises:
            StoreError: It cannot be removed, or another run writes to it.
        """
        refuse_in_use(parts := part_files(self.folder, _KIND))
        try:
            for path in (*parts, self.folder / _ABOUT):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"subsets in {self.folder} cannot be removed: {error.strerror}") from error

    def create(self, environment: Mapping[str, Any]) -> None:
        """Make the folder, and say in it what it holds; what is there stays.

        Raises:
            StoreError: It cannot be written to, or is of another schema version.
        """
        path = self.folder / _ABOUT
        try:
            if path.exists():
                about = parse_json(path.read_bytes())
                if not isinstance(about, dict):
                    raise ValueError("not an object")
                check_schema(about, str(path))
                return
            about = {
                "schema": SCHEMA,
                "fingerprint": self.identity.fingerprint,
                "identity": asdict(self.identity),
                "environment": environment,
            }
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".{secrets.token_hex(4)}-{_ABOUT}"
            temporary.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        except ValueError as error:
            raise StoreError(f"{path} cannot be read ({error}): remove its folder, and run again") from error

    @contextmanager
    def writer(self) -> Iterator["SubsetWriter"]:
        """Begin to write; the part file appears with its first line."""
        parts = PartWriter(self.folder)
        try:
            yield SubsetWriter(parts)
        finally:
            parts.close()


@dataclass(frozen=True)
class SubsetWriter:
    """Appends records to a part file of this process."""

    parts: PartWriter

    def append(self, evaluated: EvaluatedSubsets) -> None:
        """Write one record; it is in the file when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable.
        """
        self.parts.write(_KIND, (json.dumps({**asdict(evaluated), "schema": SCHEMA}) + "\n").encode())


def _from_json(content: dict[str, Any]) -> EvaluatedSubsets:
    return record_of(EvaluatedSubsets, {name: value for name, value in content.items() if name != "schema"})
