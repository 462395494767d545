"""JSON files and their structure: whatever is wrong with one is a DataError of one line that says where."""

from pathlib import Path
from typing import TypeVar

from atman_bench.core.errors import DataError, one_line
from atman_bench.core.texts import parse_json

Value = TypeVar("Value")


def read_json(path: Path, kind: type[Value], expected: str) -> Value:
    """The content of a JSON file.

    Args:
        path: The file.
        kind: What the whole is (``dict``).
        expected: What the dataset reads, for messages.

    Raises:
        DataError: The file is missing or unreadable, no JSON, or something else as a whole.
    """
    try:
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; expected {expected}") from error
    except ValueError as error:
        raise DataError(f"{path} is no valid JSON ({one_line(error)}); expected {expected}") from error
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
    # Python's true is an integer; JSON's is not.
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise DataError(f"{where} should be {kind.__name__}, found {type(value).__name__}")
    return value
