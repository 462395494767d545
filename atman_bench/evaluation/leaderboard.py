"""A run of the leaderboard: maps, faithfulness under both interventions, and costs, each resumed where it was."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import canonical, check_count, read_yaml
from atman_bench.core.provenance import environment
from atman_bench.evaluation.config import RunConfig, load_configured, resolve
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.faithfulness import evaluate_faithfulness
from atman_bench.evaluation.faithfulness_rows import chosen_measures
from atman_bench.evaluation.leaderboard_store import (
    LeaderboardRun,
    RelativeCost,
    joined_name,
    read_run,
    write_rows,
    write_run,
)
from atman_bench.evaluation.relative_costs import relative_cost, representative
from atman_bench.evaluation.runner import Prepared, Progress, Run, RunSummary, begin, complete
from atman_bench.evaluation.scoring import dataset_name
from atman_bench.metrics.faithfulness import DEFAULT_MEASURES
from atman_bench.models._base import ModelAdapter

LOCALISATION = ("average_precision", "auprc", "recovery_at_10", "pointing_game")
"""Metrics against the ground truth that a leaderboard shows."""

_OWN = ("cost_samples", "note", "measures")
"""What a configuration says beside the options of ``eval``."""
_LEFT_OUT = ("dataset", "model", "data", "results", "device", "trust_checkpoint", "trust_remote_code")
"""Flags that are told otherwise, or say where things are and not what is run."""


@dataclass(frozen=True)
class LeaderboardConfig:
    """What ``atman-bench leaderboard run`` runs.

    Attributes:
        name: Of the configuration, with what was chosen in place of its own dataset and model; runs of one name into
            one folder replace each other.
        run: The options of ``eval``.
        cost_samples: How many samples costs are measured on.
        note: What should be said beside the results, such as what was cut for time.
        measures: Of faithfulness. The bank serves all methods; orders of removal take passes for every one of them.
        chosen: ``dataset`` or ``model`` -> what takes the place of the configuration's own.
        flags: Others that the results depend on, as they are written on the command line.
    """

    name: str
    run: RunConfig
    cost_samples: int = 3
    note: str = ""
    measures: tuple[str, ...] = DEFAULT_MEASURES
    chosen: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("cost_samples", self.cost_samples)
        if "lds" not in self.measures:
            raise ConfigError(f"measures of a leaderboard hold lds at least, received {list(self.measures)}")


def load_leaderboard(config: str, flags: Mapping[str, Any], overrides: Sequence[str]) -> LeaderboardConfig:
    """Merge a YAML file, flags and ``--set``, and check all of it.

    Args:
        config: Path of a YAML file, or name of a preset.
        flags: Fields of ``RunConfig`` given on the command line.
        overrides: ``a.b.c=value``.

    Raises:
        UnknownNameError: A key at any level does not exist.
        ConfigError: The file is missing or malformed, a value has the wrong type, or ``lds`` is not among its measures.
    """
    file = read_yaml(config)
    own = {name: file.pop(name) for name in _OWN if name in file}
    for name, kind, what in (("cost_samples", int, "an integer"), ("note", str, "text")):
        if name in own and not isinstance(own[name], kind):
            raise ConfigError(f"{name} must be {what}, received {own[name]!r}")
    measures = own.pop("measures", [])
    if not isinstance(measures, list) or not all(isinstance(name, str) for name in measures):
        raise ConfigError(f"measures must be a list of names, received {measures!r}")
    run = resolve(file, flags, overrides)
    stated = {
        "dataset": canonical(str(file.get("dataset", RunConfig.dataset))),
        "model": file.get("model", RunConfig.model),
    }
    chosen = {option: str(getattr(run, option)) for option, value in stated.items() if getattr(run, option) != value}
    name = joined_name(Path(config).stem, chosen)
    given = (*_as_written(flags), *(f"--set {shlex.quote(override)}" for override in overrides))
    return LeaderboardConfig(
        name,
        replace(run, metrics=LOCALISATION),
        measures=chosen_measures(measures),
        chosen=chosen,
        flags=given,
        **own,
    )


def _as_written(flags: Mapping[str, Any]) -> Iterator[str]:
    for name, value in flags.items():
        if name not in _LEFT_OUT:
            text = ",".join(value) if isinstance(value, list) else str(value)
            yield f"--{name.replace('_', '-')} {shlex.quote(text)}"


def run_leaderboard(config: LeaderboardConfig, progress: Progress, *, driver: Driver | None = None) -> RunSummary:
    """Compute what the results folder lacks: maps first, then faithfulness, then costs.

    Ctrl-C while maps are computed is in the summary, as in ``eval``; later it passes through, with everything stored
    that was finished.

    Args:
        config: The run.
        progress: See ``runner.complete``.
        driver: Computes maps and faithfulness on many workers; None in this process. Costs are times side by side, so
            that they are always measured here, after workers have ended.

    Raises:
        StoreError: Results cannot be read or written.
        DataError: The dataset cannot be loaded, or no sample of it is usable.
        ModelError: The model cannot be loaded or does not pass its probe.
        WorkerError: No worker is left.
    """
    results = config.run.results
    run = begin(config.run, driver=driver)
    summary = complete(run, config.run, progress)
    if summary.interrupted:
        return summary
    known = read_run(results, config.name)
    record = _record(config, run, summary)
    if known is not None:
        kept = {name: cost for name, cost in known.costs.items() if name in record.fingerprints and not cost.error}
        record = replace(record, costs=kept)
    found = evaluate_faithfulness(run, config.run, progress, measures=config.measures)
    record = replace(record, spent={kind.value: spent for kind, spent in found.spent.items()})
    write_rows(results, config.name, found.rows)
    write_run(results, record)
    _measure_costs(config, run, record, progress)
    return summary


def _measure_costs(config: LeaderboardConfig, run: Run, record: LeaderboardRun, progress: Progress) -> None:
    """Measure the methods whose cost is not known, and store each as it is."""
    lacking = [cell for cell in run.cells if cell.identity.fingerprint not in record.costs]
    if lacking:
        with _model_here(config, run) as adapter:
            chosen = representative(run.choice.samples, config.cost_samples)
            samples = [item.on_model(adapter) for item in chosen]
            costs: dict[str, RelativeCost] = dict(record.costs)
            for done, cell in enumerate(lacking):
                progress(done, len(lacking), f"cost of {cell.identity.method} {cell.variant}")
                costs[cell.identity.fingerprint] = relative_cost(cell, samples, config.run.seed)
                write_run(config.run.results, replace(record, costs=costs))
    progress(len(lacking), len(lacking), "done")


@contextmanager
def _model_here(config: LeaderboardConfig, run: Run) -> Iterator[ModelAdapter]:
    """The model in this process, with as many threads as what is stored says, and no worker beside it.

    Raises:
        ModelError: It cannot be loaded.
    """
    if isinstance(run, Prepared):
        yield run.adapter
        return
    run.driver.dismiss()
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        yield load_configured(config.run)
    finally:
        torch.set_num_threads(threads)


def _record(config: LeaderboardConfig, run: Run, summary: RunSummary) -> LeaderboardRun:
    """What is known before faithfulness and costs."""
    identity = run.cells[0].identity
    return LeaderboardRun(
        name=config.name,
        dataset=dataset_name(identity),
        model=identity.model,
        sign=config.run.sign.value,
        note=config.note,
        uids=summary.uids,
        fingerprints=tuple(cell.identity.fingerprint for cell in run.cells),
        n_candidates=run.choice.n_candidates,
        n_passed_over=run.choice.n_passed_over,
        skipped=summary.skipped,
        measures=config.measures,
        environment=environment(device=run.choice.model.device, threads=run.threads),
        chosen=config.chosen,
        flags=config.flags,
    )
