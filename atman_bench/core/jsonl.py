"""Part files: lines of JSON that many processes append to one folder, and that a killed one cannot spoil.

Every process writes part files of its own, so writers do not wait for each other and nobody ever appends to the torn
last line that a killed process may leave: such a line is dropped on reading. The first line of a part file may be a
header, which says what all its records have in common (the environment that computed them).
"""

import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from atman_bench.core.errors import StoreError
from atman_bench.core.records import READABLE, SCHEMA
from atman_bench.core.texts import parse_json

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind: compact results there when nothing runs
    fcntl = None  # type: ignore[assignment]

Record = TypeVar("Record")

_HEADER = "header"


class PartWriter:
    """The part files of one process in one folder, opened at their first line and locked until they are closed.

    Args:
        folder: Where they are.
        header: First line of each of them; None writes none.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any] | None = None):
        self._folder = folder
        self._header = header
        # The time comes first so that sorting part files by name gives the order in which runs started.
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._name = f"{started}-{safe_name(socket.gethostname())}-{os.getpid()}-{secrets.token_hex(3)}"
        self._files: dict[str, int] = {}

    @property
    def has_written(self) -> bool:
        """Whether it has a part file yet."""
        return bool(self._files)

    def write(self, kind: str, data: bytes) -> None:
        """Append whole lines to the part file of a kind; they are in it when this returns.

        Raises:
            StoreError: The disk is full, the folder not writable, or the part file no longer there.
        """
        try:
            if kind not in self._files:
                self._files[kind] = self._open(kind)
                if self._header is not None:
                    data = _line({"schema": SCHEMA, _HEADER: self._header}) + data
            # Unbuffered: a signal handler cannot cut a line in two, and a line survives the process once written.
            while data:
                data = data[os.write(self._files[kind], data) :]
        except OSError as error:
            self._check_present()
            raise unwritable(self._folder, error) from error
        self._check_present()  # the system would let us go on writing to a file that nobody can open any more

    def _check_present(self) -> None:
        """Refuse to go on where a part file has been removed.

        Raises:
            StoreError: See above.
        """
        if not all(self._path(kind).exists() for kind in self._files):
            raise StoreError(
                f"{self._folder} was removed while results were written to it: run the same command again, "
                "and leave the folder where it is"
            )

    def _open(self, kind: str) -> int:
        if not self._files:
            # Compaction removes folders that it has emptied, perhaps between this run's start and its first line.
            self._folder.mkdir(parents=True, exist_ok=True)
        path, flags = self._path(kind), os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if fcntl is None:
            return os.open(path, flags, 0o644)
        hidden = path.with_name(f".{path.name}")
        descriptor = os.open(hidden, flags, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # It gets its name once it is locked: compaction removes part files that nobody seems to write to.
        hidden.rename(path)
        return descriptor

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}-{self._name}.jsonl"

    def close(self) -> None:
        """Close the part files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


def part_files(folder: Path, *kinds: str) -> list[Path]:
    """The part files of some kinds, oldest first."""
    return sorted(path for kind in kinds for path in folder.glob(f"{kind}-*.jsonl"))


def is_being_written(path: Path) -> bool:
    """Whether a process that is alive has a part file open for writing."""
    if fcntl is None:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def refuse_in_use(parts: Iterable[Path]) -> None:
    """Refuse to remove what another process is still writing: its results would be lost without a word.

    Raises:
        StoreError: It writes to one of these part files.
    """
    if used := next(filter(is_being_written, parts), None):
        raise StoreError(
            f"{used.parent} is being written to by another run: wait for its end, or leave out --overwrite"
        )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, which is removed at the end.

    Raises:
        StoreError: Another process holds it, or it cannot be made.
    """
    try:
        with path.open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise StoreError(f"{path.parent} is being worked on by another process: try again later") from None
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def read_parts(folder: Path, kind: str, parse: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """Records of all part files of a kind, oldest file first; a torn last line is dropped.

    Raises:
        StoreError: A line is corrupted or of another schema version.
    """
    for path in part_files(folder, kind):
        yield from read_part(path, parse)[1]


def read_part(path: Path, parse: Callable[[dict[str, Any]], Record]) -> tuple[Mapping[str, Any] | None, list[Record]]:
    """The header of one part file, None if it has none, and its records; a torn last line is dropped.

    Raises:
        StoreError: A line is corrupted or of another schema version.
    """
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:  # compaction has moved what it held since it was listed
        return None, []
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    header = None
    records = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            content = parse_json(line)
            if not isinstance(content, dict):
                raise TypeError("not an object")
            check_schema(content, where)
            if number == 1 and _HEADER in content:
                header = content[_HEADER]
                if not isinstance(header, dict) or not isinstance(header.get("environment"), dict):
                    raise TypeError("its header is no object that holds an environment")
            else:
                records.append(parse(content))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{where} is corrupted ({error}): remove that line, its sample is then computed again"
            ) from error
    return header, records


def record_of(record_type: type[Record], content: Mapping[str, Any]) -> Record:
    """Make a stored dataclass of what a file says, checking every value against its annotation.

    Raises:
        ValueError: A value is of another type, a field does not exist or is missing.
    """
    try:
        record: Record = _adapter(record_type).validate_python(content, extra="forbid")  # type: ignore[arg-type]
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise ValueError(f"{place or 'it'}: {found['msg']}, found {str(found['input'])[:40]!r}") from None
    return record


@cache
def _adapter(record_type: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(record_type)


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False).encode() + b"\n"


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
        StoreError: The schema version is none that we read; the message names ``where``.
    """
    found = content.get("schema")
    if not isinstance(found, int) or found not in READABLE:
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
