"""The evaluation: what a results folder lacks of a run is computed, here or on workers, and stored as it finishes."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, overload

import torch

from atman_bench.core.errors import NotApplicableError, one_line
from atman_bench.core.jsonl import check_writable
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Row, ScoredCell, Skipped, Status
from atman_bench.datasets import DATASETS
from atman_bench.evaluation import compaction
from atman_bench.evaluation.archive import Archive
from atman_bench.evaluation.config import MethodCell, RunConfig, load_configured
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.report import Progress as Progress
from atman_bench.evaluation.driver.report import Report
from atman_bench.evaluation.driver.work import Lot
from atman_bench.evaluation.explaining import derived_seed, ended, explain_sample
from atman_bench.evaluation.remote import Choice, Choose, Explain, Explained, WorkerModel
from atman_bench.evaluation.samples import Selected, UsableSample, select
from atman_bench.evaluation.scoring import current, row_of, scored
from atman_bench.evaluation.splitting import ExplainedShare, ExplainShare, Gathering, SampleShare
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Ending, Identity, StoredMap
from atman_bench.methods import METHODS
from atman_bench.methods._engine import Share
from atman_bench.metrics._signs import Sign
from atman_bench.models import MODELS
from atman_bench.models._base import ModelAdapter
from atman_bench.models._names import family_and_argument

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        cells: Its cells, one per method.
        uids: The samples that it evaluates; what else its cells hold is of other runs.
        unusable: Samples that it passed over.
        same_maps: Names of methods that differ in cost alone, so that one cell holds the maps of both.
        reused: Explanations that were in the store already.
        computed: Explanations of this run by how they ended.
        remaining: Explanations that an interrupted run left for the next.
        interrupted: Whether Ctrl-C ended it.
        skipped: Reason -> number of samples that could not be used.
        first_error: Message of the first explanation that failed.
    """

    cells: tuple[Cell, ...]
    uids: tuple[str, ...]
    unusable: tuple[Skipped, ...]
    same_maps: tuple[tuple[str, ...], ...]
    reused: int
    computed: Mapping[Status, int]
    remaining: int
    interrupted: bool
    skipped: Mapping[str, int]
    first_error: str | None

    @property
    def n_computed(self) -> int:
        """Explanations of this run, however they ended."""
        return sum(self.computed.values())


@dataclass(frozen=True)
class Prepared:
    """A run's data, model and cells in this process, before anything is computed.

    Samples are its outer loop, so that a run which is stopped early has all methods on the same samples.

    Attributes:
        adapter: The model.
        selected: The samples.
        choice: The same without the model.
        cells: One per method; methods that differ in cost alone share one.
        same_maps: Names of those that do.
    """

    adapter: ModelAdapter
    selected: Selected
    choice: Choice
    cells: tuple[Cell, ...]
    same_maps: tuple[tuple[str, ...], ...]

    @property
    def threads(self) -> int:
        """Of the tensor library."""
        return torch.get_num_threads()

    def explanations(
        self, config: RunConfig, missing: Mapping[Cell, Sequence[int]], progress: Progress
    ) -> Iterator[tuple[Cell, StoredMap, Row]]:
        """Explain one sample after the other; a method that does not fit the model is asked once."""
        done, total = 0, sum(map(len, missing.values()))
        wanted = {cell: set(of_cell) for cell, of_cell in missing.items()}
        not_applicable: dict[Cell, str] = {}
        for index, item in enumerate(self.selected.samples):
            sample = item.without_tensors()
            for cell in (cell for cell in missing if index in wanted[cell]):
                progress(done, total, f"{cell.identity.method} {cell.variant}")
                try:
                    if cell in not_applicable:
                        raise NotApplicableError(not_applicable[cell])
                    seed = derived_seed(config.seed, sample.uid)
                    stored = explain_sample(sample, cell.identity.method, cell.options, seed)
                except NotApplicableError as error:
                    not_applicable[cell] = one_line(error)
                    stored = ended(sample, Status.SKIPPED, not_applicable[cell])
                except DeviceFaultError as error:
                    stored = ended(sample, Status.ERROR, one_line(error))
                done += 1
                yield cell, stored, row_of(stored, config.metric_names, config.sign)


@dataclass(frozen=True)
class OnWorkers:
    """The same on many workers: this process has no model, and cells are lots of samples, longest first.

    Attributes:
        driver: The workers.
        model: What they load.
        choice: The samples, as one of the workers chose them.
        cells: See ``Prepared``.
        same_maps: See ``Prepared``.
        split: Whether workers share each sample's perturbations, where a method lists them.
    """

    driver: Driver
    model: WorkerModel
    choice: Choice
    cells: tuple[Cell, ...]
    same_maps: tuple[tuple[str, ...], ...]
    split: bool

    @property
    def threads(self) -> int:
        """Of each worker's tensor library."""
        return self.driver.threads

    def explanations(
        self, config: RunConfig, missing: Mapping[Cell, Sequence[int]], progress: Progress
    ) -> Iterator[tuple[Cell, StoredMap, Row]]:
        """Explain as workers are free; a run that is interrupted ends early."""
        works: dict[str, Explain] = {}
        lots: list[Lot[Any, Explained | ExplainedShare]] = []
        for cell, of_cell in missing.items():
            identity, metrics = cell.identity, config.metric_names
            work = Explain(
                self.model, identity.fingerprint, identity.method, cell.options, config.seed, metrics, config.sign
            )
            works[identity.fingerprint] = work
            lots.append(self._lot(work, [self.choice.samples[index] for index in of_cell]))
        of_model = [work for work in works.values() if METHODS.get(work.method).forwards(1, 1, work.options)]
        if whole := sorted({work.method for work in of_model if self.split and not _is_listed(work)}):
            _LOG.warning("run whole, since their perturbations are not listed before they run: %s", ", ".join(whole))
        cells = {cell.identity.fingerprint: cell for cell in missing}
        report, gathering = Report(progress, sum(map(len, missing.values())), self.driver), Gathering()
        for found in self.driver.run(lots):
            cell, work = cells[found.fingerprint], works[found.fingerprint]
            explained = gathering.add(work, found) if isinstance(found, ExplainedShare) else found
            if explained is not None:
                yield cell, explained.stored, explained.row
                report(f"{work.method} {cell.variant}", explained.stored.status)

    def _lot(self, work: Explain, samples: Sequence[UsableSample]) -> Lot[Any, Explained | ExplainedShare]:
        """Samples, or their shares: one for each worker."""
        if not (self.split and _is_listed(work)):
            return Lot.longest_first(work, samples, work.planned_positions)
        shared, count = ExplainShare(work), len(self.driver.members)
        shares = [SampleShare(sample, Share(index, count)) for sample in samples for index in range(count)]
        return Lot.longest_first(shared, shares, shared.planned_positions)


def _is_listed(work: Explain) -> bool:
    """Whether the method knows its perturbations before one of them runs."""
    return METHODS.get(work.method).listed is not None


Run = Prepared | OnWorkers
"""A run that has begun."""


def evaluate(
    config: RunConfig,
    progress: Progress,
    *,
    overwrite: bool = False,
    driver: Driver | None = None,
    split: bool = False,
) -> RunSummary:
    """Run what ``config`` says, except what its results folder holds already.

    A sample that fails is a row with its status and the run goes on. Ctrl-C ends the run cleanly; running again goes on
    where it stopped.

    Args:
        config: The run.
        progress: Called before each explanation, or with a driver after each, and once at the end.
        overwrite: Remove the stored results of the run's cells first.
        driver: Runs it on many workers; None in this process. It changes no map.
        split: Workers share the perturbations of each sample.

    Raises:
        StoreError: See ``begin`` and ``complete``.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
        WorkerError: No worker is left.
        KeyboardInterrupt: It was interrupted before its samples were chosen.
    """
    return complete(begin(config, overwrite=overwrite, driver=driver, split=split), config, progress)


@overload
def begin(config: RunConfig, *, overwrite: bool = False, driver: None = None) -> Prepared: ...


@overload
def begin(config: RunConfig, *, overwrite: bool = False, driver: Driver | None, split: bool = False) -> Run: ...


def begin(config: RunConfig, *, overwrite: bool = False, driver: Driver | None = None, split: bool = False) -> Run:
    """Prepare a run, and check that its results can be written and its model be edited.

    Args:
        config: The run.
        overwrite: Remove the stored results of the run's cells.
        driver: Prepares it on a worker; None in this process.
        split: See ``OnWorkers``.

    Raises:
        StoreError: The results of these cells cannot be read or written.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
        WorkerError: No worker is left.
        KeyboardInterrupt: It was interrupted while a worker prepared it.
    """
    check_writable(config.results)
    run: Run
    if driver is None:
        run = prepare(config)
        run.adapter.probe()
    else:
        model = WorkerModel.of(config, driver)
        # A copy, without the methods that it has looked up: their functions cannot be sent.
        choice = driver.call(Choose(model), replace(config))
        run = OnWorkers(driver, model, choice, *cells_of(config, choice), split)
    return replace(run, cells=_cleared(config, run.cells)) if overwrite else run


def complete(run: Run, config: RunConfig, progress: Progress) -> RunSummary:
    """Compute what the results folder lacks of a run that has begun.

    Args:
        run: From ``begin``.
        config: What it was made of.
        progress: Called before each explanation, or with workers after each, and once at the end.

    Raises:
        StoreError: The results of these cells cannot be read or written; before anything is computed, unless the disk
            fills up.
        WorkerError: No worker is left.
    """
    about = environment(device=run.choice.model.device, threads=run.threads)
    missing: dict[Cell, list[int]] = {}
    with ExitStack() as open_cells:
        for cell in run.cells:
            cell.create({**about, "skipped": run.choice.skipped})
            open_cells.enter_context(cell)
            endings = _store_skipped(cell, cell.endings(), run.choice.unusable)
            rows = [row for row in cell.rows() if row.sign == config.sign]
            _complete_rows(cell, rows, endings, config.metric_names, config.sign)
            finished = finished_uids(rows, endings, config.metric_names)
            missing[cell] = [index for index, item in enumerate(run.choice.samples) if item.uid not in finished]
        total = sum(map(len, missing.values()))
        computed: Counter[Status] = Counter()
        first_error: str | None = None
        interrupted = False
        try:
            for cell, stored, row in run.explanations(config, missing, progress):
                cell.append_map(stored)
                cell.append_rows([row])
                computed[stored.status] += 1
                if stored.status is Status.ERROR:
                    first_error = first_error or stored.error
        except KeyboardInterrupt:
            interrupted = True
    done = computed.total()
    interrupted = interrupted or done < total
    if not interrupted:
        progress(done, total, "done")
    return RunSummary(
        cells=run.cells,
        uids=tuple(item.uid for item in run.choice.samples),
        unusable=run.choice.unusable,
        same_maps=run.same_maps,
        reused=len(run.choice.samples) * len(run.cells) - total,
        computed=computed,
        remaining=total - done,
        interrupted=interrupted,
        skipped=run.choice.skipped,
        first_error=first_error,
    )


def rows_of_run(config: RunConfig, summary: RunSummary) -> list[ScoredCell]:
    """The rows of a run: its cells on its own samples, whatever else these cells hold.

    Samples that it passed over are skipped in every cell, also where an earlier run with other limits explained them.

    Raises:
        StoreError: The results cannot be read.
    """
    uids = frozenset(summary.uids)
    cells = [scored(cell, config.metric_names, config.sign, uids) for cell in summary.cells]
    return [replace(cell, rows=(*cell.rows, *passed_over(config, summary))) for cell in cells]


def passed_over(config: RunConfig, summary: RunSummary) -> list[Row]:
    """The rows of the samples that a run could not use, the same for each of its methods."""
    maps = [StoredMap(skipped.uid, Status.SKIPPED, error=skipped.reason) for skipped in summary.unusable]
    return [row_of(stored, config.metric_names, config.sign) for stored in maps]


def finished_uids(rows: Iterable[Row], endings: Mapping[str, Ending], metrics: Sequence[str]) -> set[str]:
    """The samples of a cell that need no work: with a finished map, or with the metrics of one that was not kept.

    Args:
        rows: Of the cell, under the sign rule of the run.
        endings: Of the cell.
        metrics: Those of the run.
    """
    asked = set(metrics)
    scored_once = {row.uid for row in rows if row.status is Status.OK and row.values.keys() >= asked}
    return scored_once | {uid for uid, ending in endings.items() if ending.finished}


def prepare(config: RunConfig) -> Prepared:
    """Load the data and the model, choose the samples, and name the cells.

    Raises:
        ConfigError: ``named`` is given, and the dataset does not ask for names.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded.
    """
    dataset = DATASETS.get(config.dataset).load(config.dataset_options)
    adapter = load_configured(config)
    selected = select(adapter, dataset, config)
    choice = Choice.of(selected, dataset, adapter)
    return Prepared(adapter, selected, choice, *cells_of(config, choice))


def cells_of(config: RunConfig, choice: Choice) -> tuple[tuple[Cell, ...], tuple[tuple[str, ...], ...]]:
    """The cells of a run, one per method, and the names of those that share one."""
    archive = Archive(config.results)
    cells: dict[str, Cell] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for method in config.cells:
        identity = _identity(config, choice, method)
        names[identity.fingerprint].append(method.name)
        cell = Cell(config.results, identity, method.variant, archive, method.options)
        cells.setdefault(identity.fingerprint, cell)
    return tuple(cells.values()), tuple(tuple(several) for several in names.values() if len(several) > 1)


def _identity(config: RunConfig, choice: Choice, method: MethodCell) -> Identity:
    options = identity_options(config.dataset_options)
    options.pop("data", None)  # The content hash names the data; where they lie may change.
    return Identity(
        dataset=config.dataset,
        dataset_options=options,
        dataset_hash=choice.dataset_hash,
        model=choice.model.name,
        model_hash=choice.model.content_hash,
        dtype=choice.model.dtype,
        method=method.method,
        method_version=method.spec.version,
        method_options=identity_options(method.options),
        seed=config.seed if method.spec.stochastic else None,
        plugins=_plugins(config, method.method) or None,
        units=config.units,
    )


def _plugins(config: RunConfig, method: str) -> dict[str, str]:
    """Versions of the plug-ins that a cell's maps depend on."""
    family, _ = family_and_argument(config.model_name)
    used = {
        "method": METHODS.plugin(method),
        "dataset": DATASETS.plugin(config.dataset),
        "model": MODELS.plugin(family),
    }
    return {part: plugin.version() for part, plugin in used.items() if plugin is not None}


def _cleared(config: RunConfig, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The same cells, with nothing stored."""
    for cell in cells:
        cell.clear()
    compaction.forget(config.results, cells)
    archive = Archive(config.results)
    return tuple(Cell(config.results, cell.identity, cell.variant, archive, cell.options) for cell in cells)


def _store_skipped(cell: Cell, endings: dict[str, Ending], unusable: Sequence[Skipped]) -> dict[str, Ending]:
    """Record samples that do not fit the model, and return how all ended; their rows are the caller's to complete."""
    new = [StoredMap(s.uid, Status.SKIPPED, error=s.reason) for s in unusable if s.uid not in endings]
    for stored in new:
        cell.append_map(stored)
    return endings | {stored.uid: Ending(stored.status, False) for stored in new}


def _complete_rows(
    cell: Cell, rows: Iterable[Row], endings: Mapping[str, Ending], metrics: Sequence[str], sign: Sign
) -> None:
    """Write the rows that stored maps lack: a run was killed between the two, or other metrics were asked for."""
    present: dict[str, Row] = {row.uid: row for row in rows}
    lacking = {}
    for uid, ending in endings.items():
        row = present.get(uid)
        known = current(row.values) if row is not None and row.status is ending.status else {}
        if names := [metric for metric in metrics if metric not in known]:
            lacking[uid] = names
    maps = cell.maps() if lacking else {}
    for uid, names in lacking.items():
        cell.append_rows([row_of(maps[uid], names, sign)])
