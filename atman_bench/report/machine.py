"""Tables for other programs: one record for each dataset, model, sign rule, method, variant and metric."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from atman_bench.core.records import Status
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.report.tables import CELL, EXPERIMENT

SCALE = 100
"""Means and intervals are multiplied by it, as in all tables; ``degenerate`` too: per cent of the samples."""

Scales = Mapping[str, int]
"""Metric -> what its mean and interval are multiplied by where that is not ``SCALE``: differences in nats."""

_MISSING = (*(status.value for status in Status if status is not Status.OK), "undefined")


def records(frame: pd.DataFrame, scales: Scales | None = None) -> list[dict[str, Any]]:
    """One record for each metric of each cell.

    Keys: dataset, model, sign, method, variant, floor (sees no model), metric, ``mean``, ``low`` and ``high`` (95 %
    bootstrap interval over groups; None for fewer than five), ``scale`` (what these three are multiplied by), ``n``
    (samples with a value), ``groups`` (what intervals resample) and ``n_missing`` (reason -> samples: oom, error,
    skipped, undefined).

    Args:
        frame: From ``tables.frame_of``, or of its columns.
        scales: See ``Scales``.
    """
    return [
        {
            **dict(zip((*EXPERIMENT, *CELL), key, strict=True)),
            "floor": key[len(EXPERIMENT)] in FLOORS,
            "metric": metric,
            **_numbers(lines, (scales or {}).get(str(metric), SCALE)),
        }
        for key, cell in frame.groupby([*EXPERIMENT, *CELL], sort=False)
        for metric, lines in cell.groupby("metric")
    ]


def _numbers(lines: pd.DataFrame, scale: int) -> dict[str, Any]:
    known = lines[lines["value"].notna()]
    # A sample that failed, and succeeded when it was tried again, is not missing.
    lacking = lines[~lines["uid"].isin(known["uid"])].drop_duplicates("uid")
    reasons = lacking["status"].where(lacking["status"].ne(Status.OK), "undefined").value_counts()
    values = scale * known["value"].to_numpy()
    interval = bootstrap_interval(values, known["group"].to_numpy()) if len(values) else None
    return {
        "mean": float(values.mean()) if len(values) else None,
        "low": None if interval is None else float(interval.low),
        "high": None if interval is None else float(interval.high),
        "scale": scale,
        "n": len(values),
        "groups": int(known["group"].nunique()),
        "n_missing": {reason: int(reasons.get(reason, 0)) for reason in _MISSING},
    }


def as_json(frame: pd.DataFrame, scales: Scales | None = None) -> str:
    """The records as a JSON list."""
    return json.dumps(records(frame, scales), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(frame: pd.DataFrame, scales: Scales | None = None) -> str:
    """The records as comma-separated values, with a column ``n_missing_REASON`` for each reason."""
    lines = []
    for record in records(frame, scales):
        missing = record.pop("n_missing")
        lines.append(record | {f"n_missing_{reason}": count for reason, count in missing.items()})
    return pd.DataFrame(lines).to_csv(index=False)
