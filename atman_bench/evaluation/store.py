"""Results on disk: a cell per dataset × model × method × variant, appended to sample by sample, resumed at any point.

``RESULTS/<dataset>/<model>/<method>/<variant>-<fingerprint>/`` holds

- ``manifest.json``: what the fingerprint was taken of, and the environment of the run that created the folder;
- ``maps-<writer>.jsonl``: one ``StoredMap`` per finished sample, below a header with the environment that computed it;
- ``rows-<writer>.jsonl``: one ``Row`` per sample and sign rule.

``atman-bench results compact`` moves all of that into the files of ``archive.py``; a cell is read from both. How lines
are written and read is ``core/jsonl.py``. A sample's map is written before its row, and rows are a function of the map,
so rows that a killed process did not get to are recomputed without a model.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import (
    PartWriter,
    check_schema,
    part_files,
    read_part,
    record_of,
    refuse_in_use,
    safe_name,
    unwritable,
)
from atman_bench.core.records import SCHEMA, Row, Status
from atman_bench.core.texts import parse_json
from atman_bench.evaluation.archive import Archive
from atman_bench.evaluation.stored import Ending, Identity, StoredMap, digest_of

MANIFEST = "manifest.json"


class Cell:
    """One cell of results. Making one touches nothing on disk; use it as a context manager to write.

    Args:
        results: The results folder.
        identity: What the cell's maps depend on.
        variant: Name of the variant of the method, as shown in tables.
        archive: Compacted cells of the folder, shared by its cells; None reads them anew.
        options: The method's options, for a cell that a run computes; None for one that was read.

    Attributes:
        folder: Where its manifest and part files are.
    """

    def __init__(
        self,
        results: Path,
        identity: Identity,
        variant: str,
        archive: Archive | None = None,
        options: Any = None,
    ):
        self.identity = identity
        self.variant = variant
        self.options = options
        self._archive = archive or Archive(results)
        if known := self._archive.index.get(identity.fingerprint):
            self.folder = results / known["folder"]
        else:
            parts = (identity.dataset, identity.model, identity.method)
            leaf = f"{safe_name(variant)}-{identity.fingerprint}"
            self.folder = results.joinpath(*map(safe_name, parts), leaf)
        self._environment: Mapping[str, Any] | None = None
        self._writer: PartWriter | None = None

    @classmethod
    def at(cls, folder: Path, archive: Archive | None = None) -> "Cell":
        """The cell of an existing folder.

        Raises:
            StoreError: It has no readable manifest, or one of another schema version.
        """
        manifest = _read_manifest(folder / MANIFEST)
        try:
            cell = cls(folder.parents[3], record_of(Identity, manifest["identity"]), manifest["variant"], archive)
        except (KeyError, ValueError) as error:
            raise StoreError(
                f"{folder / MANIFEST} is not a manifest ({error}): run eval again with --overwrite"
            ) from error
        cell.folder = folder
        return cell

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """``variant``, ``identity``, ``created`` (ISO 8601, UTC) and ``environment`` (of the run that created it).

        Raises:
            StoreError: The cell does not exist, or its manifest cannot be read.
        """
        known = self._archive.index.get(self.identity.fingerprint)
        if known is None:
            return _read_manifest(self.folder / MANIFEST)
        about = {name: value for name, value in known.items() if name != "folder"}
        return {**about, "environment": self._archive.environments.get(known["environment"], {})}

    @property
    def is_compacted(self) -> bool:
        """Whether the files of ``archive.py`` hold some of it."""
        return self.identity.fingerprint in self._archive.index

    def entry(self, results: Path) -> dict[str, Any]:
        """What ``cells.json`` says of it.

        Raises:
            StoreError: Its manifest cannot be read.
        """
        known = self._archive.index.get(self.identity.fingerprint)
        if known is not None:
            return dict(known)
        return {
            "variant": self.variant,
            "identity": asdict(self.identity),
            "folder": self.folder.relative_to(results).as_posix(),
            "created": self.manifest["created"],
            "environment": digest_of(self.manifest["environment"]),
        }

    def environments(self) -> dict[str, Mapping[str, Any]]:
        """What computed its maps: digest, as ``StoredMap.environment`` says it -> what a manifest records of a run.

        Raises:
            StoreError: A part file is corrupted or of another schema version.
        """
        found = dict(self._archive.environments)
        for path in part_files(self.folder, "maps"):
            environment = self._environment_of(read_part(path, dict)[0])
            found[digest_of(environment)] = environment
        return found

    def maps(self) -> dict[str, StoredMap]:
        """One map per uid: a finished one before a failed one, else the latest.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        later = [stored for path in part_files(self.folder, "maps") for stored in self._maps_in(path)]
        best: dict[str, StoredMap] = {}
        # Part files are read first: compaction removes them after it has written what they hold.
        for stored in (*self._archive.maps(self.identity.fingerprint), *later):
            if stored.uid not in best or _rank(stored.status) >= _rank(best[stored.uid].status):
                best[stored.uid] = stored
        return best

    def endings(self) -> dict[str, Ending]:
        """How each sample of ``maps`` ended; several times as fast, since no map is looked at.

        Raises:
            StoreError: A line is no JSON, lacks what is asked, or is of another schema version.
        """
        later = [ending for path in part_files(self.folder, "maps") for ending in read_part(path, _ending)[1]]
        best: dict[str, Ending] = {}
        # As in ``maps``.
        for uid, ending in (*self._archive.endings(self.identity.fingerprint), *later):
            if uid not in best or _rank(ending.status) >= _rank(best[uid].status):
                best[uid] = ending
        return best

    def _maps_in(self, path: Path) -> list[StoredMap]:
        header, maps = read_part(path, StoredMap.from_json)
        digest = digest_of(self._environment_of(header))
        return [replace(stored, environment=digest) for stored in maps]

    def _environment_of(self, header: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The environment that a part file was written in: version 1 has it in the manifest only."""
        return self.manifest.get("environment", {}) if header is None else header["environment"]

    def rows(self) -> list[Row]:
        """One row per (uid, sign): ``ok`` before others, else the latest; values of all metrics that were computed.

        Raises:
            StoreError: A line is corrupted or of another schema version.
        """
        later = [row for path in part_files(self.folder, "rows") for row in read_part(path, _row)[1]]
        return _distinct([*self._archive.rows(self.identity.fingerprint), *later])

    def clear(self) -> None:
        """Remove the cell's part files and manifest (``--overwrite``); ``compaction.forget`` removes what is compacted.

        Raises:
            StoreError: They cannot be removed, or another run writes to them.
        """
        refuse_in_use(parts := part_files(self.folder, "maps", "rows"))
        try:
            for path in (*parts, self.folder / MANIFEST):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"results in {self.folder} cannot be removed: {error.strerror}") from error

    def create(self, environment: Mapping[str, Any]) -> None:
        """Make the folder and its manifest, which appears at once or not at all; one that is there stays.

        Args:
            environment: What computes the maps from now on.

        Raises:
            StoreError: The folder cannot be written to, or its manifest is of another schema version.
        """
        self._environment = environment
        path = self.folder / MANIFEST
        if path.exists():
            Cell.at(self.folder)
            return
        if self.identity.fingerprint in self._archive.index:
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
            temporary = self.folder / f".{secrets.token_hex(4)}-{MANIFEST}"
            temporary.write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def __enter__(self) -> Self:
        """Begin to write; the part files appear with their first line."""
        header = None if self._environment is None else {"environment": self._environment}
        self._writer = PartWriter(self.folder, header)
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
        content = asdict(stored)
        del content["environment"]  # the header of the part file says it
        self._append("maps", [content])

    def append_rows(self, rows: Sequence[Row]) -> None:
        """Write rows; they are in the file when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable; or a number is not finite.
        """
        self._append("rows", [asdict(row) for row in rows])

    def _append(self, kind: str, contents: Sequence[dict[str, Any]]) -> None:
        if self._writer is None:
            raise RuntimeError("a cell is written to inside its with block")
        try:
            lines = [json.dumps({**content, "schema": SCHEMA}, allow_nan=False) + "\n" for content in contents]
        except ValueError as error:
            raise StoreError(f"only finite numbers can be stored in {self.folder}: {error}") from error
        if not self._writer.has_written and self._environment is not None:
            self.create(self._environment)  # which may have been removed since: without it, nothing is found
        if lines:
            self._writer.write(kind, "".join(lines).encode())


def cells(results: Path) -> list[Cell]:
    """The cells of a results folder, compacted or not, sorted by their paths.

    Raises:
        StoreError: The folder does not exist, or a manifest cannot be read.
    """
    if not results.is_dir():
        raise StoreError(f"no results folder {results}: run 'atman-bench eval --results {results}' first")
    manifests = sorted(results.glob(f"*/*/*/*/{MANIFEST}"))
    archive = Archive(results)
    found = {cell.identity.fingerprint: cell for cell in (Cell.at(path.parent, archive) for path in manifests)}
    for fingerprint, about in archive.index.items():
        if fingerprint not in found:
            try:
                found[fingerprint] = Cell(results, record_of(Identity, about["identity"]), about["variant"], archive)
            except (KeyError, ValueError) as error:
                raise StoreError(f"cells.json of {results} does not describe cell {fingerprint}: {error}") from error
    return sorted(found.values(), key=lambda cell: cell.folder)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = parse_json(path.read_bytes())
        if not isinstance(manifest, dict):
            raise TypeError("not an object")
        for name, kind in (("variant", str), ("created", str), ("environment", dict)):
            if not isinstance(manifest.get(name), kind):
                raise TypeError(f"{name} should be {kind.__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): run eval again with --overwrite") from error
    check_schema(manifest, str(path))
    return manifest


def _ending(content: dict[str, Any]) -> tuple[str, Ending]:
    """A map's sample and how it ended, from its line, whose numbers are not looked at.

    Raises:
        TypeError: It is no line of a map.
    """
    uid, scores, label = content["uid"], content["scores"], content["label"]
    if not (isinstance(uid, str) and isinstance(scores, list) and isinstance(label, list)):
        raise TypeError("uid, scores or label is of another kind")
    return uid, Ending(Status(content["status"]), bool(label))


_OF_THE_CELL = ("fingerprint", "dataset", "model", "method", "variant")
"""What every row of version 1 repeated."""


def _row(content: dict[str, Any]) -> Row:
    """A row from its line; a line of version 1 holds one metric, and what the cell says."""
    if content.pop("schema") == 1:
        content["values"] = {content.pop("metric"): content.pop("value")}
        for name in _OF_THE_CELL:
            del content[name]
    return record_of(Row, content)


def _distinct(rows: Iterable[Row]) -> list[Row]:
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.uid, row.sign)
        known = best.get(key)
        if known is None or _rank(row.status) > _rank(known.status):
            best[key] = row
        elif _rank(row.status) == _rank(known.status):
            best[key] = replace(row, values={**known.values, **row.values})
    return list(best.values())


def _rank(status: Status) -> int:
    return 1 if status is Status.OK else 0
