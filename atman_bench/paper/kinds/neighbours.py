"""What suppressing one patch of an image does alone, with its similar patches, and elsewhere (Fig. 3a, i)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Outcome, Plan, Request, Run
from atman_bench.paper.kinds._drawing import caption
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.report._format import NOTHING
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.render import TextTable

if TYPE_CHECKING:
    from atman_bench.core.records import PatchUnits, Sample
    from atman_bench.evaluation.runner import Progress
    from atman_bench.report.figures._neighbours import Perturbation


@dataclass(frozen=True)
class NeighbourRun(Run):
    """Three suppressions of patches of one image.

    Attributes:
        options: Fields of ``RunConfig``: model, dataset, and AtMan with correlated suppression as the only method.
        uid: The sample.
    """

    options: Mapping[str, Any]
    uid: str

    def plan(self, name: str, request: Request) -> Plan:
        """Model and data."""
        from atman_bench.paper.kinds._planning import planned

        return planned(name, Evaluation(self.options).resolved(request), samples=1)

    def run(self, request: Request, progress: "Progress") -> "NeighbourLosses":
        """Explain the sample with and without correlated suppression."""
        from atman_bench.core.records import PatchUnits
        from atman_bench.datasets import DATASETS
        from atman_bench.evaluation.config import load_configured
        from atman_bench.methods._explain import explain_encoded
        from atman_bench.methods.atman import AtManConfig, suppressor
        from atman_bench.metrics._align import unit_labels
        from atman_bench.paper.kinds._manifests import manifest_on

        config = Evaluation(self.options).resolved(request)
        samples = {sample.uid: sample for sample in DATASETS.get(config.dataset).load(config.dataset_options).samples}
        if (sample := samples.get(self.uid)) is None:
            raise DataError(f"{config.dataset} has no sample {self.uid}: this example is of the published data")
        (cell,) = config.cells
        if not isinstance(cell.options, AtManConfig) or cell.options.kappa is None:
            raise ConfigError(f"neighbours are those of AtMan with a kappa, received {cell.method}:{cell.variant}")
        model = load_configured(config)
        model.probe()
        encoded = model.encode(sample)
        if not isinstance(encoded.units, PatchUnits):
            raise DataError(f"neighbours are shown of an image's patches; sample {self.uid} has none")
        alone = explain_encoded(model, encoded, cell.method, replace(cell.options, kappa=None), config.seed)
        together = explain_encoded(model, encoded, cell.method, cell.options, config.seed)
        groups = encoded.positions_of_units()
        factors = suppressor(model, encoded, cell.options)(groups).select(list(range(len(groups)))).factors
        positions = [group[0] for group in groups]
        strength = ((1 - factors.cpu().numpy()) / cell.options.f)[:, positions]
        return NeighbourLosses(
            manifest_on(self, model),
            (),
            model.name,
            sample,
            encoded.units,
            -float(np.mean(alone.target_logprobs)),
            three(
                alone.scores.numpy(),
                together.scores.numpy(),
                strength,
                unit_labels(sample.label, encoded.units, sample.picture),
            ),
        )


def three(
    alone: np.ndarray, together: np.ndarray, strength: np.ndarray, evidence: np.ndarray
) -> "tuple[Perturbation, ...]":
    """The three perturbations of the figure.

    A and B are the patch, of those that the evidence covers most, whose suppression with similar patches changes the
    loss most; C is the patch without evidence, not similar to it, with most similar patches.

    Args:
        alone: (U,) change of the loss by each patch.
        together: (U,) the same with similar patches.
        strength: (U, U) how much a patch's perturbation suppresses each other, 0 to 1.
        evidence: (U,) the share of each patch that is evidence.
    """
    from atman_bench.report.figures._neighbours import Perturbation

    covered = np.flatnonzero(evidence >= 0.5 * evidence.max())
    inside = int(covered[together[covered].argmax()])
    others = np.flatnonzero((evidence == 0) & (strength[inside] == 0))
    if not others.size:
        raise DataError("every patch without evidence is similar to the object: there is no unrelated one to compare")
    outside = int(others[(strength[others] > 0).sum(1).argmax()])

    def perturbation(name: str, patch: int, *, similar: bool) -> Perturbation:
        shown = strength[patch] if similar else np.zeros(len(evidence))
        return Perturbation(name, patch, shown, float(alone[patch]), float(together[patch]) if similar else None)

    return (
        perturbation("A: one patch", inside, similar=False),
        perturbation("B: with similar ones", inside, similar=True),
        perturbation("C: elsewhere", outside, similar=True),
    )


@dataclass(frozen=True)
class NeighbourLosses(Outcome):
    """The loss under three suppressions.

    Attributes:
        model: Name of the model.
        sample: What is explained.
        units: Its patches.
        plain: Loss of the plain model, in nats a target token.
        perturbations: What is suppressed.
    """

    model: str
    sample: "Sample"
    units: "PatchUnits"
    plain: float
    perturbations: "tuple[Perturbation, ...]"

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each."""
        lines = [("nothing", NOTHING, f"{self.plain:.3g}", NOTHING)]
        for found in self.perturbations:
            change = found.change if found.together is None else found.together
            similar = int((found.strength > 0).sum()) - bool(found.strength[found.selected])
            lines.append((found.name, str(similar), f"{self.plain + change:.3g}", f"{change:+.3g}"))
        title = f"Loss of “{self.sample.target.strip()}” · {self.model} · {self.sample.uid}"
        note = f"Nats a target token; {len(self.units)} patches."
        columns = ("suppressed", "similar patches", "loss", "change")
        return (TextTable(title, note, columns, tuple(lines), (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The patches, and the losses as bars."""
        from atman_bench.core.images import open_picture, rgb_array
        from atman_bench.report.figures._base import save
        from atman_bench.report.figures._neighbours import plot_neighbours

        if self.sample.picture is None:
            raise DataError(f"sample {self.sample.uid} has no picture")
        pixels = rgb_array(open_picture(self.sample.picture))
        above = f"{self.model} · {self.sample.uid} · “{self.sample.target.strip()}”"
        save(
            lambda: plot_neighbours(pixels, self.units, self.plain, self.perturbations),
            above,
            folder / "neighbours",
            formats,
        )
        remove_others(folder / "neighbours", formats)
        return {"neighbours": caption("loss of a target under suppressed patches", experiment)}
