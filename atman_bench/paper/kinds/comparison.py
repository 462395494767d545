"""Several evaluations beside each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from atman_bench.core.errors import DataError
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import NOT_RUNNABLE, Plan, Request, Run
from atman_bench.paper.kinds._drawing import draw_figures
from atman_bench.paper.kinds._paired import PairedOutcome
from atman_bench.paper.kinds.evaluation import Evaluated, Evaluation
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.render import TextTable

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress


@dataclass(frozen=True)
class Comparison(Run):
    """Several evaluations that differ in more than their method: models, or prompts.

    Attributes:
        sides: Name of each in tables and claims -> what is run.
    """

    sides: Mapping[str, Evaluation]

    def plan(self, name: str, request: Request) -> Plan:
        """Of all sides."""
        asked = self._requests(request)
        return Plan.of_parts(name, [side.plan(part, asked[part]) for part, side in self.sides.items()])

    def run(self, request: Request, progress: "Progress") -> "Compared":
        """Run those sides that can be run; why the others cannot is noted.

        Raises:
            DataError: None of them can.
        """
        sides: dict[str, Evaluated] = {}
        notes: list[str] = []
        for name, asked in self._requests(request).items():
            try:
                sides[name] = self.sides[name].run(asked, progress)
            except NOT_RUNNABLE as error:
                notes.append(f"{name} was not run: {' '.join(str(error).split())}")
            else:
                notes += [f"{name}: {note}" for note in sides[name].notes]
        if not sides:
            raise DataError("; ".join(notes))
        return Compared({name: side.manifest for name, side in sides.items()}, tuple(notes), sides)

    def _requests(self, request: Request) -> dict[str, Request]:
        """What each side is told: a model of the user's replaces the first side's, wherever that occurs."""
        others = replace(request, text_model=None, image_model=None)
        models = {name: side.resolved(others).model_name for name, side in self.sides.items()}
        first = next(iter(models.values()))
        return {name: request if model == first else others for name, model in models.items()}


@dataclass(frozen=True)
class Compared(PairedOutcome):
    """Several evaluations.

    Attributes:
        sides: Name -> what it gave.
    """

    sides: Mapping[str, Evaluated]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The tables of each."""
        return tuple(
            replace(table, title=f"{name}: {table.title}")
            for name, side in self.sides.items()
            for table in side.tables(experiment)
        )

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """Figures of each."""
        drawn = {}
        for name, side in self.sides.items():
            of_side = draw_figures(experiment, side.frame, folder, formats, "-" + re.sub(r"\W+", "-", name.lower()))
            drawn.update({file: f"{name}: {summary}" for file, summary in of_side.items()})
        return drawn

    def side(self, text: str) -> tuple[str, pd.DataFrame]:
        """A method of one evaluation."""
        name, _, method = text.partition("/")
        found = self.sides.get(name)
        rows = found.side(method)[1] if found else pd.DataFrame(columns=["uid", "metric", "value", "group"])
        return text.replace("/", ": "), rows
