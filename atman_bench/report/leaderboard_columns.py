"""What a leaderboard shows: metrics against the ground truth, and measures of faithfulness under both interventions."""

from atman_bench.core.records import Intervention
from atman_bench.report.means import Column, localisation_column, measure_column

LOCALISATION: tuple[Column, ...] = tuple(
    map(localisation_column, ("average_precision", "auprc", "recovery_at_10", "pointing_game"))
)
MEASURES = ("lds", "deletion_auc", "insertion_auc", "top3_drop")
BY_INTERVENTION: dict[Intervention, tuple[Column, ...]] = {
    intervention: tuple(measure_column(measure, intervention) for measure in MEASURES) for intervention in Intervention
}
FAITHFULNESS: tuple[Column, ...] = tuple(
    column for pair in zip(*BY_INTERVENTION.values(), strict=True) for column in pair
)
"""Both interventions of a measure side by side."""

FAMILIES: dict[str, tuple[Column, ...]] = {
    "all metrics": (*LOCALISATION, *FAITHFULNESS),
    "localisation": LOCALISATION,
    **{f"faithfulness, {intervention}": columns for intervention, columns in BY_INTERVENTION.items()},
}
"""What ranks are averaged over; every metric counts the same."""

REQUIRED = ("auprc", *(f"lds_{intervention}" for intervention in Intervention))
"""Metrics without which rows are none of a leaderboard."""
