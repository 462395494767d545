"""Faithfulness of a run's stored maps: subsets of units that the model has not seen yet run, then measures are scored.

All methods of a sample share its mask bank and every subset that two of them ask for; all that lacks runs in one sweep.
A run that is stopped goes on where it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from atman_bench.core.errors import one_line
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.driver.report import Report
from atman_bench.evaluation.driver.work import Lot
from atman_bench.evaluation.faithfulness_records import Faithfulness, FaithfulnessRow, Spent
from atman_bench.evaluation.faithfulness_rows import MapToScore, SampleMaps, failed_rows, rows_of_sample
from atman_bench.evaluation.measuring import KnownSubsets, Measure, Measured, ToMeasure, recalled, totals
from atman_bench.evaluation.runner import OnWorkers, Prepared, Progress, Run
from atman_bench.evaluation.samples import UsableSample
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap
from atman_bench.evaluation.subset_store import EvaluatedSubsets, SubsetCell, SubsetIdentity, SubsetWriter
from atman_bench.methods._subsets import InterventionOptions
from atman_bench.metrics.faithfulness import DEFAULT_MEASURES

VERSION = 1
"""Raised whenever the way to take units away changes."""

BOTH = tuple(InterventionOptions(intervention=intervention) for intervention in Intervention)
"""Both interventions at their defaults, as tables show them side by side."""


@dataclass
class _Subsets:
    """Stored subsets of one intervention, and what running them took.

    Attributes:
        options: How units are taken away.
        cell: Where they are.
        writer: Where new ones are stored.
        known: Sample -> mask's key -> log-probability of the whole target, or how far it is above the foil's.
        spent: On those of the run's samples, in this run and in those before.
    """

    options: InterventionOptions
    cell: SubsetCell
    writer: SubsetWriter
    known: dict[str, dict[str, float]]
    spent: Spent = field(default_factory=Spent)

    def read(self) -> None:
        """Know what is stored."""
        for evaluated in self.cell.evaluated():
            if evaluated.uid in self.known:
                self.known[evaluated.uid] |= totals(evaluated)
                self._count(evaluated)

    def store(self, evaluated: EvaluatedSubsets) -> None:
        """Store what ran.

        Raises:
            StoreError: It cannot be written.
        """
        self.writer.append(evaluated)
        self._count(evaluated)

    def _count(self, evaluated: EvaluatedSubsets) -> None:
        self.spent = self.spent.plus(len(evaluated.kept), evaluated.cost)


def evaluate_faithfulness(
    run: Run,
    config: RunConfig,
    progress: Progress,
    interventions: Sequence[InterventionOptions] = BOTH,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    overwrite: bool = False,
) -> Faithfulness:
    """Measure the stored maps of a run under some interventions.

    Args:
        run: The run, as ``runner.begin`` prepared it: its maps are read from the store.
        config: What it was prepared of.
        progress: Called before each sample, or with workers after each, and once at the end.
        interventions: How units are taken away; one of each kind.
        measures: Which measures.
        overwrite: Remove the stored subsets first; maps stay.

    Raises:
        StoreError: Maps cannot be read, or subsets not be stored.
        WorkerError: No worker is left.
        KeyboardInterrupt: It was interrupted; what was finished is stored.
    """
    maps = {cell: cell.maps() for cell in run.cells}
    about = environment(device=run.choice.model.device, threads=run.threads)
    rows: dict[tuple[Intervention, str], Sequence[FaithfulnessRow]] = {}
    with ExitStack() as open_cells:
        subsets: dict[Intervention, _Subsets] = {}
        for options in interventions:
            cell = subset_cell(run, config, options)
            if overwrite:
                cell.clear()
            cell.create(about)
            writer = open_cells.enter_context(cell.writer())
            known: dict[str, dict[str, float]] = {item.uid: {} for item in run.choice.samples}
            subsets[options.intervention] = _Subsets(options, cell, writer, known)
            subsets[options.intervention].read()
        if isinstance(run, Prepared):
            measured = _here(run, config, maps, subsets, measures, progress)
        else:
            measured = _on_workers(run, config, maps, subsets, measures, progress)
        for found in measured:
            rows[found.maps.intervention, found.maps.uid] = found.rows
            for evaluated in found.evaluated:
                subsets[found.maps.intervention].store(evaluated)
    total = len(interventions) * len(run.choice.samples)
    if len(rows) < total:  # workers drain, and end early
        raise KeyboardInterrupt
    progress(total, total, "done")
    in_order = [rows[kind, item.uid] for kind in subsets for item in run.choice.samples]
    return Faithfulness(
        {kind: of_kind.cell for kind, of_kind in subsets.items()},
        tuple(measures),
        tuple(row for of_sample in in_order for row in of_sample),
        {kind: of_kind.spent for kind, of_kind in subsets.items()},
    )


def subset_cell(run: Run, config: RunConfig, options: InterventionOptions) -> SubsetCell:
    """Where the subsets of a run's samples are stored under an intervention."""
    contrast = any(item.sample.foil is not None for item in run.choice.samples)
    return SubsetCell(config.results, _identity(run.cells[0].identity, options, contrast))


def sample_maps(
    sample: UsableSample, seed: int, intervention: Intervention, maps: Mapping[Cell, Mapping[str, StoredMap]]
) -> SampleMaps:
    """What is stored of a sample.

    Args:
        sample: The sample.
        seed: Of the run.
        intervention: How units are to be taken away.
        maps: Cell -> sample -> map.
    """
    n_units = len(sample.label)
    stored = tuple(MapToScore.of(cell, of_cell.get(sample.uid), n_units) for cell, of_cell in maps.items())
    of_sample = sample.sample
    return SampleMaps(sample.uid, of_sample.group, n_units, seed, intervention, stored, of_sample.foil is not None)


def _here(
    run: Prepared,
    config: RunConfig,
    maps: Mapping[Cell, Mapping[str, StoredMap]],
    subsets: Mapping[Intervention, _Subsets],
    measures: Sequence[str],
    progress: Progress,
) -> Iterator[Measured]:
    """Measure one sample after the other in this process; subsets are stored as they run."""
    done, total = 0, len(subsets) * len(run.selected.samples)
    for kind, of_kind in subsets.items():
        for item in run.selected.samples:
            progress(done, total, f"{kind} {item.uid}")
            known = of_kind.known.pop(item.uid)  # it is not needed afterwards
            asked = KnownSubsets(item.without_tensors(), of_kind.options, of_kind.store, known)
            sample = sample_maps(item, config.seed, kind, maps)
            try:
                yield Measured(sample, rows_of_sample(sample, measures, asked.of))
            except DeviceFaultError as error:
                yield Measured(sample, failed_rows(sample, Status.ERROR, one_line(error)))
            done += 1


def _on_workers(
    run: OnWorkers,
    config: RunConfig,
    maps: Mapping[Cell, Mapping[str, StoredMap]],
    subsets: Mapping[Intervention, _Subsets],
    measures: Sequence[str],
    progress: Progress,
) -> Iterator[Measured]:
    """Measure samples as workers are free; those that lack nothing are measured here, which takes no model."""
    lots = []
    for kind, of_kind in subsets.items():
        work = Measure(run.model, of_kind.options, tuple(measures))
        lacking = []
        for item in run.choice.samples:
            asked = ToMeasure(item, sample_maps(item, config.seed, kind, maps), of_kind.known.pop(item.uid))
            if work.lacks(asked):
                lacking.append(asked)
            else:
                yield Measured(asked.maps, rows_of_sample(asked.maps, measures, recalled(asked.known)))
        lots.append(Lot.longest_first(work, lacking, work.planned_positions))
    report = Report(progress, sum(len(lot.samples) for lot in lots), run.driver)
    for measured in run.driver.run(lots):
        yield measured
        report(f"{measured.maps.intervention} {measured.maps.uid}", measured.status)


def _identity(of_maps: Identity, options: InterventionOptions, contrast: bool) -> SubsetIdentity:
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
        contrast,
    )
