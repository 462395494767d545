"""Tables for other programs: one record for each dataset, model, sign rule, method, variant and metric."""

import json
from typing import Any

import pandas as pd

from atman_bench.core.records import Status
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.report.tables import CELL, EXPERIMENT

SCALE = 100
"""Means and intervals are multiplied by it, as in all tables; ``degenerate`` too: per cent of the samples."""

_MISSING = (*(status.value for status in Status if status is not Status.OK), "undefined")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record for each metric of each cell.

    Keys: dataset, model, sign, method, variant, floor (sees no model), metric, ``mean``, ``low`` and ``high`` (95 %
    bootstrap interval over groups; None for fewer than five), ``scale`` (what these three are multiplied by), ``n``
    (samples with a value), ``groups`` (what intervals resample) and ``n_missing`` (reason -> samples: oom, error,
    skipped, undefined).

    Args:
        frame: From ``tables.frame_of``.
    """
    return [
        {
            **dict(zip((*EXPERIMENT, *CELL), key, strict=True)),
            "floor": key[len(EXPERIMENT)] in FLOORS,
            "metric": metric,
            **_numbers(lines),
        }
        for key, cell in frame.groupby([*EXPERIMENT, *CELL], sort=False)
        for metric, lines in cell.groupby("metric")
    ]


def _numbers(lines: pd.DataFrame) -> dict[str, Any]:
    known = lines[lines["value"].notna()]
    # A sample that failed, and succeeded when it was tried again, is not missing.
    lacking = lines[~lines["uid"].isin(known["uid"])].drop_duplicates("uid")
    reasons = lacking["status"].where(lacking["status"].ne(Status.OK), "undefined").value_counts()
    values = SCALE * known["value"].to_numpy()
    interval = bootstrap_interval(values, known["group"].to_numpy()) if len(values) else None
    return {
        "mean": float(values.mean()) if len(values) else None,
        "low": None if interval is None else float(interval.low),
        "high": None if interval is None else float(interval.high),
        "scale": SCALE,
        "n": len(values),
        "groups": int(known["group"].nunique()),
        "n_missing": {reason: int(reasons.get(reason, 0)) for reason in _MISSING},
    }


def as_json(frame: pd.DataFrame) -> str:
    """The records as a JSON list."""
    return json.dumps(records(frame), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(frame: pd.DataFrame) -> str:
    """The records as comma-separated values, with a column ``n_missing_REASON`` for each reason."""
    lines = []
    for record in records(frame):
        missing = record.pop("n_missing")
        lines.append(record | {f"n_missing_{reason}": count for reason, count in missing.items()})
    return pd.DataFrame(lines).to_csv(index=False)
