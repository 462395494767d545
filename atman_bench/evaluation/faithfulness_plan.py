"""What measuring faithfulness would run and take, without running it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atman_bench.core.records import Intervention
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.dry_run import Plan, plan_of, seconds_per_position
from atman_bench.evaluation.faithfulness import BOTH, sample_maps, subset_cell
from atman_bench.evaluation.faithfulness_rows import MapToScore
from atman_bench.evaluation.measuring import totals
from atman_bench.evaluation.runner import finished_uids, prepare
from atman_bench.metrics.faithfulness import MOST_UNITS, most_subsets_of_bounds


@dataclass(frozen=True)
class PlannedSubsets:
    """What a dry run says of one intervention.

    Attributes:
        intervention: How units are taken away.
        samples: Of the run.
        stored: Subsets of theirs that are stored.
        forwards: Forward passes for the others, an upper bound.
        seconds: Predicted time of them, whole sequences each: an upper bound too.
        to_come: Maps that are still to be computed.
    """

    intervention: Intervention
    samples: int
    stored: int
    forwards: int
    seconds: float
    to_come: int


def plan(config: RunConfig, measures: Sequence[str]) -> tuple[Plan, tuple[PlannedSubsets, ...]]:
    """Say what ``begin``, ``complete`` and ``evaluate_faithfulness`` would do; writes nothing, and times a pass.

    Raises:
        StoreError: Stored results cannot be read.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded.
    """
    run = prepare(config)
    pace = seconds_per_position(run.selected.samples)
    maps = {cell: cell.maps() for cell in run.cells}
    finished = {
        cell.identity.fingerprint: finished_uids(
            [row for row in cell.rows() if row.sign == config.sign], cell.endings(), config.metric_names
        )
        for cell in run.cells
    }
    lengths = {item.uid: [one.length for one in item.sequences] for item in run.selected.samples}
    planned = []
    for options in BOTH:
        known: dict[str, dict[str, float]] = {item.uid: {} for item in run.selected.samples}
        for evaluated in subset_cell(run, config, options).evaluated():
            if evaluated.uid in known:
                known[evaluated.uid] |= totals(evaluated)
        forwards = positions = to_come = 0
        for item in run.selected.samples:
            stored = sample_maps(item, config.seed, options.intervention, maps)
            complete = tuple(
                made_up(of_cell, stored.n_units) if item.uid not in finished[of_cell.fingerprint] else of_cell
                for of_cell in stored.maps
            )
            to_come += sum(one is not other for one, other in zip(complete, stored.maps, strict=True))
            lacking = len(replace(stored, maps=complete).lacking(measures, known[item.uid]))
            has_map = any(one.scores is not None for one in complete)
            if has_map and "normalised_aopc" in measures and stored.n_units <= MOST_UNITS:
                lacking += most_subsets_of_bounds(stored.n_units)
            if lacking:
                forwards += (1 + lacking) * len(lengths[item.uid])
                positions += (1 + lacking) * sum(lengths[item.uid])
        n_samples, n_stored = len(known), sum(map(len, known.values()))
        planned.append(PlannedSubsets(options.intervention, n_samples, n_stored, forwards, positions * pace, to_come))
    return plan_of(run, config, pace), tuple(planned)


def made_up(stored: MapToScore, n_units: int) -> MapToScore:
    """A map in the place of one to come: any order, and one that no other map has, needs about as many subsets."""
    order = np.random.default_rng(int(stored.fingerprint, 16)).permutation(n_units)
    return replace(stored, scores=tuple(order.tolist()), reason=None)
