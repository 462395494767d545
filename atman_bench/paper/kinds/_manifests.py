"""What a section says of a run beside its numbers: what was run, on what, and what failed."""

from dataclasses import asdict
from typing import Any

import torch

from atman_bench.core.errors import DataError
from atman_bench.core.provenance import environment
from atman_bench.core.records import Status
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import RunSummary
from atman_bench.metrics._signs import Sign
from atman_bench.models._base import ModelAdapter
from atman_bench.paper.kinds._base import Run
from atman_bench.report.tables import cell_name


def finished(summary: RunSummary) -> RunSummary:
    """The summary of a run that was not stopped and has values.

    Raises:
        KeyboardInterrupt: It was stopped.
        DataError: Every explanation failed.
    """
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.n_computed and not summary.reused and not summary.computed.get(Status.OK):
        raise DataError(f"every explanation failed: {summary.first_error}")
    return summary


def notes_of(summary: RunSummary) -> tuple[str, ...]:
    """Samples that were skipped, and why the first explanation failed."""
    notes = []
    if summary.skipped:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in summary.skipped.items())
        notes.append(f"Skipped samples: {reasons}.")
    if summary.first_error:
        notes.append(f"First error: {summary.first_error}")
    return tuple(notes)


def manifest_of(summary: RunSummary, config: RunConfig) -> dict[str, Any]:
    """What an evaluation was run with: its options, data, model and methods, each with its fingerprint.

    Its environment is the one that the first cell was stored in.
    """
    first = summary.cells[0]
    shared = asdict(first.identity)
    for name in ("method", "method_version", "method_options", "seed"):
        shared.pop(name)
    stored = first.manifest
    return {
        **shared,
        "sign": str(Sign(config.sign)),
        "limit": config.limit,
        "usable": len(summary.uids),
        "cells": {cell_name(c.identity.method, c.variant): c.identity.fingerprint for c in summary.cells},
        "created": stored["created"],
        "environment": stored["environment"],
    }


def manifest_on(run: Run, model: ModelAdapter) -> dict[str, Any]:
    """What a run on single examples was run with, and on which model."""
    about = environment(device=str(model.device), threads=torch.get_num_threads())
    return {**asdict(run), "model": model.name, "model_hash": model.content_hash, "environment": about}
