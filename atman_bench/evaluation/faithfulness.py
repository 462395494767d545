"""Faithfulness of a run's stored maps: subsets of units that the model has not seen yet run, then measures are scored.

All methods of a sample share its mask bank and every subset that two of them ask for; all that lacks runs in one sweep.
A run that is stopped goes on where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float

from atman_bench.core.errors import AtmanBenchError, SampleError, StoreError, one_line
from atman_bench.core.jsonl import check_writable
from atman_bench.core.measure import measure
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Status
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import Progress, prepare
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap
from atman_bench.evaluation.subset_store import EvaluatedSubsets, SubsetCell, SubsetIdentity, SubsetWriter, keys_of
from atman_bench.methods._subsets import Intervention, InterventionOptions, random_subsets, run_bank
from atman_bench.metrics.faithfulness import score_map, subsets_of_map

VERSION = 1
"""Raised whenever the way to take units away changes."""


@dataclass(frozen=True)
class FaithfulnessRow:
    """The measures of one map under one intervention.

    Attributes:
        fingerprint: Of the map's cell.
        method: Its method.
        variant: Its variant.
        uid: The sample's.
        group: What bootstrap intervals resample.
        intervention: How units were taken away.
        status: How it ended: ``skipped`` where there is no map of the sample's units.
        values: Measure -> value, None where it is undefined; empty if the status is not ``ok``.
        error: Why the status is not ``ok``.
    """

    fingerprint: str
    method: str
    variant: str
    uid: str
    group: str
    intervention: Intervention
    status: Status
    values: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None


@dataclass
class KnownSubsets:
    """What the model says of one sample's target under subsets of its units, each run once.

    Attributes:
        item: The sample.
        options: How units are taken away.
        writer: Where new ones are stored.
        logprobs: Mask's key -> log-probability of the whole target.
    """

    item: PreparedSample
    options: InterventionOptions
    writer: SubsetWriter
    logprobs: dict[str, float]

    def of(self, masks: Bool[np.ndarray, "M U"]) -> Float[np.ndarray, " M"]:
        """Log-probability of the whole target under each subset; those that are not known run in one sweep.

        Raises:
            SampleError: A log-probability is not finite.
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
                raise SampleError("log-probabilities under some subsets are not finite: try a wider dtype (float32)")
            evaluated = EvaluatedSubsets.of(self.item.uid, new, found, cost)
            self.writer.append(evaluated)
            self.logprobs |= _sums(evaluated)
        return np.array([self.logprobs[key] for key in keys])


def evaluate_faithfulness(
    config: RunConfig, options: InterventionOptions, progress: Progress
) -> tuple[SubsetCell, list[FaithfulnessRow]]:
    """Measure the stored maps of a run under one intervention.

    Args:
        config: The run, as ``runner.evaluate`` took it: its maps are read from the store.
        options: How units are taken away.
        progress: Called before each sample and once at the end.

    Returns:
        Where evaluated subsets are, and a row for each sample and cell.

    Raises:
        StoreError: Maps cannot be read, or subsets not be stored.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
    """
    check_writable(config.results)
    run = prepare(config)
    run.adapter.probe()
    subsets = SubsetCell(config.results, _identity(run.cells[0].identity, options))
    subsets.create(environment(device=str(run.adapter.device), threads=torch.get_num_threads()))
    known: dict[str, dict[str, float]] = {}
    for evaluated in subsets.evaluated():
        known.setdefault(evaluated.uid, {}).update(_sums(evaluated))
    maps = {cell: cell.maps() for cell in run.cells}
    rows: list[FaithfulnessRow] = []
    total = len(run.selected.samples)
    with subsets.writer() as writer:
        for done, item in enumerate(run.selected.samples):
            progress(done, total, f"{options.intervention} {item.uid}")
            sample = KnownSubsets(item.without_tensors(), options, writer, known.get(item.uid, {}))
            rows += _rows(sample, {cell: of_cell.get(item.uid) for cell, of_cell in maps.items()}, config.seed)
    progress(total, total, "done")
    return subsets, rows


def _rows(known: KnownSubsets, maps: Mapping[Cell, StoredMap | None], seed: int) -> list[FaithfulnessRow]:
    """A row for each cell: all subsets that its maps need run first, together."""
    n_units = len(known.item.label)
    bank = random_subsets(known.item.uid, n_units, seed=seed)
    scores = {
        cell: np.asarray(stored.scores, np.float64)
        for cell, stored in maps.items()
        if stored is not None and stored.status is Status.OK and len(stored.scores) == n_units
    }
    status, error = Status.OK, None
    try:
        needed = [subsets for x in scores.values() for subsets in subsets_of_map(x).values()]
        known.of(np.concatenate([bank, *needed]))
    except StoreError:  # a full disk ends the run
        raise
    except (AtmanBenchError, RuntimeError, MemoryError) as failure:
        status, error = Status.OOM if is_out_of_memory(failure) else Status.ERROR, one_line(failure)
    rows = []
    for cell, stored in maps.items():
        values: Mapping[str, float | None] = {}
        ended, why = status, error
        if cell not in scores:
            ended, why = Status.SKIPPED, _reason(stored)
        elif status is Status.OK:
            values = score_map(scores[cell], bank, known.of)
        identity = cell.identity
        rows.append(
            FaithfulnessRow(
                identity.fingerprint,
                identity.method,
                cell.variant,
                known.item.uid,
                known.item.sample.group,
                known.options.intervention,
                ended,
                values,
                why,
            )
        )
    return rows


def _reason(stored: StoredMap | None) -> str:
    if stored is None:
        return "no stored map: run eval first"
    if stored.status is not Status.OK:
        return stored.error or f"the map ended {stored.status}"
    return "the map is of other units than the sample's"


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
