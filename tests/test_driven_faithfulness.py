"""``faithfulness`` and ``leaderboard run`` on workers: the numbers of one process, each subset evaluated once."""

import os
import re
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from driven import ForkPool, driving, stored

from atman_bench.cli.app import main
from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation import dry_run, faithfulness_plan, leaderboard, measuring
from atman_bench.evaluation.config import RunConfig, resolve
from atman_bench.evaluation.driver import config as driver_config
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.faithfulness import evaluate_faithfulness
from atman_bench.evaluation.faithfulness_plan import plan
from atman_bench.evaluation.faithfulness_records import Faithfulness
from atman_bench.evaluation.leaderboard import LeaderboardConfig, run_leaderboard
from atman_bench.evaluation.leaderboard_store import read_rows, read_run
from atman_bench.evaluation.runner import begin, complete, prepare
from atman_bench.metrics.faithfulness import DEFAULT_MEASURES, MEASURES


def silent(*_: object) -> None:
    pass


def additive(adapter: object, encoded: object, masks: np.ndarray, options: object) -> np.ndarray:
    """A model that adds up, and takes no time."""
    return -(~masks).sum(1)[:, None] / 9.0


@pytest.fixture
def config(tmp_path) -> RunConfig:
    return resolve(
        {"limit": 3, "max_tokens": 66, "methods": ["attention", "uniform"], "baselines": False},
        {"device": "cpu", "results": str(tmp_path / "results")},
        (),
    )


def measured(config: RunConfig, driver: Driver | None = None, **options: object) -> Faithfulness:
    run = begin(config, driver=driver)
    complete(run, config, silent)
    return evaluate_faithfulness(run, config, silent, **options)


def numbers(found: Faithfulness) -> list[dict[str, object]]:
    return [asdict(row) for row in found.rows]


def evaluated(results: Path) -> dict[str, dict[str, object]]:
    """Stored subsets without what they took."""
    of_run = {name: records for name, records in stored(results).items() if name.endswith("/subsets")}
    for records in of_run.values():
        for record in records.values():
            record["cost"] = record["cost"]["forward_tokens"]
    return of_run


@pytest.mark.slow
def test_any_number_of_workers_measures_and_stores_what_one_process_does(config, tmp_path, one_thread):
    alone = replace(config, results=tmp_path / "alone")
    expected = measured(alone)
    assert {row.status for row in expected.rows} == {Status.OK}
    for workers in (1, 2):
        run = replace(config, results=tmp_path / str(workers))
        with driving(workers) as driver:
            assert numbers(measured(run, driver)) == numbers(expected)
            assert sum(member.samples for member in driver.members) == 12  # 6 maps, 3 samples x 2 interventions
        assert evaluated(run.results) == evaluated(alone.results)
        assert len(evaluated(run.results)) == 2


def test_another_number_of_workers_evaluates_only_what_lacks(config, monkeypatch):
    monkeypatch.setattr(measuring, "run_bank", additive)
    with driving(2) as driver:
        first = measured(replace(config, limit=2), driver)
    with driving(3) as driver:
        found = measured(config, driver)
        assert sum(member.samples for member in driver.members) == 4  # the third sample's
    assert [row for row in found.rows if row in first.rows] == list(first.rows)
    before = evaluated(config.results)  # no sample is there twice
    monkeypatch.setattr(measuring, "run_bank", None)
    assert measured(config) == found
    with driving(1) as driver:
        assert measured(config, driver) == found
        assert not any(member.samples for member in driver.members)
    assert evaluated(config.results) == before


def test_bounds_of_aopc_are_searched_by_workers(config, monkeypatch):
    weights = np.random.default_rng(0).normal(size=64)
    monkeypatch.setattr(
        measuring,
        "run_bank",
        lambda model, encoded, masks, options: (masks @ weights[: masks.shape[1]] - 50)[:, None] / 9,
    )
    measures = ("lds", "normalised_aopc")
    config = replace(config, limit=1)
    with driving(1) as driver:
        found = measured(config, driver, measures=measures)
    monkeypatch.setattr(measuring, "run_bank", None)
    assert measured(config, measures=measures).rows == found.rows
    assert {row.values["normalised_aopc"] is None for row in found.rows} == {False}


@pytest.mark.parametrize(
    ("failure", "status", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), Status.OOM, 0),
        (RuntimeError("CUDA error: device-side assert triggered"), Status.ERROR, 2),
        (None, Status.ERROR, 2),
    ],
    ids=["oom", "device", "killed"],
)
def test_what_a_sample_meets_is_its_rows(config, monkeypatch, failure, status, lost):
    def fail(adapter: object, encoded: object, masks: np.ndarray, options: object) -> np.ndarray:
        if encoded.uid != uid or options.intervention is not Intervention.EMBEDDING:
            return additive(adapter, encoded, masks, options)
        if failure is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise failure

    uid = begin(config).choice.samples[1].uid
    monkeypatch.setattr(measuring, "run_bank", fail)
    with driving(2) as driver:
        found = measured(config, driver)
        assert sum(len(member.lost) for member in driver.members) == lost
    failed = {(row.uid, row.intervention, row.status) for row in found.rows if row.status is not Status.OK}
    assert failed == {(uid, Intervention.EMBEDDING, status)}
    monkeypatch.setattr(measuring, "run_bank", additive)
    assert {row.status for row in measured(config).rows} == {Status.OK}


def test_measuring_again_by_wish_removes_subsets_and_no_map(config, monkeypatch):
    monkeypatch.setattr(measuring, "run_bank", additive)
    before = measured(config)
    monkeypatch.setattr(measuring, "run_bank", lambda *arguments: 2 * additive(*arguments))
    assert measured(config) == before
    again = measured(config, overwrite=True)
    assert again.rows != before.rows
    assert {kind: spent.subsets for kind, spent in again.spent.items()} == {
        kind: spent.subsets for kind, spent in before.spent.items()
    }
    assert complete(begin(config), config, silent).n_computed == 0


@pytest.mark.parametrize("measures", [DEFAULT_MEASURES, tuple(MEASURES)], ids=["default", "all"])
def test_a_dry_run_counts_the_passes_that_follow_at_the_most_and_exactly_once_maps_are_stored(
    config, monkeypatch, measures
):
    calls: list[int] = []

    def counting(adapter: object, encoded: object, masks: np.ndarray, options: object) -> np.ndarray:
        calls.append(len(masks))
        return additive(adapter, encoded, masks, options)

    monkeypatch.setattr(measuring, "run_bank", counting)
    config = replace(config, limit=1, methods=(("attention", {}),))
    of_maps, before = plan(config, measures)
    assert [cell.missing for cell in of_maps.cells] == [1]
    assert [planned.to_come for planned in before] == [1, 1]
    complete(begin(config), config, silent)
    _, known = plan(config, measures)
    assert not calls
    measured(config, measures=measures)
    passes = sum(calls) + 2  # a plain pass of each intervention
    assert sum(planned.forwards for planned in before) >= passes
    if measures == DEFAULT_MEASURES:
        assert sum(planned.forwards for planned in known) == passes
        _, after = plan(config, measures)
        assert [(planned.forwards, planned.stored) for planned in after] == [(0, calls[0]), (0, calls[1])]


def test_a_dry_run_counts_the_sequence_of_a_foil_of_several_tokens(config, monkeypatch):
    monkeypatch.setattr(dry_run, "seconds_per_position", lambda samples: 1.0)
    monkeypatch.setattr(faithfulness_plan, "seconds_per_position", lambda samples: 1.0)
    config = replace(config, limit=1, methods=(("atman", {}),))
    run = prepare(config)
    (item,) = run.selected.samples
    start, end = item.sample.explain
    foil = " " + " ".join(item.sample.prompt[start:end].split()[:3])
    against = replace(item, sample=replace(item.sample, foil=foil))
    longer = 3 - item.n_targets
    assert [one.length for one in against.sequences] == [item.length, item.length + longer]
    planned = []
    for sample in (item, against):
        chosen = replace(run, selected=replace(run.selected, samples=(sample,)))
        monkeypatch.setattr(faithfulness_plan, "prepare", lambda config, chosen=chosen: chosen)
        of_maps, of_subsets = plan(config, ("lds",))
        counts = [cell.forwards for cell in of_maps.cells] + [subsets.forwards for subsets in of_subsets]
        planned.append((counts, [subsets.seconds for subsets in of_subsets]))
    (counts, times), (counts_against, times_against) = planned
    assert counts_against == [2 * count for count in counts]
    both = 2 + longer / item.length
    assert times_against == pytest.approx([both * time for time in times])


def test_a_leaderboard_on_workers_is_that_of_one_process_and_its_costs_are_measured_here(
    config, tmp_path, monkeypatch, one_thread
):
    monkeypatch.setattr(measuring, "run_bank", additive)
    board = LeaderboardConfig("quick", replace(config, results=tmp_path / "alone"), cost_samples=1)
    run_leaderboard(board, silent)
    expected = read_run(tmp_path / "alone", "quick")
    timed: list[tuple[int, int]] = []

    def relative_cost(*arguments: object) -> object:
        timed.append((os.getpid(), driver.alive))
        return expected.costs[arguments[0].identity.fingerprint]

    monkeypatch.setattr(leaderboard, "relative_cost", relative_cost)
    with driving(2) as driver:
        run_leaderboard(replace(board, run=config), silent, driver=driver)
    found = read_run(config.results, "quick")
    assert timed == [(os.getpid(), 0)] * 2
    assert read_rows(config.results, "quick") == read_rows(tmp_path / "alone", "quick")
    assert found.environment == expected.environment
    times = {"spent": {}}
    assert replace(found, **times) == replace(expected, **times)


def call(monkeypatch, *arguments: str) -> int:
    """How a command ends."""
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    monkeypatch.setattr(driver_config, "LocalPool", ForkPool)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_command_runs_on_workers_and_a_dry_run_says_what_it_would_do(config, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "run_bank", additive)
    shared = ("faithfulness", "-n", "2", "--max-tokens", "66", "--methods", "attention", "--device", "cpu")
    arguments = (*shared, "-r", str(config.results))
    assert call(monkeypatch, *arguments, "--dry-run") == 0
    out = capsys.readouterr().out
    rows = [line.split()[:3] for line in out.splitlines() if "≤" in line and "subset" not in line]
    assert [row for row in rows if row[0] in ("attention", "embedding") and row[1] == "2"] == [
        ["attention", "2", "0"],
        ["embedding", "2", "0"],
    ]
    assert "maps that are still to be computed" in " ".join(out.split())
    assert not list(config.results.rglob("*.jsonl"))
    assert call(monkeypatch, *arguments, "--workers", "2") == 0
    done = re.findall(r"worker \d \(process \d+ on .+?\): (\d+) samples in", capsys.readouterr().out)
    assert sum(map(int, done)) == 6  # two maps, two samples under two interventions
