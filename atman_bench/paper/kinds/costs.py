"""Rows of ``atman-bench scale``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atman_bench.paper.experiments._base import Cheaper, Claim, Experiment
from atman_bench.paper.kinds._base import Outcome, Plan, Request, Run
from atman_bench.paper.kinds._drawing import draw_figures
from atman_bench.profiling.rows import ScaleStatus
from atman_bench.report.costs import cost_tables, frame_of
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress
    from atman_bench.profiling.grid import ScaleConfig


@dataclass(frozen=True)
class Costs(Run):
    """Time and memory of methods over models and lengths.

    Attributes:
        options: Fields of ``ScaleConfig``.
        config: Name of a preset in ``configs/scale``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None

    def resolved(self, request: Request) -> "ScaleConfig":
        """The configuration; its rows are in a folder of their own.

        Raises:
            UnknownNameError: See ``grid.load_scale_config``.
            ConfigError: See ``grid.load_scale_config``.
        """
        from atman_bench.profiling.grid import load_scale_config

        return load_scale_config(self.config, {**self.options, "results": request.results / "costs"})

    def plan(self, name: str, request: Request) -> Plan:
        """Methods, models, lengths and cells."""
        config = self.resolved(request)
        what = f"{', '.join(config.models)} at {', '.join(map(str, config.tokens))} tokens"
        batches = ", ".join("what memory allows" if batch is None else str(batch) for batch in config.batches)
        limit = "" if config.memory_limit is None else f", stopped at {config.memory_limit:g} GB"
        details = (
            ("data", f"random token ids, one target token: {', '.join(map(str, config.tokens))} tokens"),
            ("model", f"{', '.join(config.models)}, {config.dtype.value}, random weights"),
            ("methods", f"{'; '.join(config.methods)}; perturbations a pass: {batches}"),
            ("a cell", f"a process of its own: a warm-up and at most {config.repeats} timed runs{limit}"),
        )
        return Plan(name, what, details, cells=len(config.cells))

    def run(self, request: Request, progress: "Progress") -> "Costed":
        """Measure what is missing."""
        from atman_bench.profiling.grid import run

        config = self.resolved(request)
        measured = run(config, progress)
        if measured.interrupted:
            raise KeyboardInterrupt
        notes = tuple(f"{row.model}, {row.tokens} tokens: {row.error}" for row in measured.rows if row.error)
        manifest = {"options": json.loads(json.dumps(asdict(config), default=str))}
        if measured.rows:
            manifest["environment"] = measured.rows[0].environment
        return Costed(manifest, notes, frame_of(measured.rows, extrapolate=config.extrapolate))


@dataclass(frozen=True)
class Costed(Outcome):
    """Rows of ``atman-bench scale``.

    Attributes:
        frame: From ``report.costs``.
    """

    frame: pd.DataFrame

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each model, length and method, and the paper's readings beside those that it shows too."""
        return cost_tables(self.frame)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """Figures of costs."""
        return draw_figures(experiment, self.frame, folder, formats)

    def verdict(self, claim: Claim) -> Verdict:
        """The verdict on a claim about the costs of two methods, at every model and length that has both.

        What ran out of memory takes more than what did not. Times of machines that were not quiet do not count.
        """
        if not isinstance(claim, Cheaper):
            return super().verdict(claim)
        words = claim.words or f"{claim.left} costs less than {claim.right}"
        alone = self.frame[self.frame["workers"].eq(1)]
        disturbed = alone["disturbed"].ne("") if claim.number == "time" else alone["disturbed"].isna()
        left, right = (_numbers(alone[~disturbed], side, claim.number) for side in (claim.left, claim.right))
        ratios = (left / right).dropna()
        about = alone["name"].isin([claim.left, claim.right])
        found = int((disturbed & about).sum())
        left_out = f"; {found} cells were not quiet and do not count" if found else ""
        if ratios.empty:
            return Verdict(words, Ending.UNTESTED, f"No model and length has both{left_out}.", claim.source)
        cheaper = int((ratios < 1).sum())
        ending = {0: Ending.OPPOSITE, len(ratios): Ending.HOLDS}.get(cheaper, Ending.MIXED)
        parts = [f"{cheaper} of {len(ratios)} sizes and lengths"]
        compared = ratios[ratios.between(0, np.inf, inclusive="neither")]
        if len(compared):
            span = f"{compared.min():.2g} to {compared.max():.2g}"
            parts.append(f"{claim.left} takes {span} times the {claim.number} of {claim.right}")
        for side, value in ((claim.right, 0), (claim.left, np.inf)):
            if count := int(ratios.eq(value).sum()):
                parts.append(f"{side} alone runs out of memory at {count}")
        return Verdict(words, ending, f"{'; '.join(parts)}{left_out}.", claim.source)


def _numbers(cells: pd.DataFrame, name: str, number: str) -> pd.Series:
    """A number of a method's cells by model and length; infinite memory for those that ran out of it."""
    cells = cells[cells["name"].eq(name)].set_index(["model", "tokens"])
    failed = cells["status"].eq(ScaleStatus.OOM) & (number == "peak")
    return cells[number].mask(failed, np.inf).dropna()
