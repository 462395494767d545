"""Faithfulness of a run's stored maps: subsets of units that the model has not seen yet run, then measures are scored.

All methods of a sample share its mask bank and every subset that two of them ask for; all that lacks runs in one sweep.
A run that is stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float

from atman_bench.core.errors import ModelError
from atman_bench.core.measure import measure
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Intervention
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.faithfulness_records import Faithfulness, FaithfulnessRow, Spent
from atman_bench.evaluation.faithfulness_rows import SharedSubsets, rows_of_sample
from atman_bench.evaluation.runner import Prepared, Progress
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.stored import Identity
from atman_bench.evaluation.subset_store import EvaluatedSubsets, SubsetCell, SubsetIdentity, SubsetWriter, keys_of
from atman_bench.methods._subsets import InterventionOptions, run_bank
from atman_bench.metrics.faithfulness import DEFAULT_MEASURES

VERSION = 1
"""Raised whenever the way to take units away changes."""

BOTH = tuple(InterventionOptions(intervention=intervention) for intervention in Intervention)
"""Both interventions at their defaults, as tables show them side by side."""


@dataclass
class KnownSubsets:
    """What the model says of one sample's target under subsets of its units, each run once.

    Attributes:
        item: The sample.
        options: How units are taken away.
        writer: Where new ones are stored.
        logprobs: Mask's key -> log-probability of the whole target.
        spent: On them, in this run and in those before.
    """

    item: PreparedSample
    options: InterventionOptions
    writer: SubsetWriter
    logprobs: dict[str, float] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)

    def add(self, evaluated: EvaluatedSubsets) -> None:
        """Know what was evaluated."""
        self.logprobs |= _sums(evaluated)
        self.spent = self.spent.plus(len(evaluated.kept), evaluated.cost)

    def of(self, masks: Bool[np.ndarray, "M U"]) -> Float[np.ndarray, " M"]:
        """Log-probability of the whole target under each subset; those that are not known run in one sweep.

        Raises:
            ModelError: A log-probability is not finite.
            StoreError: What ran cannot be stored.
            torch.OutOfMemoryError: See ``run_bank``.
        """
        keys = keys_of(masks)
        lacking = {key: i for i, key in enumerate(keys) if key not in self.logprobs}
        if lacking:
            new = masks[list(lacking.values())]
            adapter, encoded = self.item.adapter, self.item.encoded
            found, cost = measure(lambda: run_bank(adapter, encoded, new, self.options), adapter.model, adapter.device)
            if not np.isfinite(found).all():
                raise ModelError("log-probabilities under some subsets are not finite: try a wider dtype (float32)")
            evaluated = EvaluatedSubsets.of(self.item.uid, new, found, cost)
            self.writer.append(evaluated)
            self.add(evaluated)
        return np.array([self.logprobs[key] for key in keys])


def evaluate_faithfulness(
    run: Prepared,
    config: RunConfig,
    progress: Progress,
    interventions: Sequence[InterventionOptions] = BOTH,
    measures: Sequence[str] = DEFAULT_MEASURES,
) -> Faithfulness:
    """Measure the stored maps of a run under some interventions.

    Args:
        run: The run, as ``runner.begin`` prepared it: its maps are read from the store.
        config: What it was prepared of.
        progress: Called before each sample and once at the end.
        interventions: How units are taken away; one of each kind.
        measures: Which measures.

    Raises:
        StoreError: Maps cannot be read, or subsets not be stored.
    """
    maps = {cell: cell.maps() for cell in run.cells}
    total = len(interventions) * len(run.selected.samples)
    cells: dict[Intervention, SubsetCell] = {}
    spent: dict[Intervention, Spent] = {}
    rows: list[FaithfulnessRow] = []
    done = 0
    for options in interventions:
        cell = SubsetCell(config.results, _identity(run.cells[0].identity, options))
        cell.create(environment(device=str(run.adapter.device), threads=torch.get_num_threads()))
        cells[options.intervention] = cell
        with cell.writer() as writer:
            known = {item.uid: KnownSubsets(item, options, writer) for item in run.selected.samples}
            for evaluated in cell.evaluated():
                if evaluated.uid in known:
                    known[evaluated.uid].add(evaluated)
            of_all = Spent()
            for uid in list(known):
                progress(done, total, f"{options.intervention} {uid}")
                sample = known.pop(uid)  # what is known of it is not needed afterwards
                sample.item = sample.item.without_tensors()
                shared = SharedSubsets(uid, sample.item.sample.group, len(sample.item.label), config.seed)
                stored = {of_method: found.get(uid) for of_method, found in maps.items()}
                rows += rows_of_sample(shared, stored, options.intervention, measures, sample.of)
                of_all += sample.spent
                done += 1
        spent[options.intervention] = of_all
    progress(total, total, "done")
    return Faithfulness(cells, tuple(measures), tuple(rows), spent)


def _identity(of_maps: Identity, options: InterventionOptions) -> SubsetIdentity:
    return SubsetIdentity(
        of_maps.dataset,
        of_maps.dataset_options,
        of_maps.dataset_hash,
        of_maps.model,
        of_maps.model_hash,
        of_maps.dtype,
        identity_options(options),
        VERSION,
        of_maps.units,
    )


def _sums(evaluated: EvaluatedSubsets) -> dict[str, float]:
    sums: Sequence[float] = np.array(evaluated.logprobs, np.float64).sum(1).tolist()
    return dict(zip(evaluated.kept, sums, strict=True))
