"""Flat records: of a JSON, JSON-lines or CSV file, or of a dataset folder or hub id."""

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atman_bench.core.errors import DataError, one_line
from atman_bench.core.hub import offline_where_unreachable
from atman_bench.core.texts import parse_json
from atman_bench.datasets._json import expect, field

SUFFIXES = frozenset({".json", ".jsonl", ".csv"})


@dataclass(frozen=True)
class Rows:
    """The records of one source.

    Attributes:
        records: Column -> value of each; a CSV file's values are texts.
        content_hash: SHA-256 of a file's bytes, or of the records as JSON.
    """

    records: tuple[Mapping[str, Any], ...]
    content_hash: str


def is_file(data: str) -> bool:
    """Whether a ``data`` option means a file, present or not."""
    return Path(data).is_file() or Path(data).suffix in SUFFIXES


def read_file(path: Path, columns: Collection[str], expected: str) -> Rows:
    """The records of a JSON file (a list, or one object a line) or a CSV file with a header.

    Args:
        path: The file; ``.csv`` is read as CSV, everything else as JSON.
        columns: What each record has to hold.
        expected: What the dataset reads, for messages.

    Raises:
        DataError: The file is missing, unreadable or malformed, holds no record, or lacks columns.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; expected {expected}") from error
    try:
        records = _csv(content) if path.suffix == ".csv" else _json(content)
    except (ValueError, csv.Error) as error:
        kind = "CSV" if path.suffix == ".csv" else "JSON"
        raise DataError(f"{path} is no valid {kind} ({one_line(error)}); expected {expected}") from error
    if not isinstance(records, list) or not records:
        raise DataError(f"{path} holds no list of records; expected {expected}")
    for i, record in enumerate(records):
        if missing := [name for name in columns if name not in expect(record, dict, f"{path}: [{i}]")]:
            found = ", ".join(map(str, record)) or "nothing"
            raise DataError(f"{path}: [{i}] lacks {', '.join(missing)}; found {found}; expected {expected}")
    return Rows(tuple(records), hashlib.sha256(content).hexdigest())


def _csv(content: bytes) -> list[dict[str, str]]:
    stream = io.StringIO(content.decode("utf-8-sig"), newline="")
    return [
        {name: value for name, value in record.items() if name is not None and value is not None}
        for record in csv.DictReader(stream, strict=True)
    ]


def _json(content: bytes) -> Any:
    """A whole document, or a line for each record where the first line is one by itself."""
    lines = content.splitlines()
    if lines and lines[0].startswith(b"{") and lines[0].endswith(b"}"):
        return [parse_json(line) for line in lines if line.strip()]
    return parse_json(content)


def read_hub(
    name: str, columns: Collection[str], expected: str, split: str, revision: str | None, subset: str | None = None
) -> Rows:
    """The records of a folder in the layout of ``datasets``, or of a hub id.

    Args:
        name: Folder or hub id.
        columns: What each record has to hold; others are kept.
        expected: What the dataset reads, for messages.
        split: Which split.
        revision: Hub revision.
        subset: Which configuration of a hub id with several.

    Raises:
        DataError: It cannot be loaded, or lacks columns.
    """
    import datasets  # takes seconds to import, and a local file does not need it

    try:
        with offline_where_unreachable(name):
            rows = datasets.load_dataset(name, subset, split=split, revision=revision)
    # Network, cache, layout and unknown splits each fail with an exception of another library.
    except Exception as error:
        raise DataError(
            f"cannot load {name!r}, split {split!r}: {one_line(error)}; expected {expected}, a dataset folder or a "
            "hub id"
        ) from error
    if missing := set(columns) - set(rows.column_names):
        raise DataError(f"{name} lacks the columns {', '.join(sorted(missing))}; found {', '.join(rows.column_names)}")
    records = tuple(dict(row) for row in rows)
    return Rows(records, hashlib.sha256(json.dumps(records, default=str).encode()).hexdigest())


def spans_in(record: object, key: str, where: str) -> Iterable[tuple[int, int]]:
    """A field of half-open ranges, each a list of two integers.

    Raises:
        DataError: It is something else.
    """
    for i, span in enumerate(field(record, key, list, where)):
        place = f"{where}: {key!r}[{i}]"
        if len(expect(span, list, place)) != 2:
            raise DataError(f"{place} should be [start, end], found {len(span)} values")
        yield expect(span[0], int, place), expect(span[1], int, place)
