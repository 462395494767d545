"""Every measure of one map from one batch of subsets, so that a model runs them together and once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from atman_bench.metrics.faithfulness._orders import (
    STEPS,
    abpc,
    deletion_auc,
    insertion_auc,
    only_first,
    removal_order,
    step_counts,
    topk_drop,
    without_first,
)
from atman_bench.metrics.faithfulness._rationales import comprehensiveness, rationale_sizes, sufficiency
from atman_bench.metrics.faithfulness._subsets import lds, r2

TOP = (1, 3, 5)
"""Sizes k of the top-k drop."""

LEAST_SPAN = 1.0
"""Nats that the target has to lose where all units are taken away, or curves between the two ends are undefined: they
are divided by this loss, and a few samples that lose next to nothing would make up the mean of all."""

LogprobsOf = Callable[[Bool[np.ndarray, "n U"]], Float[np.ndarray, " n"]]
"""Subsets, True = kept -> log-probability of the whole target (summed over its tokens) under each."""


ProbabilityOf = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]
"""Log-probabilities -> probabilities. Of a contrast log p - log p(foil) it is the target's share of the two."""


@dataclass(frozen=True)
class Measure:
    """A measure of faithfulness in tables.

    Attributes:
        heading: Of its column.
        higher_is_better: Its direction.
        subsets: Names of the subsets that it reads beside all units and none: ``bank``, or those of ``subsets_of_map``
            and ``costly_subsets``.
        scale: What tables multiply it by: 100, or 1 for differences of log-probabilities (nats).
        by_default: Whether it is computed where no measures are named; others take many more forward passes.
    """

    heading: str
    higher_is_better: bool
    subsets: tuple[str, ...]
    scale: int = 100
    by_default: bool = True


MEASURES: Mapping[str, Measure] = {
    "lds": Measure("LDS", True, ("bank",)),
    "r2": Measure("R2", True, ("bank",)),
    "deletion_auc": Measure("deletion", False, ("deletion",)),
    "insertion_auc": Measure("insertion", True, ("insertion",)),
    "abpc": Measure("ABPC", True, ("deletion", "least_first")),
    **{f"top{k}_drop": Measure(f"top-{k} drop", True, ("top",), scale=1) for k in TOP},
    "comprehensiveness": Measure("comp.", True, ("without",)),
    "sufficiency": Measure("suff.", False, ("only",)),
    "normalised_aopc": Measure("norm. AOPC", True, ("one_by_one",), by_default=False),
    "soft_nc": Measure("Soft-NC", True, ("soft_nc",), by_default=False),
    "soft_ns": Measure("Soft-NS", True, ("soft_ns",), by_default=False),
}
"""Every measure of a map. ``score_map`` computes those of the default, ``_costly`` the others."""

DEFAULT_MEASURES = tuple(name for name, measure in MEASURES.items() if measure.by_default)


def subsets_of_map(scores: Float[np.ndarray, " U"], steps: int = STEPS) -> Mapping[str, Bool[np.ndarray, "n U"]]:
    """The subsets that a map's measures need beside the bank.

    ``ends``: all units, and none, which every measure may be compared with; ``deletion``, ``insertion``,
    ``least_first``: K + 1 steps of a curve; ``top``: without the top k; ``without`` and ``only``: without each
    rationale, and of it alone.

    Args:
        scores: One map, signed.
        steps: K, steps of a curve; beyond U some repeat each other, and cost nothing.

    Raises:
        AtmanBenchError: A score is not finite.
    """
    order, n_units = removal_order(scores), len(scores)
    counts, sizes = step_counts(n_units, steps), rationale_sizes(n_units)
    return {
        "ends": without_first(order, (0, n_units)),
        "deletion": without_first(order, counts),
        "insertion": only_first(order, counts),
        "least_first": without_first(order[::-1], counts),
        "top": without_first(order, TOP),
        "without": without_first(order, sizes),
        "only": only_first(order, sizes),
    }


def score_map(
    scores: Float[np.ndarray, " U"],
    bank: Bool[np.ndarray, "M U"],
    logprobs_of: LogprobsOf,
    measures: Sequence[str] = DEFAULT_MEASURES,
    steps: int = STEPS,
    probability: ProbabilityOf = np.exp,
) -> dict[str, float | None]:
    """Measures of one map; None where one is undefined, curves below ``LEAST_SPAN`` among them.

    Args:
        scores: One map, signed: sums and orders take scores as they are, whatever sign rule tables of localisation use.
        bank: Random subsets.
        logprobs_of: Called once, with all subsets that these measures read.
        measures: Some of ``DEFAULT_MEASURES``.
        steps: K, steps of a curve.
        probability: Of what ``logprobs_of`` gives; comprehensiveness and sufficiency are of probabilities.

    Raises:
        AtmanBenchError: Shapes do not match, or a score or log-probability is not finite.
    """
    needed = {"ends", *(part for name in measures for part in MEASURES[name].subsets)}
    subsets = {name: kept for name, kept in {"bank": bank, **subsets_of_map(scores, steps)}.items() if name in needed}
    found = logprobs_of(np.concatenate(list(subsets.values())))
    parts = np.split(found, np.cumsum([len(kept) for kept in subsets.values()])[:-1])
    logprobs = dict(zip(subsets, parts, strict=True))
    full, empty = logprobs["ends"]
    spans = full - empty >= LEAST_SPAN

    def drop(place: int) -> float:
        return float(topk_drop(float(full), logprobs["top"])[place])

    def of_rationales(measure: Callable[[np.ndarray, np.ndarray], np.ndarray], name: str) -> float:
        return float(measure(probability(logprobs["ends"][:1]), probability(logprobs[name])[None])[0])

    values: Mapping[str, Callable[[], float | None]] = {
        "lds": lambda: lds(bank, scores, logprobs["bank"]),
        "r2": lambda: r2(bank, scores, logprobs["bank"]),
        "deletion_auc": lambda: deletion_auc(logprobs["deletion"]) if spans else None,
        "insertion_auc": lambda: insertion_auc(logprobs["insertion"]) if spans else None,
        "abpc": lambda: abpc(logprobs["least_first"], logprobs["deletion"]) if spans else None,
        **{f"top{k}_drop": partial(drop, place) for place, k in enumerate(TOP)},
        "comprehensiveness": lambda: of_rationales(comprehensiveness, "without"),
        "sufficiency": lambda: of_rationales(sufficiency, "only"),
    }
    return {name: values[name]() for name in measures}
