"""Rows of faithfulness: the measures of stored maps, a function of them and of what the model says under subsets."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

from atman_bench.core.errors import AtmanBenchError, SampleError, StoreError, UnknownNameError, one_line
from atman_bench.core.memory import is_device_fault, is_out_of_memory
from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.faithfulness_records import FaithfulnessRow
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import StoredMap
from atman_bench.evaluation.subset_store import keys_of
from atman_bench.methods import METHODS
from atman_bench.methods._subsets import random_subsets, random_thresholds
from atman_bench.metrics.faithfulness import (
    DEFAULT_MEASURES,
    MEASURES,
    MOST_UNITS,
    RATES,
    SOFT_DRAWS,
    Bounds,
    ProbabilityOf,
    aopc_bounds,
    costly_subsets,
    score_aopc,
    score_map,
    score_soft,
    subsets_of_map,
)

LogprobsOf = Callable[[Bool[np.ndarray, "M U"]], Float[np.ndarray, " M"]]
"""Subsets, True = kept -> log-probability of the whole target under each, or its contrast with the foil's."""


@dataclass(frozen=True)
class MapToScore:
    """What one cell has stored of a sample, as measures read it: it travels to workers.

    Attributes:
        fingerprint: Of the cell.
        method: Its method.
        variant: Its variant.
        perturbs: How the method takes units away; None where it runs no changed input.
        scores: (U,), None where there is no map of the sample's units.
        reason: Why there is none.
    """

    fingerprint: str
    method: str
    variant: str
    perturbs: Intervention | None
    scores: tuple[float, ...] | None
    reason: str | None

    @classmethod
    def of(cls, cell: Cell, stored: StoredMap | None, n_units: int) -> "MapToScore":
        """A sample's map, if it is one of its units."""
        usable = stored is not None and stored.status is Status.OK and len(stored.scores) == n_units
        identity = cell.identity
        return cls(
            identity.fingerprint,
            identity.method,
            cell.variant,
            METHODS.get(identity.method).perturbs(identity.method_options),
            stored.scores if stored is not None and usable else None,
            None if usable else _reason(stored),
        )


@dataclass(frozen=True)
class SampleMaps:
    """The maps of one sample, and the random subsets that they share.

    Attributes:
        uid: The sample's.
        group: What bootstrap intervals resample.
        n_units: U.
        seed: Of the run.
        intervention: How units are taken away.
        maps: One of each cell.
        contrast: Whether the sample has a foil, so that log-probabilities are those of the target less the foil's.
    """

    uid: str
    group: str
    n_units: int
    seed: int
    intervention: Intervention
    maps: tuple[MapToScore, ...]
    contrast: bool

    @property
    def probability(self) -> ProbabilityOf:
        """The target's, or its share of what target and foil have together: p / (p + p(foil))."""
        return expit if self.contrast else np.exp

    @cached_property
    def bank(self) -> Bool[np.ndarray, "M U"]:
        """The mask bank."""
        return random_subsets(self.uid, self.n_units, seed=self.seed)

    @cached_property
    def thresholds(self) -> Float[np.ndarray, "R M U"]:
        """Of the soft measures."""
        return random_thresholds(self.uid, self.n_units, (len(RATES), SOFT_DRAWS), self.seed)

    def lacking(self, measures: Sequence[str], known: Collection[str]) -> set[str]:
        """Keys of the subsets that all maps need and nobody knows; what bounds of AOPC search is not among them."""
        needed = _needed(replace(self), measures).values()  # a copy: what is cached on the way need not travel
        return {key for of_map in needed for masks in of_map.values() for key in keys_of(masks)}.difference(known)


def chosen_measures(named: Sequence[str]) -> tuple[str, ...]:
    """The measures of these names, each once; those of the default where none is named.

    Raises:
        UnknownNameError: There is no such measure.
    """
    for name in named:
        if name not in MEASURES:
            raise UnknownNameError("measure", name, MEASURES)
    return tuple(dict.fromkeys(named)) or DEFAULT_MEASURES


def rows_of_sample(sample: SampleMaps, measures: Sequence[str], logprobs_of: LogprobsOf) -> list[FaithfulnessRow]:
    """A row for each map: all subsets that they need are asked for first, together.

    Args:
        sample: The sample and its maps.
        measures: Which measures.
        logprobs_of: What the model says.

    Raises:
        StoreError: What ran cannot be stored: it ends the run.
        DeviceFaultError: The device reports an error that sticks to this process. Whatever else fails is the row's.
    """
    needed = _needed(sample, measures)
    bounds = None
    try:
        if needed:
            logprobs_of(np.concatenate([masks for of_map in needed.values() for masks in of_map.values()]))
            if "normalised_aopc" in measures and sample.n_units <= MOST_UNITS:
                bounds = aopc_bounds(logprobs_of, sample.n_units)
    except StoreError:
        raise
    except (AtmanBenchError, RuntimeError, MemoryError) as failure:
        if is_device_fault(failure):
            raise DeviceFaultError(one_line(failure)) from failure
        oom, skipped = is_out_of_memory(failure), isinstance(failure, SampleError)
        return failed_rows(
            sample, Status.OOM if oom else Status.SKIPPED if skipped else Status.ERROR, one_line(failure)
        )
    rows = []
    for stored in sample.maps:
        if stored.scores is None:
            rows.append(_row(sample, stored, Status.SKIPPED, stored.reason))
            continue
        values = dict(_values(sample, np.array(stored.scores, np.float64), measures, logprobs_of, bounds))
        sizes = {name: len(np.unique(masks, axis=0)) for name, masks in needed[stored].items()}
        passes = {name: sum(sizes[part] for part in MEASURES[name].subsets) for name in measures}
        rows.append(replace(_row(sample, stored, Status.OK, None), values=values, passes=passes))
    return rows


def failed_rows(sample: SampleMaps, status: Status, reason: str) -> list[FaithfulnessRow]:
    """The rows of a sample whose subsets could not be run; those without a map keep their own reason."""
    return [
        _row(sample, stored, Status.SKIPPED, stored.reason)
        if stored.scores is None
        else _row(sample, stored, status, reason)
        for stored in sample.maps
    ]


def _row(sample: SampleMaps, stored: MapToScore, status: Status, error: str | None) -> FaithfulnessRow:
    """A row without numbers."""
    return FaithfulnessRow(
        fingerprint=stored.fingerprint,
        method=stored.method,
        variant=stored.variant,
        uid=sample.uid,
        group=sample.group,
        intervention=sample.intervention,
        contrast=sample.contrast,
        perturbs=stored.perturbs,
        status=status,
        error=error,
    )


def _needed(sample: SampleMaps, measures: Sequence[str]) -> dict[MapToScore, dict[str, Bool[np.ndarray, "n U"]]]:
    """The subsets that each map's measures read."""
    return {
        stored: _subsets(sample, np.array(stored.scores, np.float64), measures)
        for stored in sample.maps
        if stored.scores is not None
    }


def _subsets(
    sample: SampleMaps, scores: Float[np.ndarray, " U"], measures: Sequence[str]
) -> dict[str, Bool[np.ndarray, "n U"]]:
    """What the measures of one map read, by name."""
    found = {"bank": sample.bank, **subsets_of_map(scores)}
    kept = {"ends", *(part for name in measures for part in MEASURES[name].subsets)}
    if not kept <= found.keys():
        found |= costly_subsets(scores, sample.thresholds)
    return {name: masks for name, masks in found.items() if name in kept}


def _values(
    sample: SampleMaps,
    scores: Float[np.ndarray, " U"],
    measures: Sequence[str],
    logprobs_of: LogprobsOf,
    bounds: Bounds | None,
) -> Iterator[tuple[str, float | None]]:
    quick = [name for name in measures if name in DEFAULT_MEASURES]
    values = score_map(scores, sample.bank, logprobs_of, quick, probability=sample.probability)
    if "normalised_aopc" in measures:
        values["normalised_aopc"] = None if bounds is None else score_aopc(scores, logprobs_of, bounds)
    if {"soft_nc", "soft_ns"}.intersection(measures):
        values |= score_soft(scores, sample.thresholds, logprobs_of, sample.probability)
    return ((name, values[name]) for name in measures)


def _reason(stored: StoredMap | None) -> str:
    if stored is None:
        return "no stored map: run eval first"
    if stored.status is not Status.OK:
        return stored.error or f"the map ended {stored.status}"
    return "the map is of other units than the sample's"
