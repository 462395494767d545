"""JSON lines become Parquet: what a run has finished weighs a tenth, and is read at once.

The new files hold all that the old ones and the part files held, and replace them one by one before a part file is
removed. So wherever it is killed, what readers find in both places together is complete, and nothing is found twice.
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atman_bench.core.jsonl import exclusive, is_being_written, part_files, unwritable
from atman_bench.core.records import SCHEMA, Row
from atman_bench.evaluation import store
from atman_bench.evaluation.archive import CELLS, MAP_ENCODING, MAPS, ROW_ENCODING, ROWS, map_table, row_table
from atman_bench.evaluation.store import MANIFEST, Cell

_GROUP_BYTES = 4_000_000
"""Maps of several cells share a row group up to here: one is decoded to read a cell."""

_LOCK = ".compacting"


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        cells: Cells that are in the files now.
        maps: Maps in them.
        rows: Rows in them.
        in_use: Folders of cells that a running process writes to; their JSON lines were left as they are.
        bytes_before: Size of all that cells are read from, before.
        bytes_after: The same, after.
    """

    cells: int
    maps: int
    rows: int
    in_use: tuple[Path, ...]
    bytes_before: int
    bytes_after: int


def compact(results: Path, without_maps: Collection[str] | None = ()) -> Compacted:
    """Move all finished cells of a results folder into the files of ``archive.py``.

    Args:
        results: The results folder.
        without_maps: Methods, as ``METHOD`` or ``METHOD:VARIANT``, of whose cells the rows are kept and the maps
            dropped (maps of single pixels are large): tables under the stored sign rules stay, other rules need them.
            None drops all maps.

    Raises:
        StoreError: The folder does not exist, cannot be read or written to, or is being compacted by somebody else.
    """
    cells = store.cells(results)
    with exclusive(results / _LOCK):
        before = _size(results)
        parts = {cell: part_files(cell.folder, "maps", "rows") for cell in cells}
        in_use = {cell for cell, paths in parts.items() if any(map(is_being_written, paths))}
        finished = [cell for cell in cells if cell not in in_use]
        n_maps, n_rows = _write(results, cells, lambda cell: without_maps is None or _is_named(cell, without_maps))
        for cell in finished:
            _remove(results, cell, parts[cell])
        after = _size(results)
    return Compacted(len(finished), n_maps, n_rows, tuple(sorted(cell.folder for cell in in_use)), before, after)


def forget(results: Path, cells: Sequence[Cell]) -> None:
    """Take cells out of the compacted files (``--overwrite``); nothing happens where they are not in them.

    Raises:
        StoreError: The files cannot be read or written.
    """
    forgotten = {cell.identity.fingerprint for cell in cells}
    kept = store.cells(results)
    if not any(cell.is_compacted for cell in kept if cell.identity.fingerprint in forgotten):
        return
    with exclusive(results / _LOCK):
        _write(
            results, [c for c in kept if c.is_compacted and c.identity.fingerprint not in forgotten], lambda _: False
        )


def _write(results: Path, cells: Sequence[Cell], drops_maps: Callable[[Cell], bool]) -> tuple[int, int]:
    """Replace the three files by ones with all that these cells hold; the numbers of maps and rows in them."""
    rows: list[tuple[str, Row]] = []
    index: dict[str, Any] = {}
    environments: dict[str, Any] = {}
    for cell in cells:
        rows += [(cell.identity.fingerprint, row) for row in cell.rows()]
        of_cell = cell.environments()
        environments |= of_cell
        index[cell.identity.fingerprint] = cell.entry(results)
    content = {"schema": SCHEMA, "cells": index, "environments": environments}
    # Identities come first: a map or row whose cell is not known would not be found.
    with _replacing(results / CELLS) as path:
        path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
    n_maps = 0
    with _replacing(results / MAPS) as path, _writer(path) as write:
        for cell in sorted(cells, key=lambda cell: cell.identity.fingerprint):
            maps = () if drops_maps(cell) else tuple(cell.maps().values())
            n_maps += len(maps)
            write(map_table(cell.identity.fingerprint, maps))
    with _replacing(results / ROWS) as path:
        pq.write_table(row_table(rows), path, **ROW_ENCODING)
    return n_maps, len(rows)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces another one when the block ends well, at once or not at all."""
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Collects tables into row groups of a Parquet file."""
    waiting: list[pa.Table] = []
    schema = map_table("", ()).schema

    def flush() -> None:
        if waiting:
            file.write_table(pa.concat_tables(waiting).unify_dictionaries())
            waiting.clear()

    def write(table: pa.Table) -> None:
        waiting.append(table)
        if sum(part.nbytes for part in waiting) > _GROUP_BYTES:
            flush()

    with pq.ParquetWriter(path, schema, **MAP_ENCODING) as file:
        yield write
        flush()


def _remove(results: Path, cell: Cell, parts: Sequence[Path]) -> None:
    """Remove part files that were read, and what is empty then."""
    try:
        for path in parts:
            path.unlink(missing_ok=True)
        if part_files(cell.folder, "maps", "rows"):
            return  # a run has begun to write since
        (cell.folder / MANIFEST).unlink(missing_ok=True)
        folder = cell.folder
        while folder != results and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
    except OSError as error:
        raise unwritable(cell.folder, error) from error


def _is_named(cell: Cell, names: Collection[str]) -> bool:
    return not {cell.identity.method, f"{cell.identity.method}:{cell.variant}"}.isdisjoint(names)


def _size(results: Path) -> int:
    files = [results / name for name in (CELLS, MAPS, ROWS)]
    for cell in store.cells(results):
        files += [*part_files(cell.folder, "maps", "rows"), cell.folder / MANIFEST]
    return sum(path.stat().st_size for path in files if path.exists())
