"""One sample's maps under one intervention: the subsets that they need, run and scored; here, or as workers' work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import ModelError
from atman_bench.core.measure import measure
from atman_bench.core.records import Status
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.faithfulness_records import FaithfulnessRow
from atman_bench.evaluation.faithfulness_rows import LogprobsOf, SampleMaps, failed_rows, rows_of_sample
from atman_bench.evaluation.remote import WorkerModel, with_own_budget
from atman_bench.evaluation.samples import PreparedSample, UsableSample
from atman_bench.evaluation.subset_store import EvaluatedSubsets, keys_of
from atman_bench.methods._subsets import InterventionOptions, run_bank
from atman_bench.models._base import ModelAdapter


@dataclass
class KnownSubsets:
    """What the model says of one sample's target under subsets of its units, each run once.

    Attributes:
        item: The sample.
        options: How units are taken away.
        store: Told of new ones.
        logprobs: Mask's key -> log-probability of the whole target.
    """

    item: PreparedSample
    options: InterventionOptions
    store: Callable[[EvaluatedSubsets], None]
    logprobs: dict[str, float]

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
            self.store(evaluated)
            self.logprobs |= totals(evaluated)
        return np.array([self.logprobs[key] for key in keys])


@dataclass(frozen=True)
class ToMeasure:
    """A sample whose maps are to be measured under one intervention, without the model: it travels to workers.

    Attributes:
        sample: The sample.
        maps: Its maps.
        known: Mask's key -> log-probability of the whole target, as far as it is stored.
    """

    sample: UsableSample
    maps: SampleMaps
    known: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """A sample that was measured, as a worker sends it back.

    Attributes:
        maps: The sample's maps.
        rows: A row for each.
        evaluated: Subsets that ran for them.
    """

    maps: SampleMaps
    rows: Sequence[FaithfulnessRow]
    evaluated: Sequence[EvaluatedSubsets] = ()

    @property
    def status(self) -> Status:
        """How it ended, as far as that is not the maps' own."""
        ended = {row.status for row in self.rows}
        return next((status for status in (Status.OOM, Status.ERROR) if status in ended), Status.OK)


@dataclass(frozen=True, eq=False)
class Measure:
    """The work of measuring maps under one intervention.

    Attributes:
        model: The model.
        options: How units are taken away.
        measures: Which measures.
    """

    model: WorkerModel
    options: InterventionOptions
    measures: tuple[str, ...]

    def run(self, loaded: ModelAdapter, sample: ToMeasure) -> Measured:
        """Measure one sample's maps; the batches that subsets run in are its own.

        Raises:
            DeviceFaultError: See ``rows_of_sample``.
        """
        evaluated: list[EvaluatedSubsets] = []
        options = with_own_budget(self.options, loaded)
        known = KnownSubsets(sample.sample.on_model(loaded), options, evaluated.append, dict(sample.known))
        return Measured(sample.maps, rows_of_sample(sample.maps, self.measures, known.of), evaluated)

    def failed(self, sample: ToMeasure, fault: Fault) -> Measured:
        """Error rows with the reason."""
        return Measured(sample.maps, failed_rows(sample.maps, Status.ERROR, fault.message))

    def lacks(self, sample: ToMeasure) -> bool:
        """Whether the model is needed: bounds of AOPC may be."""
        return "normalised_aopc" in self.measures or bool(sample.maps.lacking(self.measures, sample.known))

    def planned_positions(self, sample: ToMeasure) -> float:
        """How long it takes, as far as an order of samples needs that: positions of its full-length passes."""
        return (1 + len(sample.maps.lacking(self.measures, sample.known))) * sample.sample.length


def totals(evaluated: EvaluatedSubsets) -> dict[str, float]:
    """Mask's key -> log-probability of the whole target."""
    sums: Sequence[float] = np.array(evaluated.logprobs, np.float64).sum(1).tolist()
    return dict(zip(evaluated.kept, sums, strict=True))


def recalled(known: Mapping[str, float]) -> LogprobsOf:
    """What was said of subsets that are all known."""
    return lambda masks: np.array([known[key] for key in keys_of(masks)])
