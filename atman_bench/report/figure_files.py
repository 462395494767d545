"""Figures on disk: what they are written as, and which file of a figure is shown."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from atman_bench.core.errors import StoreError


class FigureFormat(StrEnum):
    """A kind of file that figures are written as; the value is its suffix."""

    PNG = "png"
    SVG = "svg"


def figure_names(folder: Path) -> list[str]:
    """The figures in a folder, by name."""
    return sorted({path.stem for kind in FigureFormat for path in folder.glob(f"*.{kind}")})


def figure_file(stem: Path) -> Path:
    """The file of a figure that pages show: the PNG, which is small whatever it shows, else the SVG.

    Args:
        stem: Its path without a suffix.

    Raises:
        StoreError: There is none.
    """
    for kind in FigureFormat:
        if (file := stem.with_name(f"{stem.name}.{kind}")).is_file():
            return file
    raise StoreError(f"the figure {stem}.png does not exist: run atman-bench reproduce again")


def remove_others(stem: Path, formats: Sequence[FigureFormat]) -> None:
    """Remove the files of a figure in other formats: they show the rows of an earlier run.

    Raises:
        StoreError: One cannot be removed.
    """
    for kind in set(FigureFormat) - set(formats):
        file = stem.with_name(f"{stem.name}.{kind}")
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove the old figure {file}: {error.strerror}") from error
