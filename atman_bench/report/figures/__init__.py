"""Figures: one file each, named as users name them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.figures._base import FigureSpec

FIGURES: Registry[FigureSpec] = Registry("figure", __name__, Path(__file__).parent, group=Group.FIGURES)


def draw_all(frame: pd.DataFrame, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)) -> None:
    """Draw every figure that the rows can be drawn as, each as a file of its name; files of other formats are removed.

    Args:
        frame: From ``tables.frame_of``, ``grid.frame_of_sweep`` or ``costs.frame_of``.
        folder: Where to write.
        formats: Each gives a file.

    Raises:
        StoreError: The files cannot be written.
    """
    for name, figure in FIGURES.items():
        # A figure of something that these rows do not have is no failure.
        if not figure.lacks(frame):
            figure.draw(frame, folder / name, formats)
            remove_others(folder / name, formats)
