"""Rows of faithfulness: the measures of stored maps, a function of them and of what the model says under subsets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.core.errors import AtmanBenchError, SampleError, StoreError, UnknownNameError, one_line
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.faithfulness_records import FaithfulnessRow
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import StoredMap
from atman_bench.methods import METHODS
from atman_bench.methods._subsets import random_subsets, random_thresholds
from atman_bench.metrics.faithfulness import (
    DEFAULT_MEASURES,
    MEASURES,
    MOST_UNITS,
    RATES,
    SOFT_DRAWS,
    Bounds,
    aopc_bounds,
    costly_subsets,
    score_aopc,
    score_map,
    score_soft,
    subsets_of_map,
)

LogprobsOf = Callable[[Bool[np.ndarray, "M U"]], Float[np.ndarray, " M"]]
"""Subsets, True = kept -> log-probability of the whole target under each."""


@dataclass(frozen=True)
class SharedSubsets:
    """The random subsets that all maps of a sample share.

    Attributes:
        uid: The sample's.
        group: What bootstrap intervals resample.
        n_units: U.
        seed: Of the run.
    """

    uid: str
    group: str
    n_units: int
    seed: int

    @cached_property
    def bank(self) -> Bool[np.ndarray, "M U"]:
        """The mask bank."""
        return random_subsets(self.uid, self.n_units, seed=self.seed)

    @cached_property
    def thresholds(self) -> Float[np.ndarray, "R M U"]:
        """Of the soft measures."""
        return random_thresholds(self.uid, self.n_units, (len(RATES), SOFT_DRAWS), self.seed)


def chosen_measures(named: Sequence[str]) -> tuple[str, ...]:
    """The measures of these names, each once; those of the default where none is named.

    Raises:
        UnknownNameError: There is no such measure.
    """
    for name in named:
        if name not in MEASURES:
            raise UnknownNameError("measure", name, MEASURES)
    return tuple(dict.fromkeys(named)) or DEFAULT_MEASURES


def rows_of_sample(
    shared: SharedSubsets,
    maps: Mapping[Cell, StoredMap | None],
    intervention: Intervention,
    measures: Sequence[str],
    logprobs_of: LogprobsOf,
) -> list[FaithfulnessRow]:
    """A row for each cell: all subsets that its maps need are asked for first, together.

    Args:
        shared: The sample.
        maps: What each cell has stored of it.
        intervention: How units are taken away.
        measures: Which measures.
        logprobs_of: What the model says.

    Raises:
        StoreError: What ran cannot be stored: it ends the run. Whatever else fails is the row's.
    """
    scores = {
        cell: np.asarray(stored.scores, np.float64)
        for cell, stored in maps.items()
        if stored is not None and stored.status is Status.OK and len(stored.scores) == shared.n_units
    }
    status, error, bounds = Status.OK, None, None
    needed = {cell: _subsets(shared, x, measures) for cell, x in scores.items()}
    try:
        if needed:
            logprobs_of(np.concatenate([masks for of_map in needed.values() for masks in of_map.values()]))
            if "normalised_aopc" in measures and shared.n_units <= MOST_UNITS:
                bounds = aopc_bounds(logprobs_of, shared.n_units)
    except StoreError:
        raise
    except (AtmanBenchError, RuntimeError, MemoryError) as failure:
        error = one_line(failure)
        oom, skipped = is_out_of_memory(failure), isinstance(failure, SampleError)
        status = Status.OOM if oom else Status.SKIPPED if skipped else Status.ERROR
    rows = []
    for cell, stored in maps.items():
        values: Mapping[str, float | None] = {}
        passes: Mapping[str, int] = {}
        ended, why = status, error
        if cell not in scores:
            ended, why = Status.SKIPPED, _reason(stored)
        elif status is Status.OK:
            values = dict(_values(shared, scores[cell], measures, logprobs_of, bounds))
            sizes = {name: len(np.unique(masks, axis=0)) for name, masks in needed[cell].items()}
            passes = {name: sum(sizes[part] for part in MEASURES[name].subsets) for name in measures}
        identity = cell.identity
        row = FaithfulnessRow(
            fingerprint=identity.fingerprint,
            method=identity.method,
            variant=cell.variant,
            uid=shared.uid,
            group=shared.group,
            intervention=intervention,
            perturbs=METHODS.get(identity.method).perturbs(identity.method_options),
            status=ended,
            values=values,
            passes=passes,
            error=why,
        )
        rows.append(row)
    return rows


def _subsets(
    shared: SharedSubsets, scores: Float[np.ndarray, " U"], measures: Sequence[str]
) -> dict[str, Bool[np.ndarray, "n U"]]:
    """What the measures of one map read, by name."""
    found = {"bank": shared.bank, **subsets_of_map(scores)}
    # Those of the default are computed together, and cost little beside the bank.
    kept = {part for name in (*DEFAULT_MEASURES, *measures) for part in MEASURES[name].subsets}
    if not kept <= found.keys():
        found |= costly_subsets(scores, shared.thresholds)
    return {name: masks for name, masks in found.items() if name in kept}


def _values(
    shared: SharedSubsets,
    scores: Float[np.ndarray, " U"],
    measures: Sequence[str],
    logprobs_of: LogprobsOf,
    bounds: Bounds | None,
) -> Iterator[tuple[str, float | None]]:
    values = score_map(scores, shared.bank, logprobs_of)
    if "normalised_aopc" in measures:
        values["normalised_aopc"] = None if bounds is None else score_aopc(scores, logprobs_of, bounds)
    if {"soft_nc", "soft_ns"}.intersection(measures):
        values |= score_soft(scores, shared.thresholds, logprobs_of)
    return ((name, values[name]) for name in measures)


def _reason(stored: StoredMap | None) -> str:
    if stored is None:
        return "no stored map: run eval first"
    if stored.status is not Status.OK:
        return stored.error or f"the map ended {stored.status}"
    return "the map is of other units than the sample's"
