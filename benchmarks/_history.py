"""The dated rows of all benchmarks: what was measured, with which settings, on which machine."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from atman_bench.store import environment

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
