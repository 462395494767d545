"""Figures on disk: what they are written as, and which file of a figure is shown."""

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
    """The file of a figure; of several formats the one written last, since the others may be of an earlier run.

    Args:
        stem: Its path without a suffix.

    Raises:
        StoreError: There is none.
    """
    files = [file for kind in FigureFormat if (file := stem.with_name(f"{stem.name}.{kind}")).is_file()]
    if not files:
        raise StoreError(f"the figure {stem}.png does not exist: run atman-bench reproduce again")
    return max(files, key=lambda file: file.stat().st_mtime_ns)
