"""Figures of rows, and stored maps laid over their images."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from atman_bench.evaluation.scoring import dataset_name
from atman_bench.evaluation.store import Cell
from atman_bench.methods.floors import FLOORS
from atman_bench.paper.experiments._base import Experiment
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.tables import cell_name

if TYPE_CHECKING:
    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import RunSummary
    from atman_bench.report.stored_maps import Selection


def draw_figures(
    experiment: Experiment, frame: pd.DataFrame, folder: Path, formats: Sequence[FigureFormat], suffix: str = ""
) -> dict[str, str]:
    """Draw those figures of an experiment that the rows have values for.

    Args:
        experiment: Names the figures, and where they are in the paper.
        frame: The rows.
        folder: Where to write.
        formats: Each gives a file; files of other formats are removed.
        suffix: Distinguishes files of several frames.

    Returns:
        File name without suffix -> what it shows.
    """
    from atman_bench.report.figures import FIGURES

    drawn = {}
    for name in experiment.figures:
        figure = FIGURES.get(name)
        if not figure.lacks(frame):
            figure.draw(frame, folder / f"{name}{suffix}", formats)
            remove_others(folder / f"{name}{suffix}", formats)
            drawn[f"{name}{suffix}"] = caption(figure.summary, experiment)
    return drawn


def caption(summary: str, experiment: Experiment) -> str:
    """What a figure shows, with the place in the paper of its experiment instead of that of the kind of figure."""
    shown = re.sub(r"\s*\([^()]*\)$", "", summary)
    place, colon, _ = experiment.paper.partition(":")
    return f"{shown} ({place})" if colon else shown


def selected(
    summary: "RunSummary", cells: Sequence[Cell], names: Sequence[str], uids: Sequence[str] | None, n: int
) -> "Selection":
    """Maps of a run's samples by some of its cells, or by all but floors: its results folder may hold other runs'."""
    from atman_bench.report.stored_maps import Selection

    about = cells[0].identity
    every = [cell_name(cell.identity.method, cell.variant) for cell in cells if cell.identity.method not in FLOORS]
    return Selection(dataset_name(about), about.model, list(names) or every, uids, summary.uids, n)


def draw_maps(
    title: str, config: "RunConfig", selection: "Selection", folder: Path, formats: Sequence[FigureFormat]
) -> dict[str, str]:
    """Draw stored maps over their images."""
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.picture_maps import frame_of_maps, picture_maps

    maps = picture_maps(config.results, config.data, config.sign, selection)
    FIGURES.get("maps").draw(frame_of_maps(maps), folder / "maps", formats)
    remove_others(folder / "maps", formats)
    return {"maps": f"{title}: {selection.dataset}, {selection.model}"}
