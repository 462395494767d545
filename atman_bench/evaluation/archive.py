"""Compacted cells of a results folder: three files that hold what JSON lines held, for many cells at once.

- ``cells.json``: the identity of each cell, where its folder is, and the environments that computed its maps;
- ``maps.parquet``: one ``StoredMap`` a line;
- ``rows.parquet``: one ``Row`` a line, its metrics as columns: NaN is undefined, null was not computed.

``compaction.py`` writes them, ``store.py`` reads them together with the JSON lines of runs since then.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atman_bench.core.errors import StoreError, one_line
from atman_bench.core.jsonl import check_schema
from atman_bench.core.records import Row, Status
from atman_bench.core.texts import parse_json
from atman_bench.evaluation.stored import Ending, StoredMap

CELLS, MAPS, ROWS = "cells.json", "maps.parquet", "rows.parquet"

_NAMES = pa.dictionary(pa.int32(), pa.string())
_FLOATS = pa.list_(pa.float32())
_SHARES = pa.list_(pa.float64())
_COSTS = [("seconds", pa.float64()), ("forward_tokens", pa.int64()), ("peak_bytes", pa.int64())]

_MAP_SCHEMA = pa.schema(
    [
        ("fingerprint", _NAMES),
        ("environment", _NAMES),
        ("uid", pa.string()),
        ("status", _NAMES),
        ("group", pa.string()),
        ("facts", pa.string()),
        ("scores", _FLOATS),
        ("per_target", pa.list_(_FLOATS)),
        ("label", _SHARES),
        ("word_labels", pa.list_(_SHARES)),
        ("word_of_target", pa.list_(pa.int32())),
        ("target_logprobs", _SHARES),
        ("answered", pa.bool_()),
        *_COSTS,
        ("error", _NAMES),
    ]
)

_SCORES = ("scores.list.element", "per_target.list.element.list.element")
MAP_ENCODING = {
    "compression": "zstd",
    "compression_level": 12,
    # Scores hardly repeat, but their exponents do: bytes of equal significance are stored together.
    "column_encoding": dict.fromkeys(_SCORES, "BYTE_STREAM_SPLIT"),
    "use_dictionary": ["fingerprint", "environment", "status", "group", "facts", "error", "label.list.element"],
}
ROW_ENCODING = {"compression": "zstd", "compression_level": 12}

_ROW_FIELDS = [
    ("fingerprint", _NAMES),
    ("uid", pa.string()),
    ("sign", _NAMES),
    ("status", _NAMES),
    ("group", pa.string()),
    ("n_questions", pa.int32()),
    ("n_units", pa.int32()),
    ("n_positive", pa.float64()),
    ("target_logprob", pa.float64()),
    ("answered", pa.bool_()),
    *_COSTS,
    ("error", _NAMES),
]
_OTHERS = [f.name for f in fields(Row)][4:]
"""The fields of a row behind its uid, sign, status and values, in their order."""

_METRIC = "metric."
"""What the columns of metrics begin with."""


class Archive:
    """The compacted cells of a results folder; none where nothing was compacted.

    What was read is kept until the file changes, so that the cells of a folder share one reading.

    Args:
        results: The results folder.
    """

    def __init__(self, results: Path):
        self._results = results
        self._about: tuple[object, dict[str, Any]] = (None, {})
        self._rows: tuple[object, dict[str, list[Row]]] = (None, {})

    @property
    def index(self) -> Mapping[str, Mapping[str, Any]]:
        """Fingerprint -> ``identity``, ``variant``, ``folder``, ``created`` and ``environment`` of each cell."""
        return self._content["cells"]

    @property
    def environments(self) -> Mapping[str, Mapping[str, Any]]:
        """Digest -> what a manifest records of a run."""
        return self._content["environments"]

    @property
    def _content(self) -> dict[str, Any]:
        path = self._results / CELLS
        version = _version(path)
        if version is None:
            return {"cells": {}, "environments": {}}
        if self._about[0] != version:
            self._about = version, self._read_content(path)
        return self._about[1]

    def _read_content(self, path: Path) -> dict[str, Any]:
        try:
            content = parse_json(path.read_bytes())
            check_schema(content, str(path))
            cells, environments = content["cells"], content["environments"]
            if not all(isinstance(part, dict) for part in (cells, environments, *cells.values())):
                raise TypeError("cells and environments must be objects")
            for about in cells.values():
                if not all(isinstance(about[name], str) for name in ("variant", "folder", "created", "environment")):
                    raise TypeError("variant, folder, created and environment of a cell must be text")
                if Path(about["folder"]).is_absolute() or ".." in Path(about["folder"]).parts:
                    raise ValueError(f"{about['folder']} is no folder in it")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): restore it from a copy; {MAPS} and {ROWS} beside it are of no use "
                "without it"
            ) from error
        return content

    def rows(self, fingerprint: str) -> list[Row]:
        """The rows of one cell.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self._results / ROWS
        version = _version(path)
        if version is None:
            return []
        if self._rows[0] != version:
            grouped = defaultdict(list)
            with _readable(path):
                for name, row in _rows_of(_read(path)):
                    grouped[name].append(row)
            self._rows = version, dict(grouped)
        return self._rows[1].get(fingerprint, [])

    def maps(self, fingerprint: str) -> list[StoredMap]:
        """The maps of one cell; only its part of the file is decoded.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self._results / MAPS
        if not path.exists() or fingerprint not in self.index:
            return []
        with _readable(path):
            return [_map_of(line) for line in _read(path, fingerprint).to_pylist()]

    def endings(self, fingerprint: str) -> list[tuple[str, Ending]]:
        """The sample of each map of one cell and how it ended; scores are not decoded.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self._results / MAPS
        if not path.exists() or fingerprint not in self.index:
            return []
        with _readable(path):
            table = _read(path, fingerprint, ["fingerprint", "uid", "status", "label"])
            endings = map(Ending, map(Status, table["status"].to_pylist()), map(bool, table["label"].to_pylist()))
            return list(zip(table["uid"].to_pylist(), endings, strict=True))


def _version(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def map_table(fingerprint: str, maps: Iterable[StoredMap]) -> pa.Table:
    """The maps of one cell as lines of ``maps.parquet``.

    Raises:
        StoreError: A number is too large for its column.
    """
    lines = []
    for stored in maps:
        # The map of a single target token is the mean over the targets: an empty list says so.
        per_target: Any = [] if stored.per_target == (stored.scores,) else stored.per_target
        facts = json.dumps(dict(stored.facts), ensure_ascii=False)
        lines.append({**asdict(stored), "fingerprint": fingerprint, "per_target": per_target, "facts": facts})
    return _table(lines, _MAP_SCHEMA)


def row_table(rows: Sequence[tuple[str, Row]]) -> pa.Table:
    """Rows with the fingerprints of their cells as the lines of ``rows.parquet``.

    Raises:
        StoreError: A number is too large for its column.
    """
    metrics = sorted({metric for _, row in rows for metric in row.values})
    lines = []
    for fingerprint, row in rows:
        line = asdict(row) | {"fingerprint": fingerprint}
        for metric, value in line.pop("values").items():
            line[_METRIC + metric] = math.nan if value is None else value
        lines.append(line)
    schema = pa.schema([*_ROW_FIELDS, *((_METRIC + metric, pa.float64()) for metric in metrics)])
    return _table(lines, schema)


def _table(lines: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(lines, schema=schema)
    except (OverflowError, pa.ArrowException) as error:
        raise StoreError(f"a number in the JSON lines is too large ({one_line(error)}): remove the line") from error


def _read(path: Path, fingerprint: str | None = None, columns: list[str] | None = None) -> pa.Table:
    wanted = None if fingerprint is None else [("fingerprint", "=", fingerprint)]
    with pa.OSFile(str(path)) as file:  # opened once: compaction may replace it before the last column is read
        return pq.read_table(file, columns=columns, filters=wanted)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file, its columns or their types is one error that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read ({one_line(error)}): restore it from a copy, or remove it") from error


def _rows_of(table: pa.Table) -> Iterator[tuple[str, Row]]:
    """Column by column, which is several times as fast as line by line."""
    prints, statuses = table["fingerprint"].to_pylist(), map(Status, table["status"].to_pylist())
    uids, signs = table["uid"].to_pylist(), table["sign"].to_pylist()
    metrics = {name.removeprefix(_METRIC): name for name in table.column_names if name.startswith(_METRIC)}
    values = zip(*(table[column].to_pylist() for column in metrics.values()), strict=True)
    others = zip(*(table[name].to_pylist() for name in _OTHERS), strict=True)
    for fingerprint, uid, sign, status, of_metrics, rest in zip(
        prints, uids, signs, statuses, values if metrics else ((),) * len(prints), others, strict=True
    ):
        known = {
            name: None if math.isnan(value) else value
            for name, value in zip(metrics, of_metrics, strict=True)
            if value is not None
        }
        yield fingerprint, Row(uid, sign, status, known, *rest)


def _map_of(line: dict[str, Any]) -> StoredMap:
    line.pop("fingerprint")
    if line["per_target"] == []:
        line["per_target"] = [line["scores"]]
    return StoredMap.from_json({**line, "facts": json.loads(line["facts"])})
