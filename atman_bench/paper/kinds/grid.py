"""Rows of ``atman-bench sweep``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from atman_bench.evaluation.store import Cell
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Plan, Request, Run
from atman_bench.paper.kinds._drawing import draw_figures, draw_maps, selected
from atman_bench.paper.kinds._paired import PairedOutcome
from atman_bench.report import grid
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.render import TextTable
from atman_bench.report.tables import with_interval

if TYPE_CHECKING:
    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import Progress, RunSummary
    from atman_bench.evaluation.sweep import Sweep

_MOST_POINTS = 20
"""Points of a sweep that are listed; more are shown as matrices."""


@dataclass(frozen=True)
class Grid(Run):
    """One method at every point of a grid of its options.

    Attributes:
        options: Fields of ``RunConfig``.
        config: Name of a preset in ``configs/``.
        axes: Further axes, or the preset's in other values, as ``--grid`` has them: path -> values.
        fixed: Options that are the same at every point, as ``--set`` has them: path -> value.
        parameters: See ``Evaluation``.
        units: See ``Evaluation``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    parameters: float | None = None
    units: int = 144

    def resolved(self, request: Request) -> "Sweep":
        """The configuration of the sweep.

        Raises:
            UnknownNameError: See ``sweep.load_sweep``.
            ConfigError: See ``sweep.load_sweep``.
        """
        from atman_bench.evaluation.sweep import load_sweep
        from atman_bench.paper.kinds._planning import configured

        fixed, axes = (
            [f"{path}={json.dumps(value)}" for path, value in paths.items()] for paths in (self.fixed, self.axes)
        )
        return configured(
            lambda fields: load_sweep(self.config, fields, fixed, axes), lambda sweep: sweep.run, self.options, request
        )

    def plan(self, name: str, request: Request) -> Plan:
        """Model, data, points and hours."""
        from atman_bench.paper.kinds._planning import Size, planned

        size = None if self.parameters is None else Size(self.parameters, self.units)
        sweep = self.resolved(request)
        axes = " x ".join(f"{axis.name} {{{'; '.join(axis.settings)}}}" for axis in sweep.axes)
        fixed = "".join(f", {path.rpartition('.')[2]}={value}" for path, value in self.fixed.items())
        others = ", ".join(cell.name for cell in sweep.config.cells[len(sweep.points) :])
        methods = f"{sweep.method} at {axes}{fixed}: {len(sweep.points)} points; {others}"
        return planned(name, sweep.config, size=size, methods=methods)

    def run(self, request: Request, progress: "Progress") -> "Swept":
        """Run all points; the best is chosen on half of the groups and reported on the other."""
        from atman_bench.evaluation.runner import evaluate, rows_of_run
        from atman_bench.paper.kinds._manifests import finished, manifest_of, notes_of

        sweep = self.resolved(request)
        summary = finished(evaluate(sweep.config, progress, driver=request.driver))
        frame = grid.frame_of_sweep(sweep, rows_of_run(sweep.config, summary), holdout=True)
        return Swept(
            manifest_of(summary, sweep.run),
            (*grid.describe(frame), *notes_of(summary)),
            sweep.config,
            summary,
            frame,
            summary.cells[: len(sweep.points)],
        )


@dataclass(frozen=True)
class Swept(PairedOutcome):
    """Rows of a sweep.

    Attributes:
        config: What was run.
        summary: What that did.
        frame: Its rows, from ``report.grid``.
        points: The stored cells of the grid's points.
    """

    config: "RunConfig"
    summary: "RunSummary"
    frame: pd.DataFrame
    points: tuple[Cell, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """Every point in a line, or a matrix for each metric where there are many."""
        if self.frame["point"].nunique() <= _MOST_POINTS:
            return (grid.points_table(self.frame),)
        return tuple(grid.matrix_table(self.frame, name) for name in with_interval())

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """Figures of the grid, and maps of all its points."""
        drawn = draw_figures(experiment, self.frame, folder, formats)
        if experiment.maps is not None:
            selection = selected(self.summary, self.points, (), None, experiment.maps.n)
            drawn |= draw_maps(experiment.title, self.config, selection, folder, formats)
        return drawn

    def side(self, text: str) -> tuple[str, pd.DataFrame]:
        """A point."""
        return text, self.frame[self.frame["point"].eq(text)]
