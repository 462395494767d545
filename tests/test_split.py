"""Perturbations of one sample on several workers: the map of an undivided sweep, to the last bit."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from driven import ForkPool, driving, stored
from hypothesis import given
from hypothesis import strategies as st

from atman_bench.cli.app import main
from atman_bench.core.options import build
from atman_bench.core.records import Status
from atman_bench.evaluation import runner, splitting
from atman_bench.evaluation.config import RunConfig, resolve
from atman_bench.evaluation.driver import config as driver_config
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.methods import METHODS
from atman_bench.methods._engine import Batch, Share, Sweep

LISTED = tuple(name for name in METHODS.names if METHODS.get(name).listed is not None)


def silent(*_: object) -> None:
    pass


def config_of(model: str, results: Path, *methods: str) -> RunConfig:
    dataset = {"tiny-text": "facts", "tiny-magma": "scenes"}[model]
    settings = {"model": model, "dataset": dataset, "limit": 1, "methods": list(methods), "baselines": False}
    return resolve(settings, {"device": "cpu", "results": str(results)}, ())


@pytest.fixture
def config(tmp_path) -> RunConfig:
    return replace(config_of("tiny-text", tmp_path / "results", "atman", "occlusion", "chefer"), max_tokens=66)


def split(config: RunConfig, workers: int) -> runner.RunSummary:
    with driving(workers) as driver:
        return runner.evaluate(config, silent, driver=driver, split=True)


@given(sizes=st.lists(st.integers(1, 16), max_size=40), count=st.integers(1, 9), data=st.data())
def test_shares_are_whole_batches_in_their_order_and_each_batch_is_in_one(sizes, count, data):
    starts = sorted((data.draw(st.integers(0, 99)) for _ in sizes), reverse=True)
    batches = [Batch(list(range(size)), start) for size, start in zip(sizes, starts, strict=True)]
    parts = [Share(index, count).of(batches, 100) for index in range(count)]
    assert [batch for part in parts for batch in part] == batches
    costs = [sum(len(b.perturbations) * (100 - b.start) for b in part) for part in parts]
    largest = max((len(b.perturbations) * (100 - b.start) for b in batches), default=0)
    assert all(abs(cost - sum(costs) / count) <= largest for cost in costs)


def test_the_exact_methods_list_their_perturbations():
    assert set(LISTED) == {"atman", "occlusion"}


@cache
def prepared(model: str, folder: Path) -> PreparedSample:
    return runner.prepare(config_of(model, folder, "atman")).selected.samples[0]


@pytest.mark.parametrize(
    ("model", "method", "options"),
    [
        ("tiny-text", "atman", {}),
        ("tiny-text", "atman", {"form": "log", "kappa": 0.7}),
        ("tiny-text", "atman", {"engine": "lean"}),
        ("tiny-text", "occlusion", {"baseline": "mean"}),
        ("tiny-magma", "atman", {}),
    ],
)
def test_shares_of_any_number_make_the_map_of_one_sweep(tmp_path_factory, model, method, options):
    item = prepared(model, tmp_path_factory.getbasetemp() / "shares")
    spec = METHODS.get(method)
    config = build(spec.config, {**options, "memory_gb": 1.0})
    expected = spec.explain(item.adapter, item.encoded, config, 0)
    for count in (1, 3):
        parts = [splitting.run_share(item, method, config, Share(index, count)) for index in range(count)]
        assert [part.plain is None for part in parts] == [False] + [True] * (count - 1)
        assert [bool(torch.isnan(part.sweep.losses).any()) for part in parts] == [count > 1] * count
        found = Sweep.joined([part.sweep for part in parts]).deltas[:, list(parts[0].which)]
        assert torch.equal(found, expected.per_target)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-text", "tiny-magma"])
def test_any_number_of_workers_stores_the_map_of_one_process(tmp_path, one_thread, model):
    def records(name: str, run: Callable[[RunConfig], object]) -> tuple[dict[str, dict[str, object]], list[int]]:
        methods = ("atman", "occlusion", "chefer") if model == "tiny-text" else ("atman",)
        run(config_of(model, tmp_path / name, *methods))
        found = stored(tmp_path / name)
        tokens = [
            record.pop("forward_tokens") for name, of_kind in sorted(found.items()) for record in of_kind.values()
        ]
        return found, tokens

    expected, tokens = records("none", lambda config: runner.evaluate(config, silent))
    assert len(expected) == 2 * (3 if model == "tiny-text" else 1)
    for workers in (1, 2, 3):
        found, more = records(str(workers), lambda config, workers=workers: split(config, workers))
        assert found == expected
        assert (more == tokens) == (workers == 1)  # plain passes are repeated, and counted


def fails_in_share(monkeypatch, index: int, fail: Callable[[], None]) -> None:
    """Let something happen where a share is run."""
    run_share = splitting.run_share

    def run(item: PreparedSample, method: str, options: object, share: Share) -> splitting.SharedSweep:
        if share.index == index:
            fail()
        return run_share(item, method, options, share)

    monkeypatch.setattr(splitting, "run_share", run)


def test_a_share_whose_worker_dies_is_run_by_another(config, tmp_path, monkeypatch, one_thread):
    config = replace(config, methods=(("atman", {}),))
    alone = replace(config, results=tmp_path / "alone")
    split(alone, 2)
    mark = tmp_path / "died"

    def die_once() -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    fails_in_share(monkeypatch, 1, die_once)
    assert split(config, 2).computed == {Status.OK: 1}
    assert mark.exists()
    assert stored(config.results) == stored(alone.results)


def test_a_share_that_runs_out_of_memory_makes_the_row_oom_and_the_next_run_tries_again(config, monkeypatch):
    def exhaust() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = replace(config, methods=(("atman", {}),))
    with monkeypatch.context() as patch:
        fails_in_share(patch, 1, exhaust)
        assert split(config, 2).computed == {Status.OOM: 1}
    assert split(config, 3).computed == {Status.OK: 1}


def test_a_share_that_kills_two_workers_is_an_error_row_with_the_reason(config, monkeypatch):
    fails_in_share(monkeypatch, 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    summary = split(replace(config, methods=(("atman", {}),)), 2)
    assert summary.computed == {Status.ERROR: 1}
    assert "SIGKILL" in summary.first_error


def call(monkeypatch, *arguments: str) -> int:
    """How a command ends."""
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    monkeypatch.setattr(driver_config, "LocalPool", ForkPool)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_command_says_once_which_methods_run_whole(config, monkeypatch, caplog):
    arguments = ("eval", "-n", "2", "--max-tokens", "66", "--methods", "occlusion,chefer,attention", "--device", "cpu")
    shared = (*arguments, "--workers", "2", "--split-perturbations", "-r", str(config.results))
    assert call(monkeypatch, *shared) == 0
    assert [said for said in caplog.messages if "whole" in said] == [
        "run whole, since their perturbations are not listed before they run: attention, chefer"
    ]


def test_without_workers_it_is_refused_in_one_line(config, monkeypatch, capsys):
    assert call(monkeypatch, "eval", "--split-perturbations", "-r", str(config.results)) == 2
    assert capsys.readouterr().err == (
        "error: options of workers are for runs on workers: give --workers N or --ray too\n"
    )
