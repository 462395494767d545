"""Results on disk: a folder per dataset × model × method × variant, appended to sample by sample, resumed at any point.

``RESULTS/<dataset>/<model>/<method>/<variant>-<fingerprint>/`` holds

- ``manifest.json``: what the fingerprint was taken of, and the environment of the run that created the folder;
- ``maps-<writer>.jsonl``: one ``StoredMap`` per finished sample;
- ``rows-<writer>.jsonl``: one ``Row`` per metric of each sample.

How lines are written and read is ``parts``. A sample's map is written before its rows, and rows are a function of the
map, so rows that a killed process did not get to are recomputed without a model.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import PartWriter, check_schema, read_parts, safe_name, unwritable
from atman_bench.core.records import SCHEMA, Row, Status

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StoredMap:
    """How one sample ended, with its map if it ended ``ok``. Everything that rows need is here.

    Attributes:
        uid: The sample's.
        status: How it ended.
        scores: (U,) relevance, mean over the target tokens; each number names a float32 exactly.
        per_target: (T, U), or None where the method explains the mean only.
        label: (U,) the share of each unit that is evidence; 1 for text that it touches.
        word_labels: The label of each word, for samples whose words have evidence of their own (GQA); else None.
        word_of_target: Which word each target token belongs to; None exactly if ``word_labels`` is.
        group: What bootstrap intervals resample.
        facts: The sample's further facts.
        target_logprobs: (T,) log-probabilities of the target tokens under the plain model (natural logarithm).
        answered: Whether greedy decoding gives the target.
        seconds: Wall time of the explanation.
        forward_tokens: Token positions that went through the layers.
        peak_bytes: Peak device memory of the explanation above what was allocated before.
        error: Why the status is not ``ok``.
    """

    uid: str
    status: Status
    scores: tuple[float, ...] = ()
    per_target: tuple[tuple[float, ...], ...] | None = None
    label: tuple[float, ...] = ()
    word_labels: tuple[tuple[float, ...], ...] | None = None
    word_of_target: tuple[int, ...] | None = None
    group: str = ""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    target_logprobs: tuple[float, ...] = ()
    answered: bool | None = None
    seconds: float | None = None
    forward_tokens: int | None = None
    peak_bytes: int | None = None
    error: str | None = None
    schema: int = SCHEMA

    @property
    def finished(self) -> bool:
        """Whether another run leaves it as it is: ``ok``, or refused by the method.

        ``oom`` and ``error`` are tried again. A sample that a run skipped before any method saw it has no label; a run
        with a larger token limit may use it.
        """
        return self.status is Status.OK or (self.status is Status.SKIPPED and bool(self.label))


@dataclass(frozen=True)
class Identity:
    """Everything that can change a cell's maps, and nothing else: no limit, batch size, metric or sibling method.

    Attributes:
        dataset: Name of the dataset.
        dataset_options: Its resolved options; where the data lie is left out, ``dataset_hash`` is their content.
        dataset_hash: The dataset's content hash.
        model: Name of the model as the user wrote it.
        model_hash: Content hash of its weights, or the hub revision.
        dtype: Name of the weights' type.
        method: Name of the method.
        method_version: ``SPEC.version``, raised when the method's numbers change.
        method_options: Its resolved options.
        seed: The run's seed for stochastic methods, else None.
    """

    dataset: str
    dataset_options: Mapping[str, Any]
    dataset_hash: str
    model: str
    model_hash: str
    dtype: str
    method: str
    method_version: int
    method_options: Mapping[str, Any]
    seed: int | None

    @cached_property
    def fingerprint(self) -> str:
        """See ``fingerprint_of``."""
        return fingerprint_of(self)

    def same_experiment(self, other: "Identity") -> bool:
        """Whether only the method differs, so that the two cells can be compared."""
        ours, theirs = (
            replace(identity, method="", method_version=0, method_options={}, seed=None) for identity in (self, other)
        )
        return ours.fingerprint == theirs.fingerprint


def fingerprint_of(record: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a dataclass as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(asdict(record), sort_keys=True, allow_nan=False).encode()).hexdigest()[:12]


def float32_list(values: Iterable[float]) -> tuple[float, ...]:
    """The shortest decimal numbers that name these float32 values: ``np.float32`` of each gives the value back.

    Raises:
        StoreError: A value is not finite.
    """
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise StoreError(f"only finite numbers can be stored; received {array[~np.isfinite(array)][0]}")
    return tuple(float(str(value)) for value in array)


class Cell:
    """One folder of results. Making one touches nothing on disk; use it as a context manager to write.

    Args:
        results: The results folder.
        identity: What the cell's maps depend on.
        variant: Name of the variant of the method, as shown in tables.

    Attributes:
        folder: Where it is.
        created: When its manifest was written (ISO 8601, UTC); empty for a cell that was not read from disk.
    """

    def __init__(self, results: Path, identity: Identity, variant: str):
        self.identity = identity
        self.variant = variant
        parts = (identity.dataset, identity.model, identity.method)
        leaf = f"{safe_name(variant)}-{identity.fingerprint}"
        self.folder = results.joinpath(*map(safe_name, parts), leaf)
        self.created = ""
        self._writer: PartWriter | None = None

    @classmethod
    def at(cls, folder: Path) -> "Cell":
        """The cell of an existing folder.

        Raises:
            StoreError: It has no readable manifest, or one of another schema version.
        """
        path = folder / _MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}): run eval again with --overwrite") from error
        check_schema(manifest, str(path))
        try:
            cell = cls(folder.parents[3], Identity(**manifest["identity"]), manifest["variant"])
            cell.created = manifest["created"]
        except (KeyError, TypeError) as error:
            raise StoreError(f"{path} is not a manifest ({error}): run eval again with --overwrite") from error
        cell.folder = folder
        return cell

    def maps(self) -> dict[str, StoredMap]:
        """One map per uid: a finished one before a failed one, else the latest.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        best: dict[str, StoredMap] = {}
        for stored in read_parts(self.folder, "maps", _map_from_json):
            if stored.uid not in best or _rank(stored.status) >= _rank(best[stored.uid].status):
                best[stored.uid] = stored
        return best

    def rows(self) -> list[Row]:
        """One row per (uid, metric, sign): ``ok`` before others, else the latest.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        return _distinct(read_parts(self.folder, "rows", _row_from_json))

    def clear(self) -> None:
        """Remove the cell's files (``--overwrite``).

        Raises:
            StoreError: They cannot be removed.
        """
        try:
            for pattern in ("maps-*.jsonl", "rows-*.jsonl", _MANIFEST):
                for path in self.folder.glob(pattern):
                    path.unlink()
        except OSError as error:
            raise StoreError(f"results in {self.folder} cannot be removed: {error.strerror}") from error

    def create(self, environment: Mapping[str, Any]) -> None:
        """Make the folder and its manifest, which appears at once or not at all; one that is there stays.

        Raises:
            StoreError: The folder cannot be written to, or its manifest is of another schema version.
        """
        path = self.folder / _MANIFEST
        if path.exists():
            Cell.at(self.folder)
            return
        manifest = {
            "schema": SCHEMA,
            "fingerprint": self.identity.fingerprint,
            "variant": self.variant,
            "identity": asdict(self.identity),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".{secrets.token_hex(4)}-{_MANIFEST}"
            temporary.write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def __enter__(self) -> Self:
        """Begin to write; the part files appear with their first line."""
        self._writer = PartWriter(self.folder)
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the part files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def append_map(self, stored: StoredMap) -> None:
        """Write one map; it is in the file when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable; or a number is not finite.
        """
        self._append("maps", [stored])

    def append_rows(self, rows: Sequence[Row]) -> None:
        """Write rows; they are in the file when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable; or a number is not finite.
        """
        self._append("rows", rows)

    def _append(self, kind: str, records: Sequence[StoredMap | Row]) -> None:
        if self._writer is None:
            raise RuntimeError("a cell is written to inside its with block")
        try:
            lines = [json.dumps(asdict(record), allow_nan=False) + "\n" for record in records]
        except ValueError as error:
            raise StoreError(f"only finite numbers can be stored in {self.folder}: {error}") from error
        if lines:
            self._writer.write(kind, "".join(lines).encode())


def cells(results: Path) -> list[Cell]:
    """The cells of a results folder, sorted by their paths.

    Raises:
        StoreError: The folder does not exist, or a manifest cannot be read.
    """
    if not results.is_dir():
        raise StoreError(f"no results folder {results}: run 'atman-bench eval --results {results}' first")
    return [Cell.at(path.parent) for path in sorted(results.glob(f"*/*/*/*/{_MANIFEST}"))]


def read_rows(results: Path) -> list[Row]:
    """All rows of a results folder, one per (fingerprint, uid, metric, sign).

    Raises:
        StoreError: The folder does not exist, or a file in it is corrupted or of another schema version.
    """
    return [row for cell in cells(results) for row in cell.rows()]


def _map_from_json(content: dict[str, Any]) -> StoredMap:
    per_target, word_labels = content["per_target"], content.get("word_labels")
    word_of_target = content.get("word_of_target")
    return StoredMap(
        **{
            **content,
            "status": Status(content["status"]),
            "scores": tuple(content["scores"]),
            "per_target": None if per_target is None else tuple(map(tuple, per_target)),
            "label": tuple(content["label"]),
            "word_labels": None if word_labels is None else tuple(map(tuple, word_labels)),
            "word_of_target": None if word_of_target is None else tuple(word_of_target),
            "target_logprobs": tuple(content["target_logprobs"]),
        }
    )


def _row_from_json(content: dict[str, Any]) -> Row:
    return Row(**{**content, "status": Status(content["status"])})


def _distinct(rows: Iterable[Row]) -> list[Row]:
    best: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.uid, row.metric, row.sign)
        if key not in best or _rank(row.status) >= _rank(best[key].status):
            best[key] = row
    return list(best.values())


def _rank(status: Status) -> int:
    return 1 if status is Status.OK else 0
