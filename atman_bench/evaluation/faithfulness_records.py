"""What measuring faithfulness gives: rows, and what it took. Nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atman_bench.core.records import Cost, Intervention, Status
from atman_bench.evaluation.subset_store import SubsetCell


@dataclass(frozen=True)
class FaithfulnessRow:
    """The measures of one map under one intervention.

    Attributes:
        fingerprint: Of the map's cell.
        method: Its method.
        variant: Its variant.
        uid: The sample's.
        group: What bootstrap intervals resample.
        intervention: How units were taken away.
        contrast: Whether log-probabilities are those of the target less the foil's.
        perturbs: How the method takes units away; None where it runs no changed input.
        status: How it ended: ``skipped`` where there is no map of the sample's units.
        values: Measure -> value, None where it is undefined; empty if the status is not ``ok``.
        passes: Measure -> different subsets that it reads, as if no other measure and no other map shared them.
        error: Why the status is not ``ok``.
    """

    fingerprint: str
    method: str
    variant: str
    uid: str
    group: str
    intervention: Intervention
    perturbs: Intervention | None
    status: Status
    values: Mapping[str, float | None] = field(default_factory=dict)
    passes: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    contrast: bool = False


@dataclass(frozen=True)
class Spent:
    """What running subsets took, over all samples.

    Attributes:
        subsets: How many ran, each once for all methods and measures.
        forward_tokens: Positions that went through the layers.
        seconds: Wall time.
    """

    subsets: int = 0
    forward_tokens: int = 0
    seconds: float = 0.0

    def plus(self, subsets: int, cost: Cost) -> "Spent":
        """With those of one sweep."""
        return Spent(self.subsets + subsets, self.forward_tokens + cost.forward_tokens, self.seconds + cost.seconds)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.subsets + other.subsets,
            self.forward_tokens + other.forward_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class Faithfulness:
    """The measures of a run's maps.

    Attributes:
        cells: Where the evaluated subsets of each intervention are.
        measures: Which measures they have.
        rows: One for each sample, cell and intervention.
        spent: What running the subsets of the run's samples took, by intervention.
    """

    cells: Mapping[Intervention, SubsetCell]
    measures: tuple[str, ...]
    rows: tuple[FaithfulnessRow, ...]
    spent: Mapping[Intervention, Spent]
