"""The evaluation: samples in seeded order, methods within a sample, every result stored as it finishes.

Samples are the outer loop, so that a run that is stopped early has all methods on the same samples.
"""

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from atman_bench.core.errors import ModelError, NotApplicableError, SampleError, one_line
from atman_bench.core.jsonl import check_writable
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Row, ScoredCell, Skipped, Status
from atman_bench.datasets import DATASETS
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation import compaction
from atman_bench.evaluation.archive import Archive
from atman_bench.evaluation.config import MethodCell, RunConfig, load_configured
from atman_bench.evaluation.samples import PreparedSample, Selected, select
from atman_bench.evaluation.scoring import current, grid_facts, row_of, scored
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap, float32_list
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.metrics._signs import Sign
from atman_bench.models import MODELS
from atman_bench.models._base import ModelAdapter
from atman_bench.models._names import family_and_argument

_LOG = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""``(explanations done, explanations to do, what is being done)``; those found in the store are in neither number."""


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
    """A run's data, model and cells, before anything is computed.

    Attributes:
        adapter: The model.
        selected: The samples.
        cells: One per method; methods that differ in cost alone share one.
        same_maps: Names of those that do.
    """

    adapter: ModelAdapter
    selected: Selected
    cells: tuple[Cell, ...]
    same_maps: tuple[tuple[str, ...], ...]


def evaluate(config: RunConfig, progress: Progress, *, overwrite: bool = False) -> RunSummary:
    """Run what ``config`` says, except what its results folder holds already.

    A sample that fails is a row with its status and the run goes on. Ctrl-C ends the run cleanly; running again goes on
    where it stopped.

    Args:
        config: The run.
        progress: Called before each explanation and once at the end.
        overwrite: Remove the stored results of the run's cells first.

    Raises:
        StoreError: See ``begin`` and ``complete``.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
    """
    return complete(begin(config, overwrite=overwrite), config, progress)


def begin(config: RunConfig, *, overwrite: bool = False) -> Prepared:
    """Prepare a run, and check that its results can be written and its model be edited.

    Args:
        config: The run.
        overwrite: Remove the stored results of the run's cells.

    Raises:
        StoreError: The results of these cells cannot be read or written.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
    """
    check_writable(config.results)
    run = prepare(config)
    run.adapter.probe()
    return replace(run, cells=_cleared(config, run.cells)) if overwrite else run


def complete(run: Prepared, config: RunConfig, progress: Progress) -> RunSummary:
    """Compute what the results folder lacks of a run that has begun.

    Args:
        run: From ``begin``.
        config: What it was made of.
        progress: Called before each explanation and once at the end.

    Raises:
        StoreError: The results of these cells cannot be read or written; before anything is computed, unless the disk
            fills up.
    """
    about = environment(device=str(run.adapter.device), threads=torch.get_num_threads())
    finished: dict[Cell, set[str]] = {}
    with ExitStack() as open_cells:
        for cell in run.cells:
            cell.create({**about, "skipped": run.selected.skipped})
            open_cells.enter_context(cell)
            maps = _store_skipped(cell, cell.maps(), run.selected.unusable)
            _complete_rows(cell, maps, config.metric_names, config.sign)
            finished[cell] = finished_uids(cell, maps, config)
        work = [(item, [cell for cell in run.cells if item.uid not in finished[cell]]) for item in run.selected.samples]
        total = sum(len(missing) for _, missing in work)
        computed: Counter[Status] = Counter()
        errors: list[str] = []
        interrupted = False
        try:
            for stored in _explanations(config, work, total, progress):
                computed[stored.status] += 1
                if stored.status is Status.ERROR and stored.error:
                    errors.append(stored.error)
        except KeyboardInterrupt:
            interrupted = True
    done = computed.total()
    if not interrupted:
        progress(done, total, "done")
    return RunSummary(
        cells=run.cells,
        uids=tuple(item.uid for item in run.selected.samples),
        unusable=run.selected.unusable,
        same_maps=run.same_maps,
        reused=len(work) * len(run.cells) - total,
        computed=computed,
        remaining=total - done,
        interrupted=interrupted,
        skipped=run.selected.skipped,
        first_error=errors[0] if errors else None,
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


def finished_uids(cell: Cell, maps: Mapping[str, StoredMap], config: RunConfig) -> set[str]:
    """The samples of a cell that need no work: with a finished map, or with the metrics of one that was not kept."""
    asked = set(config.metric_names)
    scored_once = {
        row.uid
        for row in cell.rows()
        if row.sign == config.sign and row.status is Status.OK and row.values.keys() >= asked
    }
    return scored_once | {uid for uid, stored in maps.items() if stored.finished}


def derived_seed(seed: int, uid: str) -> int:
    """A sample's own seed in [0, 2**32), the same whichever samples ran before it and on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{uid}".encode()).digest()[:4])


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
    archive = Archive(config.results)
    cells: dict[str, Cell] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for method in config.cells:
        identity = _identity(config, dataset, adapter, method)
        names[identity.fingerprint].append(method.name)
        cell = Cell(config.results, identity, method.variant, archive, method.options)
        cells.setdefault(identity.fingerprint, cell)
    same_maps = tuple(tuple(several) for several in names.values() if len(several) > 1)
    return Prepared(adapter, selected, tuple(cells.values()), same_maps)


def _identity(config: RunConfig, dataset: Dataset, adapter: ModelAdapter, method: MethodCell) -> Identity:
    options = identity_options(config.dataset_options)
    options.pop("data", None)  # The content hash names the data; where they lie may change.
    return Identity(
        dataset=config.dataset,
        dataset_options=options,
        dataset_hash=dataset.content_hash,
        model=adapter.name,
        model_hash=adapter.content_hash,
        dtype=adapter.dtype_name,
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


def _explanations(
    config: RunConfig, work: Sequence[tuple[PreparedSample, list[Cell]]], total: int, progress: Progress
) -> Iterator[StoredMap]:
    """Explain, store and yield one after the other; a method that does not fit the model is asked once."""
    done = 0
    not_applicable: dict[Cell, str] = {}
    for item, missing in work:
        sample = item.without_tensors()
        for cell in missing:
            progress(done, total, f"{cell.identity.method} {cell.variant}")
            try:
                if cell in not_applicable:
                    raise NotApplicableError(not_applicable[cell])
                seed = derived_seed(config.seed, sample.uid)
                stored = explain_sample(sample, cell.identity.method, cell.options, seed)
            except NotApplicableError as error:
                not_applicable[cell] = one_line(error)
                stored = replace(ended(sample), status=Status.SKIPPED, error=not_applicable[cell])
            cell.append_map(stored)
            cell.append_rows([row_of(stored, config.metric_names, config.sign)])
            done += 1
            yield stored


def ended(item: PreparedSample) -> StoredMap:
    """How a sample ended, before any method has explained it."""
    return StoredMap(
        item.uid,
        Status.OK,
        label=item.label,
        word_labels=item.word_labels,
        word_of_target=item.encoded.word_of_target,
        group=item.sample.group,
        facts=dict(item.sample.facts),
    )


def explain_sample(item: PreparedSample, method: str, options: Any, seed: int) -> StoredMap:
    """How a sample ended under a method.

    Args:
        item: The sample.
        method: Name of the method.
        options: An instance of its config class.
        seed: The sample's own.

    Raises:
        NotApplicableError: It ends so for every sample.
    """
    encoded, end = item.encoded, ended(item)
    try:
        explanation = explain_encoded(item.adapter, encoded, method, options, seed, item.plain)
        per_target = explanation.per_target
        if explanation.units is not encoded.units:  # a map of single pixels
            of_pixels = item.on(explanation.units)
            end = replace(end, label=of_pixels.label, word_labels=of_pixels.word_labels)
        return replace(
            end,
            facts={**end.facts, **grid_facts(explanation.units)},
            scores=float32_list(explanation.scores.tolist()),
            per_target=None if per_target is None else tuple(map(float32_list, per_target.tolist())),
            target_logprobs=_finite(explanation.target_logprobs),
            answered=explanation.answered,
            seconds=explanation.cost.seconds,
            forward_tokens=explanation.cost.forward_tokens,
            peak_bytes=explanation.cost.peak_bytes,
        )
    except NotApplicableError:
        raise
    except SampleError as error:
        return replace(end, status=Status.SKIPPED, error=one_line(error))
    except Exception as error:  # whatever one sample meets, the others are not to be lost for it
        _LOG.debug("%s of sample %s", method, item.uid, exc_info=True)
        return replace(end, status=Status.OOM if is_out_of_memory(error) else Status.ERROR, error=one_line(error))


def _finite(logprobs: tuple[float, ...]) -> tuple[float, ...]:
    """The log-probabilities.

    Raises:
        ModelError: One is not a number: the model's weights are damaged, or its type is too narrow.
    """
    if not all(map(math.isfinite, logprobs)):
        raise ModelError(f"the model gives the target log-probabilities that are no numbers: {logprobs}")
    return logprobs


def _store_skipped(cell: Cell, maps: dict[str, StoredMap], unusable: Sequence[Skipped]) -> dict[str, StoredMap]:
    """Record samples that do not fit the model, and return all maps; their rows are the caller's to complete."""
    new = [StoredMap(s.uid, Status.SKIPPED, error=s.reason) for s in unusable if s.uid not in maps]
    for stored in new:
        cell.append_map(stored)
    return maps | {stored.uid: stored for stored in new}


def _complete_rows(cell: Cell, maps: Mapping[str, StoredMap], metrics: Sequence[str], sign: Sign) -> None:
    """Write the rows that stored maps lack: a run was killed between the two, or other metrics were asked for."""
    present: dict[str, Row] = {row.uid: row for row in cell.rows() if row.sign == sign}
    for uid, stored in maps.items():
        row = present.get(uid)
        known = current(row.values) if row is not None and row.status is stored.status else {}
        if lacking := [metric for metric in metrics if metric not in known]:
            cell.append_rows([row_of(stored, lacking, sign)])
