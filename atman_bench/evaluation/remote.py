"""What an evaluation has workers do: choose the samples that fit a model, and explain them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch

from atman_bench.core.errors import NotApplicableError, one_line
from atman_bench.core.memory import total_bytes
from atman_bench.core.records import Row, Skipped, Status
from atman_bench.datasets import DATASETS
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.explaining import derived_seed, ended, explain_sample
from atman_bench.evaluation.samples import Selected, UsableSample, select
from atman_bench.evaluation.scoring import row_of
from atman_bench.evaluation.stored import StoredMap
from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.metrics._signs import Sign
from atman_bench.models import MODELS
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import load
from atman_bench.models._picture_lm import PictureLM

MEMORY_SHARE = 8
"""Workers plan batches for this part of their device's memory; one that is too large for what is free is halved."""


Options = TypeVar("Options")


def with_own_budget(options: Options, loaded: ModelAdapter) -> Options:
    """The same options with a worker's memory budget, where they are the engine's and set none.

    What is free depends on the samples before: batches would, and so would the last bits of their sums.
    """
    if isinstance(options, EngineConfig) and options.memory_gb is None:
        return replace(options, memory_gb=total_bytes(loaded.device) / MEMORY_SHARE / 1e9)
    return options


@dataclass(frozen=True)
class ModelFacts:
    """What is stored of a model.

    Attributes:
        name: As the user wrote it.
        content_hash: Of its weights, or the hub revision.
        dtype: Name of the weights' type.
        device: Where it is.
        reads_several_images: Whether images may stand anywhere in its text.
    """

    name: str
    content_hash: str
    dtype: str
    device: str
    reads_several_images: bool

    @classmethod
    def of(cls, adapter: ModelAdapter) -> "ModelFacts":
        """Those of a loaded model."""
        several = isinstance(adapter, PictureLM)
        return cls(adapter.name, adapter.content_hash, adapter.dtype_name, str(adapter.device), several)


@dataclass(frozen=True)
class WorkerModel:
    """A model as workers load it.

    Attributes:
        name: ``FAMILY`` or ``FAMILY:ARGUMENT``.
        options: How to load it.
        threads: Of the tensor library while it runs.
    """

    name: str
    options: LoadOptions
    threads: int

    @classmethod
    def of(cls, config: RunConfig, driver: Driver) -> "WorkerModel":
        """The model of a run.

        Raises:
            UnknownNameError: No such family.
        """
        MODELS.get(config.model_name.partition(":")[0])
        options = LoadOptions(**{f.name: getattr(config, f.name) for f in fields(LoadOptions)})
        return cls(config.model_name, options, driver.threads)

    def load(self) -> ModelAdapter:
        """Load it into this process, spread over its GPUs where it was given several.

        Raises:
            UnknownNameError: See ``models._load.load``.
            ConfigError: See there.
            ModelError: See there.
        """
        torch.set_num_threads(self.threads)
        options = self.options
        if options.device in (None, "cuda") and options.device_map is None and torch.cuda.device_count() > 1:
            options = replace(options, device_map="auto")
        return load(self.name, options)


@dataclass(frozen=True)
class Choice:
    """What a run needs to know of its data and its model before it begins.

    Attributes:
        samples: The first ``limit`` usable samples in seeded order.
        unusable: Samples that were passed over on the way to them.
        skipped: See ``Selected``.
        n_candidates: See ``Selected``.
        n_passed_over: See ``Selected``.
        dataset_hash: The dataset's content hash.
        model: The model's facts.
    """

    samples: tuple[UsableSample, ...]
    unusable: tuple[Skipped, ...]
    skipped: Mapping[str, int]
    n_candidates: int
    n_passed_over: int
    dataset_hash: str
    model: ModelFacts

    @classmethod
    def of(cls, selected: Selected, dataset: Dataset, adapter: ModelAdapter) -> "Choice":
        """What was selected of a dataset for a model."""
        return cls(
            samples=tuple(item.usable for item in selected.samples),
            unusable=selected.unusable,
            skipped=selected.skipped,
            n_candidates=selected.n_candidates,
            n_passed_over=selected.n_passed_over,
            dataset_hash=dataset.content_hash,
            model=ModelFacts.of(adapter),
        )


@dataclass(frozen=True)
class Choose:
    """The work of choosing samples, which one worker does for all."""

    model: WorkerModel

    def run(self, loaded: ModelAdapter, sample: RunConfig) -> Choice:
        """Choose the samples of a run, and probe its model.

        Raises:
            ConfigError: See ``select``.
            DataError: See ``select``.
            ModelError: Edits do not work in the model.
        """
        dataset = DATASETS.get(sample.dataset).load(sample.dataset_options)
        chosen = select(loaded, dataset, sample)
        loaded.probe()
        return Choice.of(chosen, dataset, loaded)

    def failed(self, sample: RunConfig, fault: Fault) -> Choice:
        """Without samples there is no run.

        Raises:
            AtmanBenchError: What the worker said.
        """
        raise fault.error()


@dataclass(frozen=True)
class Explained:
    """One explanation, as a worker sends it back.

    Attributes:
        fingerprint: Of its cell.
        stored: The map.
        row: Its metrics.
    """

    fingerprint: str
    stored: StoredMap
    row: Row


@dataclass(frozen=True, eq=False)
class Explain:
    """The work of one cell: a method with its options.

    Attributes:
        model: The model.
        fingerprint: Of the cell.
        method: Name of the method.
        options: An instance of its config class.
        seed: The run's.
        metrics: Names of metrics.
        sign: How signed scores become a map.
    """

    model: WorkerModel
    fingerprint: str
    method: str
    options: Any
    seed: int
    metrics: tuple[str, ...]
    sign: Sign

    def run(self, loaded: ModelAdapter, sample: UsableSample) -> Explained:
        """Explain and score one sample; the batches that it runs in and its seed are its own.

        Raises:
            DeviceFaultError: See ``explain_sample``.
        """
        item, options = sample.on_model(loaded), with_own_budget(self.options, loaded)
        try:
            stored = explain_sample(item, self.method, options, derived_seed(self.seed, sample.uid))
        except NotApplicableError as error:
            stored = ended(item, Status.SKIPPED, one_line(error))
        return self.scored(stored)

    def failed(self, sample: UsableSample, fault: Fault) -> Explained:
        """An error row with the reason."""
        stored = StoredMap(
            sample.uid,
            Status.ERROR,
            label=sample.label,
            word_labels=sample.word_labels,
            group=sample.sample.group,
            facts=dict(sample.sample.facts),
            error=fault.message,
        )
        return self.scored(stored)

    def planned_positions(self, sample: UsableSample) -> float:
        """How long it takes, as far as an order of samples needs that: positions of its full-length passes."""
        forwards = METHODS.get(self.method).forwards(len(sample.label), sample.n_targets, self.options)
        return (1 + forwards) * sample.length

    def scored(self, stored: StoredMap) -> Explained:
        """A map with its metrics."""
        return Explained(self.fingerprint, stored, row_of(stored, self.metrics, self.sign))
