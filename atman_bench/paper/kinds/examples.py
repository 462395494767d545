"""Maps of single samples, to look at: words of a prompt, patches of an image, or both together (Figs 1a, 3 and 17)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from atman_bench.core.files import write_atomically
from atman_bench.core.records import Explained
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Outcome, Plan, Request, Run
from atman_bench.paper.kinds._drawing import draw_figures
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.report._format import NOTHING
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.heatmap import as_dict
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name, frame_of

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress
    from atman_bench.paper.kinds._example_maps import ExampleMap

_MOST_UNITS = 3


@dataclass(frozen=True)
class Example:
    """What is explained of one sample.

    Attributes:
        uid: The sample, which gives the image and the evidence.
        prompt: Instead of the sample's: a word of a question is explained as the target of what stands before it.
        target: Instead of the sample's.
        generated: The model's own words are the target.
        explained: Of a sample with an image: patches, tokens, or both together.
        phrases: Parts of the target that get a map each in Fig. 1a, as far as a generation has them.
    """

    uid: str
    prompt: str | None = None
    target: str | None = None
    generated: bool = False
    explained: Explained = Explained.BOTH
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examples(Run):
    """Maps of single samples.

    Attributes:
        options: Fields of ``RunConfig``: model, dataset and the methods to compare.
        examples: What is explained.
        parameters: See ``Evaluation``.
        units: See ``Evaluation``.
    """

    options: Mapping[str, Any]
    examples: tuple[Example, ...]
    parameters: float | None = None
    units: int = 144

    def plan(self, name: str, request: Request) -> Plan:
        """Model, data and methods."""
        from atman_bench.paper.kinds._planning import Size, planned

        size = None if self.parameters is None else Size(self.parameters, self.units)
        plan = planned(name, Evaluation(self.options).resolved(request), len(self.examples), size)
        uids = ", ".join(dict.fromkeys(example.uid for example in self.examples))
        return replace(plan, details=(*plan.details, ("samples", uids)))

    def run(self, request: Request, progress: "Progress") -> "ExampleMaps":
        """Explain every example by every method."""
        from atman_bench.evaluation.config import load_configured
        from atman_bench.paper.kinds._example_maps import explain_examples
        from atman_bench.paper.kinds._manifests import manifest_on

        config = Evaluation(self.options).resolved(request)
        model = load_configured(config)
        model.probe()
        return ExampleMaps(manifest_on(self, model), (), explain_examples(model, config, self.examples))


@dataclass(frozen=True)
class ExampleMaps(Outcome):
    """Maps of single samples.

    Attributes:
        maps: Example by example, in the order of the methods.
    """

    maps: "tuple[ExampleMap, ...]"

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The highest units of each map, and how much of the relevance for the target is on the image."""
        lines = tuple(
            (
                found.title,
                cell_name(found.row.method, found.row.variant),
                ", ".join(f"{text} ({score:.2g})" for text, score in found.highest(_MOST_UNITS)) or NOTHING,
                NOTHING if found.share_on_picture is None else f"{100 * found.share_on_picture:.0f}",
            )
            for found in self.maps
        )
        note = "Units with the highest positive scores. Image: per cent of the positive relevance that is on patches."
        first = self.maps[0].row
        title = f"Highest units · {first.dataset} · {first.model}"
        columns = ("example", "method", "highest units", "image")
        return (TextTable(title, note, columns, lines, (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The figures, and beside them ``examples.json`` with all scores."""
        records = [
            {
                "dataset": found.row.dataset,
                "model": found.row.model,
                "method": found.row.method,
                "variant": found.row.variant,
                "uid": found.row.rows[0].uid,
                "example": found.title,
                "heat": as_dict(found.heat),
            }
            for found in self.maps
        ]
        write_atomically(folder / "examples.json", json.dumps(records, ensure_ascii=False, indent=1) + "\n")
        frame = frame_of(found.row for found in self.maps)
        frame = frame.assign(example=[m.title for m in self.maps], heat=pd.Series([m.heat for m in self.maps]))
        return draw_figures(experiment, frame, folder, formats)
