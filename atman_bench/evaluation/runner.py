"""The evaluation: samples in seeded order, methods within a sample, every result stored as it finishes.

Samples are the outer loop, so that a run that is stopped early has all methods on the same samples.
"""

import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch

from atman_bench.core.errors import (
    AtmanBenchError,
    ConfigError,
    DataError,
    ModelError,
    NotApplicableError,
    SampleError,
    one_line,
)
from atman_bench.core.jsonl import check_writable
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.options import identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Picture, Row, Sample, Skipped, Status
from atman_bench.core.tensors import Encoded
from atman_bench.datasets import DATASETS
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation import store
from atman_bench.evaluation.config import MethodCell, RunConfig, load_configured
from atman_bench.evaluation.scoring import grid_facts, labels_of, rows_of, seen_words, words_of
from atman_bench.evaluation.store import Cell, Identity, StoredMap, float32_list
from atman_bench.methods._explain import explain_encoded
from atman_bench.metrics._signs import Sign
from atman_bench.models._base import ModelAdapter, Plain
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._label_ranking import Name, likeliest_names
from atman_bench.profiling.predict import method_job, plain_job, simulate_loaded

Progress = Callable[[int, int, str], None]
"""``(explanations done, explanations to do, what is being done)``; those found in the store are in neither number."""


@dataclass(frozen=True)
class Usable:
    """A sample that fits the model, with what planning needs to know of it.

    Attributes:
        sample: The sample.
        label: (U,) the share of each unit that is evidence.
        word_labels: The same for each word, where words have evidence of their own.
        length: S, the number of input positions.
        n_targets: T, the number of target tokens.
    """

    sample: Sample
    label: tuple[float, ...]
    word_labels: tuple[tuple[float, ...], ...] | None
    length: int
    n_targets: int


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        cells: Its cells, one per method.
        usable: Number of samples that it evaluates.
        reused: Explanations that were in the store already.
        computed: Explanations of this run by how they ended.
        remaining: Explanations that an interrupted run left for the next.
        interrupted: Whether Ctrl-C ended it.
        skipped: Reason -> number of samples that could not be used.
        first_error: Message of the first explanation that failed.
    """

    cells: tuple[Cell, ...]
    usable: int
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
class PlannedCell:
    """What a dry run says of one method.

    Attributes:
        method: Name of the method.
        variant: Name of its variant.
        stored: Samples that need no work.
        missing: Samples to explain.
        forwards: Full-length forward passes for them, an upper bound.
        seconds: Predicted time of them.
        peak_bytes: Predicted peak memory on the longest sample, weights included; None if it cannot be simulated, and
            then the time is that of all ``forwards``: an upper bound too.
    """

    method: str
    variant: str
    stored: int
    missing: int
    forwards: float
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Plan:
    """What a dry run says.

    Attributes:
        cells: One entry per method.
        skipped: Reason -> number of samples that could not be used.
    """

    cells: tuple[PlannedCell, ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class _Prepared:
    """A run's data, model and cells, before anything is computed."""

    config: RunConfig
    adapter: ModelAdapter
    usable: tuple[Usable, ...]
    unusable: tuple[Skipped, ...]
    skipped: Mapping[str, int]
    cells: tuple[tuple[MethodCell, Cell], ...]


def evaluate(config: RunConfig, progress: Progress, *, overwrite: bool = False) -> RunSummary:
    """Run what ``config`` says, except what its results folder holds already.

    A sample that fails is a row with its status and the run goes on. Ctrl-C ends the run cleanly; running again goes on
    where it stopped.

    Args:
        config: The run.
        progress: Called before each explanation and once at the end.
        overwrite: Remove the stored results of the run's cells first.

    Raises:
        StoreError: The results cannot be read or written; before anything is computed, unless the disk fills up.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
    """
    check_writable(config.results)
    run = _prepare(config)
    run.adapter.probe()
    about = environment(device=str(run.adapter.device), threads=torch.get_num_threads())
    finished = {}
    with ExitStack() as open_cells:
        for _, cell in run.cells:
            if overwrite:
                cell.clear()
            cell.create({**about, "skipped": run.skipped})
            open_cells.enter_context(cell)
            maps = _store_skipped(cell, cell.maps(), run.unusable)
            _complete_rows(cell, maps, config.metric_names, config.sign)
            finished[cell.identity.fingerprint] = {uid for uid, stored in maps.items() if stored.finished}
        # A damaged file anywhere in the folder would else be found by the table, after hours of work.
        store.read_rows(config.results)
        work = [
            (item, [pair for pair in run.cells if item.sample.uid not in finished[pair[1].identity.fingerprint]])
            for item in run.usable
        ]
        total = sum(len(missing) for _, missing in work)
        computed: Counter[Status] = Counter()
        errors: list[str] = []
        interrupted = False
        try:
            for stored in _explanations(run, work, total, progress):
                computed[stored.status] += 1
                if stored.status is Status.ERROR and stored.error:
                    errors.append(stored.error)
        except KeyboardInterrupt:
            interrupted = True
    done = computed.total()
    if not interrupted:
        progress(done, total, "done")
    return RunSummary(
        cells=tuple(cell for _, cell in run.cells),
        usable=len(run.usable),
        reused=len(run.usable) * len(run.cells) - total,
        computed=computed,
        remaining=total - done,
        interrupted=interrupted,
        skipped=run.skipped,
        first_error=errors[0] if errors else None,
    )


def plan(config: RunConfig) -> Plan:
    """Say what ``evaluate`` would do; writes nothing and runs a forward pass to time it.

    A simulation of the longest sample tells how the cost of each method compares with that of plain forward passes; a
    timed pass of a sample of median length tells what those take here.

    Raises:
        StoreError: Stored results cannot be read.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded.
    """
    run = _prepare(config)
    by_length = sorted(run.usable, key=lambda item: item.length)
    median = by_length[len(by_length) // 2]
    encoded = run.adapter.encode(median.sample)
    run.adapter.plain(encoded)  # The first pass of a process also pays for starting threads and allocating.
    started = time.perf_counter()
    run.adapter.plain(encoded)
    seconds_per_position = (time.perf_counter() - started) / median.length
    planned = []
    costs = _Costs(run.adapter, by_length[-1])
    for method, cell in run.cells:
        maps = cell.maps()
        finished = {uid for uid, stored in maps.items() if stored.finished}
        missing = [item for item in run.usable if item.sample.uid not in finished]
        forwards = [method.spec.forwards(len(item.label), item.n_targets, method.options) for item in missing]
        share, peak_bytes = costs.of(method) if missing else (1.0, None)
        positions = sum(n * item.length for n, item in zip(forwards, missing, strict=True))
        planned.append(
            PlannedCell(
                method.method,
                method.variant,
                len(run.usable) - len(missing),
                len(missing),
                sum(forwards),
                share * positions * seconds_per_position,
                peak_bytes,
            )
        )
    return Plan(tuple(planned), run.skipped)


class _Costs:
    """What methods cost on one sample, by simulation; only decoders can be simulated.

    Args:
        adapter: The loaded model.
        item: The sample.
    """

    def __init__(self, adapter: ModelAdapter, item: Usable):
        self._adapter = adapter
        self._item = item
        self._plain_seconds: float | None = None

    def of(self, method: MethodCell) -> tuple[float, int | None]:
        """Time as a share of the method's ``forwards``, and peak memory; (1, None) where it cannot be simulated."""
        units, targets = len(self._item.label), self._item.n_targets
        forwards = method.spec.forwards(units, targets, method.options)
        if not forwards:
            return 1.0, self._adapter.weight_bytes
        if not isinstance(self._adapter, CausalLM):
            return 1.0, None
        job = method_job(method.method, method.options, self._item.length, units, targets)
        try:
            if self._plain_seconds is None:
                plain = plain_job("lean", self._item.length, targets)
                self._plain_seconds = simulate_loaded(self._adapter, plain).work.seconds
            found = simulate_loaded(self._adapter, job)
        except ModelError:  # it depends on data, or reads a picture
            return 1.0, None
        share = found.work.seconds / (forwards * self._plain_seconds)
        return share, self._adapter.weight_bytes + round(found.peak_bytes)


def experiment_rows(config: RunConfig, summary: RunSummary) -> list[Row]:
    """The rows that belong into one table with a run's: its own, and those of earlier runs on the same data and model.

    All have the run's sign rule. Of a method and variant that several runs stored under different fingerprints, the
    run's own count, else the newest.

    Raises:
        StoreError: The results cannot be read.
    """
    own = summary.cells[0].identity
    others = sorted(store.cells(config.results), key=lambda cell: cell.created, reverse=True)
    chosen: dict[tuple[str, str], Cell] = {}
    for cell in (*summary.cells, *others):
        if cell.identity.same_experiment(own):
            chosen.setdefault((cell.identity.method, cell.variant), cell)
    return [row for cell in chosen.values() for row in cell.rows() if row.sign == config.sign]


def derived_seed(seed: int, uid: str) -> int:
    """A sample's own seed in [0, 2**32), the same whichever samples ran before it and on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{uid}".encode()).digest()[:4])


def _prepare(config: RunConfig) -> _Prepared:
    dataset = DATASETS.get(config.dataset).load(config.dataset_options)
    adapter = load_configured(config)
    if config.named is not None and not dataset.names:
        raise ConfigError(f"{config.dataset} does not ask for names: leave named out")
    usable, unusable, unseen = _select(adapter, dataset.samples, dataset.names, config)
    skipped = _count_reasons((*dataset.skipped, *unusable, *unseen))
    if not usable:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items())
        raise DataError(f"no sample of {config.dataset} is usable ({reasons or 'it is empty'})")
    cells = tuple(
        (method, Cell(config.results, _identity(config, dataset, adapter, method), method.variant))
        for method in config.cells
    )
    return _Prepared(config, adapter, usable, unusable, skipped, cells)


def _select(
    adapter: ModelAdapter, samples: Sequence[Sample], names: Sequence[Name], config: RunConfig
) -> tuple[tuple[Usable, ...], tuple[Skipped, ...], tuple[Skipped, ...]]:
    """The first ``limit`` usable samples in seeded order, the unusable ones met on the way, and words left out.

    The order depends on the seed alone, so a larger limit keeps the samples of a smaller one.
    """
    ordered = list(samples)
    random.Random(config.seed).shuffle(ordered)
    usable: list[Usable] = []
    unusable: list[Skipped] = []
    unseen: list[Skipped] = []

    @cache
    def likeliest(picture: Picture | None) -> list[Name]:
        return likeliest_names(adapter, picture, names, config.named or 0)

    for sample in ordered:
        if len(usable) == config.limit:
            break
        try:
            encoded = adapter.encode(sample)
            if config.max_tokens is not None and encoded.length > config.max_tokens:
                raise SampleError("longer than max_tokens")
            if config.named is not None and (sample.prompt, sample.target) not in likeliest(sample.picture):
                raise SampleError(f"the model finds {config.named} or more other names likelier")
            label = labels_of(sample, encoded.units)
            seen, left_out = seen_words(sample, encoded.units)
            if left_out:
                sample = replace(sample, words=seen)
                encoded = adapter.encode(sample)
            words = words_of(sample, encoded.units)
        except SampleError as error:
            # Reasons are counted, so they must not name the sample.
            unusable.append(Skipped(sample.uid, str(error).removeprefix(f"sample {sample.uid}: ")))
        else:
            usable.append(Usable(sample, label, words, encoded.length, encoded.target_ids.shape[0]))
            unseen += left_out
    return tuple(usable), tuple(unusable), tuple(unseen)


def _identity(config: RunConfig, dataset: Dataset, adapter: ModelAdapter, cell: MethodCell) -> Identity:
    options = identity_options(config.dataset_options)
    options.pop("data", None)  # The content hash names the data; where they lie may change.
    return Identity(
        dataset=config.dataset,
        dataset_options=options,
        dataset_hash=dataset.content_hash,
        model=adapter.name,
        model_hash=adapter.content_hash,
        dtype=adapter.dtype_name,
        method=cell.method,
        method_version=cell.spec.version,
        method_options=identity_options(cell.options),
        seed=config.seed if cell.spec.stochastic else None,
    )


def _explanations(
    run: _Prepared, work: Iterable[tuple[Usable, list[tuple[MethodCell, Cell]]]], total: int, progress: Progress
) -> Iterable[StoredMap]:
    """Explain, store and yield one after the other; a method that does not fit the model is asked once."""
    done = 0
    not_applicable: dict[str, str] = {}
    for item, missing in work:
        if not missing:
            continue
        case = _Case(run.adapter, item, run.adapter.encode(item.sample))
        for method, cell in missing:
            progress(done, total, f"{method.method} {method.variant}")
            fingerprint = cell.identity.fingerprint
            try:
                if fingerprint in not_applicable:
                    raise NotApplicableError(not_applicable[fingerprint])
                stored = _explain(case, method, derived_seed(run.config.seed, item.sample.uid))
            except NotApplicableError as error:
                not_applicable[fingerprint] = one_line(error)
                stored = replace(case.ended, status=Status.SKIPPED, error=not_applicable[fingerprint])
            cell.append_map(stored)
            cell.append_rows(rows_of(cell, stored, run.config.metric_names, run.config.sign))
            done += 1
            yield stored


@dataclass(frozen=True)
class _Case:
    """A sample in front of the model: what its methods share."""

    adapter: ModelAdapter
    item: Usable
    encoded: Encoded

    @cached_property
    def plain(self) -> Plain:
        """The unperturbed model, which runs once for all of them."""
        return self.adapter.plain(self.encoded)

    @property
    def ended(self) -> StoredMap:
        """How the sample ended, before any method saw it."""
        sample = self.item.sample
        return StoredMap(
            sample.uid,
            Status.OK,
            label=self.item.label,
            word_labels=self.item.word_labels,
            word_of_target=self.encoded.word_of_target,
            group=sample.group,
            facts=dict(sample.facts),
        )


def _explain(case: _Case, method: MethodCell, seed: int) -> StoredMap:
    """How a sample ended under a method.

    Raises:
        NotApplicableError: It ends so for every sample.
    """
    sample, encoded, ended = case.item.sample, case.encoded, case.ended
    try:
        explanation = explain_encoded(case.adapter, encoded, method.method, method.options, seed, case.plain)
        per_target = explanation.per_target
        if explanation.units is not encoded.units:  # a map of single pixels
            ended = replace(
                ended,
                label=labels_of(sample, explanation.units),
                word_labels=words_of(sample, explanation.units),
            )
        return replace(
            ended,
            facts={**ended.facts, **grid_facts(explanation.units)},
            scores=float32_list(explanation.scores.tolist()),
            per_target=None if per_target is None else tuple(map(float32_list, per_target.tolist())),
            target_logprobs=explanation.target_logprobs,
            answered=explanation.answered,
            seconds=explanation.cost.seconds,
            forward_tokens=explanation.cost.forward_tokens,
            peak_bytes=explanation.cost.peak_bytes,
        )
    except NotApplicableError:
        raise
    except SampleError as error:
        return replace(ended, status=Status.SKIPPED, error=one_line(error))
    except (AtmanBenchError, RuntimeError, MemoryError) as error:
        return replace(ended, status=Status.OOM if is_out_of_memory(error) else Status.ERROR, error=one_line(error))


def _store_skipped(cell: Cell, maps: dict[str, StoredMap], unusable: Iterable[Skipped]) -> dict[str, StoredMap]:
    """Record samples that do not fit the model, and return all maps; their rows are the caller's to complete."""
    new = [StoredMap(s.uid, Status.SKIPPED, error=s.reason) for s in unusable if s.uid not in maps]
    for stored in new:
        cell.append_map(stored)
    return maps | {stored.uid: stored for stored in new}


def _complete_rows(cell: Cell, maps: Mapping[str, StoredMap], metrics: Sequence[str], sign: Sign) -> None:
    """Write the rows that stored maps lack: a run was killed between the two, or other metrics were asked for."""
    present = {(row.uid, row.metric, row.status) for row in cell.rows() if row.sign == sign}
    for uid, stored in maps.items():
        lacking = [metric for metric in metrics if (uid, metric, stored.status) not in present]
        if lacking:
            cell.append_rows(rows_of(cell, stored, lacking, sign))


def _count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Reason -> count, most frequent first; numbers in a reason belong to one sample and would split the count."""
    return dict(Counter(re.sub(r"\d+", "N", s.reason) for s in skipped).most_common())
