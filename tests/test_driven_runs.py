"""``eval``, ``sweep`` and ``accuracy`` on workers: the maps of a run in one process, and each of them once."""

import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from driven import ForkPool, driving, stored

from atman_bench.cli import _runs
from atman_bench.cli.app import main
from atman_bench.core.errors import DataError, ModelError, NotApplicableError
from atman_bench.core.records import Status
from atman_bench.evaluation import runner
from atman_bench.evaluation.accuracy import ask_all, load_accuracy_config
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.driver import config as driver_config
from atman_bench.evaluation.driver.local import LocalPool
from atman_bench.evaluation.driver.loop import Driver

METRICS = ("average_precision", "average_recall")


@pytest.fixture
def config(tmp_path, fakes):
    return RunConfig(limit=20, metrics=METRICS, results=tmp_path / "results")


def evaluate(config: RunConfig, driver: Driver | None, progress: Callable[..., None] = lambda *_: None) -> object:
    return runner.evaluate(config, progress, driver=driver)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_stores_what_one_process_does(config, tmp_path, workers):
    alone = replace(config, results=tmp_path / "alone")
    expected = evaluate(alone, None)
    with driving(workers) as driver:
        summary = evaluate(config, driver)
    assert stored(config.results) == stored(alone.results)
    assert summary.computed == expected.computed == {Status.OK: 40}
    assert (summary.uids, summary.skipped, summary.same_maps) == (expected.uids, expected.skipped, expected.same_maps)


def test_another_number_of_workers_goes_on_and_computes_nothing_twice(config, tmp_path):
    with driving(2) as driver:
        evaluate(replace(config, limit=7), driver)
        summary = evaluate(config, driver)
    assert (summary.reused, summary.n_computed) == (14, 26)
    with driving(3) as driver:
        assert evaluate(config, driver).reused == 40
        assert not any(member.items for member in driver.members)
    assert evaluate(config, None).reused == 40
    assert all(len(of_kind) == 20 for of_kind in stored(config.results).values())


def test_failures_and_refusals_are_the_rows_of_one_process(config, fakes, tmp_path):
    uids = evaluate(replace(config, results=tmp_path / "order"), None).uids
    fakes.fail |= {
        uids[0]: torch.OutOfMemoryError("CUDA out of memory"),
        uids[1]: ValueError("flaky"),
        uids[2]: NotApplicableError("needs ReLUs"),
    }
    with driving(2) as driver:
        summary = evaluate(config, driver)
    assert summary.computed == {Status.OK: 34, Status.OOM: 2, Status.ERROR: 2, Status.SKIPPED: 2}
    assert summary.first_error == "flaky"


def test_an_error_that_sticks_to_the_device_costs_a_worker_and_one_row(config, fakes, tmp_path):
    uids = evaluate(replace(config, results=tmp_path / "order"), None).uids
    fakes.fail[uids[0]] = RuntimeError("CUDA error: device-side assert triggered")
    with driving(2) as driver:
        summary = evaluate(config, driver)
    assert summary.computed == {Status.OK: 38, Status.ERROR: 2}
    assert sum(len(member.lost) for member in driver.members) == 4


def test_killed_workers_cost_no_row_and_double_none(config, fakes, tmp_path):
    alone = replace(config, results=tmp_path / "alone")
    evaluate(alone, None)
    fakes.delay = 0.03
    moments, done = random.Random(1), threading.Event()

    def kill(driver: Driver) -> None:
        while not any(member.items for member in driver.members):  # without samples there is no run
            time.sleep(0.01)
        while not done.wait(moments.uniform(0.05, 0.2)):
            if pids := [member.about.pid for member in driver.members if member.about is not None and member.flights]:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(moments.choice(pids), signal.SIGKILL)

    with driving(2) as driver:
        killer = threading.Thread(target=kill, args=(driver,))
        killer.start()
        evaluate(config, driver)
        done.set()
        killer.join()
        assert sum(len(member.lost) for member in driver.members) > 3
    fakes.delay = 0.0
    # Rows of samples that met two kills say so and are asked for again.
    for path in config.results.rglob("*.jsonl"):
        kept = [line for line in path.read_text().splitlines(keepends=True) if "SIGKILL" not in line]
        path.write_text("".join(kept))
    evaluate(config, None)
    assert stored(config.results) == stored(alone.results)


@pytest.mark.parametrize(
    ("changed", "error"), [({"model": "hf:nothing"}, ModelError), ({"max_tokens": 1}, DataError)], ids=["model", "data"]
)
def test_what_ends_a_run_in_one_process_ends_one_on_workers_with_the_same_error(config, changed, error):
    changed = replace(config, **changed)
    with pytest.raises(error) as alone:
        evaluate(changed, None)
    with driving(2) as driver, pytest.raises(error, match=re.escape(str(alone.value))):
        evaluate(changed, driver)


def test_questions_are_answered_on_workers_as_in_one_process(tmp_path):
    def summary(results: str, driver: Driver | None) -> list[object]:
        flags = {"dataset": "facts", "limit": 6, "results": tmp_path / results}
        return sorted(ask_all(load_accuracy_config(flags, (), 1, 3), driver=driver).cell.answers(), key=str)

    with driving(2) as driver:
        assert summary("two", driver) == summary("none", None)


@pytest.mark.slow
def test_maps_of_a_real_model_are_the_same_to_the_last_bit(tmp_path, one_thread):
    methods = ("atman", "kernel_shap", "chefer", "input_x_gradient", "random")

    def maps(name: str, driver: Driver | None) -> dict[str, dict[str, object]]:
        few = {"kernel_shap": {"n_samples": 20}}
        cells = tuple((method, few.get(method, {})) for method in methods)
        run = RunConfig(methods=cells, limit=3, results=tmp_path / name)
        assert evaluate(run, driver).computed == {Status.OK: 15}
        return stored(tmp_path / name)

    expected = maps("none", None)
    assert len(expected) == 2 * len(methods)
    for workers, pool in ((1, ForkPool), (2, LocalPool), (4, ForkPool)):
        with driving(workers, pool) as driver:
            assert maps(str(workers), driver) == expected


def code_of(monkeypatch, *arguments: str) -> int:
    """How a command ends."""
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    monkeypatch.setattr(driver_config, "LocalPool", ForkPool)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_command_says_who_did_what_and_what_is_in_the_log(config, monkeypatch, capsys):
    monkeypatch.setattr(_runs, "SECONDS_BETWEEN_LINES", 0)
    arguments = ("eval", "--workers", "2", "--limit", "5", "-r", str(config.results), "--device", "cpu")
    assert code_of(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    counts = [int(n) for n in re.findall(r"worker \d \(process \d+ on .+?\): (\d+) samples in", out)]
    assert len(counts) == 2
    assert sum(counts) == 10
    assert re.search(r"10 of 10, about 0 s left: .+ · [\d.e+]+/s · 2 of 2 workers · 0 failed$", err, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_same_command_goes_on(config, fakes, monkeypatch, capsys, number):
    fakes.delay = 0.05
    arguments = ("eval", "--workers", "2", "--limit", "20", "-r", str(config.results), "-q", "--device", "cpu")
    threading.Thread(target=lambda: (_first_row(config.results), os.kill(os.getpid(), number))).start()
    assert code_of(monkeypatch, *arguments) == 130
    said = re.search(r"stopped: (\d+) explanations are stored in .+, (\d+) remain", capsys.readouterr().err)
    kept, remain = map(int, said.groups())
    assert kept + remain == 40
    assert sum(len(of_kind) for name, of_kind in stored(config.results).items() if name.endswith("maps")) == kept
    fakes.delay = 0.0
    assert code_of(monkeypatch, *arguments) == 0
    assert Counter(len(of_kind) for of_kind in stored(config.results).values()) == {20: 4}


def _first_row(results: Path) -> None:
    while not list(results.rglob("rows-*.jsonl")):
        time.sleep(0.01)


def test_ray_that_is_not_installed_is_one_line_that_says_what_to_install(config, monkeypatch, capsys):
    monkeypatch.setattr("atman_bench.evaluation.driver.ray_pool.find_spec", lambda name: None)
    assert code_of(monkeypatch, "eval", "--ray", "-r", str(config.results)) == 2
    assert capsys.readouterr().err == "error: --ray needs the package ray: pip install 'atman-bench[ray]'\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["--ray"], ["--ray", "auto"]),
        (["--ray", "-n", "3"], ["--ray", "auto", "-n", "3"]),
        (["--ray", "local", "table1a"], ["--ray", "local", "table1a"]),
        (["--ray", "table1a"], ["--ray", "auto", "table1a"]),
        (["--ray", "10.0.0.1:6379", "-q"], ["--ray", "10.0.0.1:6379", "-q"]),
        (["--ray", "ray://head:10001"], ["--ray", "ray://head:10001"]),
    ],
)
def test_the_address_of_ray_may_be_left_out(written, read):
    from atman_bench.cli._options import with_ray_address

    assert with_ray_address(written) == read
