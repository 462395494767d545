"""What the readers of annotated images share: folders of images, and the content hash.

Files of a wrong structure are a DataError; entries that point at nothing are skipped and counted by the readers.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from atman_bench.core.errors import ConfigError, DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


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


def pictures_below(folder: Path, layout: str) -> Mapping[str, Path]:
    """All images in a folder and the folders in it, by the file's name without its suffix.

    Args:
        folder: The folder.
        layout: What belongs in the dataset's folder, for messages.

    Raises:
        DataError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with {layout}")
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}


def file_in(folder: Path, name: str) -> Path | None:
    """A file that a data file names, None where it is missing: also where no file can have the name.

    Files outside of the folder are not part of the data.
    """
    path, named = folder / name, Path(name)  # the folder itself is the user's, wherever it is
    try:
        return path if path.is_file() and not named.is_absolute() and ".." not in named.parts else None
    except (OSError, ValueError):  # a name of over 255 bytes, or with a NUL
        return None


def pattern_in(pattern: str, option: str) -> str:
    """An option that names files within a data folder.

    Raises:
        ConfigError: It is empty, or leaves the folder.
    """
    if not pattern.strip() or Path(pattern).is_absolute() or {"..", "**"} & set(Path(pattern).parts) or "**" in pattern:
        raise ConfigError(f"{option} names files within the data folder, without '..' and '**'; received {pattern!r}")
    return pattern


def only_file(folder: Path, pattern: str, option: str, layout: str) -> Path:
    """The one file of a folder that a pattern names.

    Args:
        folder: The folder.
        pattern: Within it.
        option: Which option says the pattern, for messages.
        layout: What belongs in the folder, for messages.

    Raises:
        ConfigError: See ``pattern_in``.
        DataError: There is none, or there are several.
    """
    found = sorted(folder.glob(pattern_in(pattern, option)))
    if not found:
        raise DataError(f"{folder} holds no {pattern}; expected {layout}")
    if len(found) > 1:
        raise DataError(
            f"{folder} holds {len(found)} files {pattern} ({', '.join(path.name for path in found)}): say which one to "
            f"read with the option {option}"
        )
    return found[0]


def check_choice(min_area: float, max_area: float, per_image: int | None, what: str) -> None:
    """Refuse an impossible choice among what an image shows.

    Args:
        min_area: Smallest share of the image.
        max_area: Largest share of the image.
        per_image: How many of each image, or None for all.
        what: What is chosen, in the plural, for the message.

    Raises:
        ConfigError: The shares are not in order within [0, 1], or nothing is chosen.
    """
    if not 0 <= min_area <= max_area <= 1:
        raise ConfigError(
            "min_area and max_area are shares of the picture: expected 0 <= min_area <= max_area <= 1, "
            f"received {min_area} and {max_area}"
        )
    if per_image is not None and per_image < 1:
        raise ConfigError(f"per_image must be at least 1, received {per_image}; write null for all {what}")


def check_threshold(threshold: float | None) -> None:
    """Refuse a threshold that every unit or none would reach.

    Raises:
        ConfigError: It is not in (0, 1].
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(f"threshold is a share of a unit's area: expected above 0, at most 1, received {threshold}")


def content_hash(folder: Path, annotations: Iterable[Path], pictures: Iterable[Path]) -> str:
    """SHA-256 over the bytes of the annotation files, and over names (below ``folder``) and sizes of the images used.

    Images are not read: there may be a hundred thousand.
    """
    digest = hashlib.sha256()
    for path in annotations:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in sorted(set(pictures)):
        name = path.as_posix().removeprefix(folder.as_posix())
        digest.update(f"{name}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()
