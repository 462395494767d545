"""Part files: lines of JSON that many processes append to one folder, and that a killed one cannot spoil.

Every process writes part files of its own, so writers need no locks and nobody ever appends to the torn last line
that a killed process may leave: such a line is dropped on reading.
"""

import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from atman_bench.core.errors import StoreError
from atman_bench.core.records import SCHEMA

Record = TypeVar("Record")


class PartWriter:
    """The part files of one process in one folder, opened at their first line.

    Args:
        folder: Where they are; it exists.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        # The time comes first so that sorting part files by name gives the order in which runs started.
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._name = f"{started}-{safe_name(socket.gethostname())}-{os.getpid()}-{secrets.token_hex(3)}"
        self._files: dict[str, int] = {}

    def write(self, kind: str, data: bytes) -> None:
        """Append whole lines to the part file of a kind; they are in it when this returns.

        Raises:
            StoreError: The disk is full or the folder not writable.
        """
        try:
            if kind not in self._files:
                path = self._folder / f"{kind}-{self._name}.jsonl"
                self._files[kind] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            # Unbuffered: a signal handler cannot cut a line in two, and a line survives the process once written.
            while data:
                data = data[os.write(self._files[kind], data) :]
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def close(self) -> None:
        """Close the part files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


def read_parts(folder: Path, kind: str, parse: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """Records of all part files of a kind, oldest file first; a torn last line is dropped.

    Raises:
        StoreError: A line is corrupted or of another schema version.
    """
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        try:
            *lines, _torn = path.read_bytes().split(b"\n")
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                content = json.loads(line)
                if not isinstance(content, dict):
                    raise TypeError("not an object")
                check_schema(content, where)
                yield parse(content)
            except (ValueError, TypeError, KeyError) as error:
                raise StoreError(
                    f"{where} is corrupted ({error}): remove that line, its sample is then computed again"
                ) from error


def check_writable(results: Path) -> None:
    """Make the results folder and a file in it, so that a run that could not save anything ends before it starts.

    Raises:
        StoreError: The folder cannot be made or written to.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(results, error) from error


def check_schema(content: Mapping[str, Any], where: str) -> None:
    """Refuse what another version wrote.

    Raises:
        StoreError: The schema version is not ours; the message names ``where``.
    """
    found = content.get("schema")
    if found != SCHEMA:
        raise StoreError(
            f"{where} has schema version {found}, this version of atman-bench reads {SCHEMA}: "
            "use the version that wrote it, or evaluate again into another --results folder"
        )


def safe_name(name: str) -> str:
    """A folder name on any file system; what makes it unique is the fingerprint, so names may be shortened."""
    return re.sub(r"[^A-Za-z0-9._=,+-]+", "-", name).strip("-.")[:80] or "unnamed"


def unwritable(folder: Path, error: OSError) -> StoreError:
    """The error to raise when the system refuses to write to a folder."""
    return StoreError(
        f"results cannot be written to {folder}: {error.strerror}; "
        "choose another folder with --results, or make this one writable"
    )
