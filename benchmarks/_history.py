"""The dated rows of all benchmarks: what was measured, with which settings, on which machine; and their comparison."""

import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from atman_bench.core.provenance import environment

HISTORY = Path(__file__).parent / "history.jsonl"


def last_like(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The newest row of the same settings."""
    rows = [json.loads(line) for line in HISTORY.read_text().splitlines()] if HISTORY.exists() else []
    return next((row for row in reversed(rows) if row["settings"] == settings), None)


def append(measured: dict[str, Any]) -> None:
    """Write a row; ``settings`` is one of its entries."""
    row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(device="cpu", threads=torch.get_num_threads()),
        **measured,
    }
    with HISTORY.open("a") as file:
        file.write(json.dumps(row) + "\n")


def spread(values: Sequence[float]) -> dict[str, float]:
    """What a row keeps of repeats: median, range and number."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def in_words(now: dict[str, float], before: dict[str, float] | None) -> str:
    """A spread, and how its median has changed since the last one."""
    text = f"{now['median']:.3g} ({now['min']:.3g} to {now['max']:.3g}, n = {now['n']})"
    if before is None:
        return text
    return f"{text}; last time {before['median']:.3g}, {now['median'] / before['median'] - 1:+.0%}"


def is_worse(now: dict[str, float], before: dict[str, float], *, lower_is_better: bool) -> bool:
    """Whether the best repeat now is worse than the worst before; a single repeat has no spread, and says nothing."""
    if min(now["n"], before["n"]) < 2:
        return False
    return now["min"] > before["max"] if lower_is_better else now["max"] < before["min"]
