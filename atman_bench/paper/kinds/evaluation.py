"""Rows of ``atman-bench eval``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from atman_bench.core.records import Status
from atman_bench.evaluation.store import Cell
from atman_bench.paper.experiments._base import Claim, Experiment, Maps, Passes
from atman_bench.paper.kinds._base import Plan, Request, Run, untested
from atman_bench.paper.kinds._drawing import draw_figures, draw_maps, selected
from atman_bench.paper.kinds._paired import PairedOutcome
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.render import TextTable, summary_tables
from atman_bench.report.tables import cell_name, frame_of, summarise
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import Progress, RunSummary
    from atman_bench.report.stored_maps import Selection


@dataclass(frozen=True)
class Evaluation(Run):
    """Methods on a dataset.

    Attributes:
        options: Fields of ``RunConfig``, as its YAML has them.
        config: Name of a preset in ``configs/`` that they are put on top of.
        parameters: Of the model, for predictions of what cannot be run here.
        samples: How many samples that data have where there is no limit, likewise.
        units: Explained units of a typical sample, likewise; targets have 3 tokens and prompts 16 more.
        variants: ``METHOD:VARIANT`` as claims and figures name it -> what stands for it in this run.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None
    parameters: float | None = None
    samples: int | None = None
    units: int = 144
    variants: Mapping[str, str] = field(default_factory=dict)

    def resolved(self, request: Request) -> "RunConfig":
        """The configuration of the run.

        Raises:
            UnknownNameError: See ``config.load_config``.
            ConfigError: See ``config.load_config``.
        """
        from atman_bench.evaluation.config import load_config
        from atman_bench.paper.kinds._planning import configured

        return configured(lambda fields: load_config(self.config, fields, ()), lambda run: run, self.options, request)

    def plan(self, name: str, request: Request) -> Plan:
        """Model, data, methods and hours."""
        from atman_bench.paper.kinds._planning import Size, planned

        size = None if self.parameters is None else Size(self.parameters, self.units)
        return planned(name, self.resolved(request), self.samples, size)

    def run(self, request: Request, progress: "Progress") -> "Evaluated":
        """Run it; its rows are those of its own samples and methods."""
        from atman_bench.evaluation.runner import evaluate, rows_of_run
        from atman_bench.paper.kinds._manifests import finished, manifest_of, notes_of

        config = self.resolved(request)
        summary = finished(evaluate(config, progress, driver=request.driver))
        frame = frame_of(rows_of_run(config, summary))
        return Evaluated(manifest_of(summary, config), notes_of(summary), config, summary, frame, self.variants)


@dataclass(frozen=True)
class Evaluated(PairedOutcome):
    """Rows of an evaluation.

    Attributes:
        config: What was run.
        summary: What that did.
        frame: Its rows, from ``tables.frame_of``.
        variants: See ``Evaluation``.
    """

    config: "RunConfig"
    summary: "RunSummary"
    frame: pd.DataFrame
    variants: Mapping[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Its stored cells, in the order of its methods."""
        return self.summary.cells

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """All methods, with the paper's numbers beside those that it has on the same data."""
        return tuple(map(_paper_first, summary_tables(summarise(self.frame))))

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """Figures of rows, and maps."""
        drawn = draw_figures(experiment, self.frame, folder, formats)
        if experiment.maps is not None:
            drawn |= draw_maps(experiment.title, self.config, self.selection(experiment.maps), folder, formats)
        return drawn

    def side(self, text: str) -> tuple[str, pd.DataFrame]:
        """A method, or one variant of it."""
        cell = self.cell_of(text)
        if cell is None:
            return text, self.frame.iloc[:0]
        return cell_name(*cell), self.frame[self.frame["method"].eq(cell[0]) & self.frame["variant"].eq(cell[1])]

    def verdict(self, claim: Claim) -> Verdict:
        """The verdict on a claim about two methods, or about the passes that one takes on the run's samples."""
        return self._passes(claim) if isinstance(claim, Passes) else super().verdict(claim)

    def _passes(self, claim: Passes) -> Verdict:
        configured = next((cell for cell in self.config.cells if cell.method == claim.method), None)
        name, rows = self.side(claim.method)
        rows = rows[rows["status"].eq(Status.OK)]
        if configured is None or rows.empty:
            return untested(claim, f"The run has no {claim.method}.")
        samples = rows.drop_duplicates("uid")
        units, tokens = round(samples["n_units"].mean()), samples["forward_tokens"].mean()
        passes = configured.spec.forwards(units, 1, configured.options)
        return Verdict(
            claim.words,
            Ending.HOLDS if passes >= claim.fewest else Ending.OPPOSITE,
            f"{name} takes {passes:,.0f} forward passes a map of {units} units with the options of this run, "
            f"{tokens:,.0f} token positions; {len(samples)} maps. More passes make its maps less noisy, so quality and "
            "cost are to be read together.",
            claim.source,
        )

    def selection(self, maps: Maps) -> "Selection":
        """Which of the stored maps are drawn."""
        uids = None
        if maps.one_picture:
            groups: dict[str, list[str]] = {}
            for found in self.cells[0].maps().values():
                if found.uid in self.summary.uids and found.finished and found.scores:
                    groups.setdefault(found.group, []).append(found.uid)
            uids = max(groups.values(), key=lambda of_image: min(len(of_image), maps.n))[: maps.n]
        chosen = [cell for cell in map(self.cell_of, maps.methods) if cell is not None]
        return selected(self.summary, self.cells, [cell_name(*cell) for cell in chosen], uids, maps.n)

    def cell_of(self, side: str) -> tuple[str, str] | None:
        """Method and variant of one side of a claim; None if the run has no such cell."""
        present = [(cell.identity.method, cell.variant) for cell in self.cells]
        method, colon, _ = side.partition(":")
        if not colon:
            return next((cell for cell in present if cell[0] == method), None)
        (wanted,) = replace(self.config, methods=((self.variants.get(side, side), {}),)).cells
        cell = wanted.method, wanted.variant
        return cell if cell in present else None


def _paper_first(table: TextTable) -> TextTable:
    """The paper's numbers right after the name of the method, where a wide table still shows them."""
    if "paper" not in table.columns:
        return table
    at = table.columns.index("paper")

    def moved(line: tuple[str, ...]) -> tuple[str, ...]:
        return line[0], line[at], *line[1:at], *line[at + 1 :]

    return replace(table, columns=moved(table.columns), lines=tuple(map(moved, table.lines)))
