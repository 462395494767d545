"""Text files that are either whole or not there."""

import secrets
from pathlib import Path

from atman_bench.core.errors import StoreError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file (UTF-8), making its folder: whoever reads it finds the old text or the new one, never a part.

    The text goes to a temporary file in the same folder, which then takes the file's place.

    Raises:
        StoreError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # What was computed is not lost for a character that UTF-8 cannot say.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; choose a folder that is writable") from error
