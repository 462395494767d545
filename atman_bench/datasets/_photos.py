"""What the readers of annotated pictures share: JSON files and their structure, folders of pictures, the hash.

Files of a wrong structure are a DataError; entries that point at nothing are skipped and counted by the readers.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from atman_bench.core.errors import ConfigError, DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

Value = TypeVar("Value")


def data_folder(data: str | None, dataset: str, layout: str) -> Path:
    """The folder that holds a dataset.

    Args:
        data: The option.
        dataset: Its name in messages.
        layout: What belongs in the folder, for messages.

    Raises:
        ConfigError: No folder given.
        DataError: It does not exist.
    """
    if data is None:
        raise ConfigError(f"{dataset} needs data: give a folder with {layout} (--data PATH)")
    if not Path(data).is_dir():
        raise DataError(f"{data} is no folder; {dataset} needs one with {layout}")
    return Path(data)


def read_json(path: Path, kind: type[Value], layout: str) -> Value:
    """The content of a JSON file.

    Args:
        path: The file.
        kind: What the whole is (``dict``).
        layout: What belongs in the dataset's folder, for messages.

    Raises:
        DataError: The file is missing or unreadable, no JSON, or something else as a whole.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; expected a folder with {layout}") from error
    except (UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no valid JSON ({error}); check that the file is complete") from error
    return expect(document, kind, str(path))


def field(record: object, key: str, kind: type[Value], where: str) -> Value:
    """A field of a JSON object.

    Args:
        record: The object.
        key: Name of the field.
        kind: Type of the field.
        where: What messages call the object.

    Raises:
        DataError: The record is no object, or lacks the field, or holds another type there.
    """
    fields = expect(record, dict, where)
    if key not in fields:
        raise DataError(f"{where} lacks {key!r}; found: {', '.join(map(str, fields)) or 'nothing'}")
    return expect(fields[key], kind, f"{where}: {key!r}")


def expect(value: object, kind: type[Value], where: str) -> Value:
    """The value, if it is of a JSON type.

    Raises:
        DataError: It is not.
    """
    if not isinstance(value, kind):
        raise DataError(f"{where} should be {kind.__name__}, found {type(value).__name__}")
    return value


def pictures_below(folder: Path, layout: str) -> Mapping[str, Path]:
    """All pictures in a folder and the folders in it, by the file's name without its suffix.

    Args:
        folder: The folder.
        layout: What belongs in the dataset's folder, for messages.

    Raises:
        DataError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with {layout}")
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}


def check_threshold(threshold: float | None) -> None:
    """Refuse a threshold that every unit or none would reach.

    Raises:
        ConfigError: It is not in (0, 1].
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(f"threshold is a share of a unit's area: expected above 0, at most 1, received {threshold}")


def content_hash(folder: Path, annotations: Iterable[Path], pictures: Iterable[Path]) -> str:
    """SHA-256 over the bytes of the annotation files, and over names (below ``folder``) and sizes of the pictures used.

    Pictures are not read: there may be a hundred thousand.
    """
    digest = hashlib.sha256()
    for path in annotations:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in sorted(set(pictures)):
        name = path.as_posix().removeprefix(folder.as_posix())
        digest.update(f"{name}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()
