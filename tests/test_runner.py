import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import FakeAdapter
from lines import lines_in, lines_of

from atman_bench.core.errors import DataError, ModelError, NotApplicableError, SampleError, StoreError
from atman_bench.core.records import Status
from atman_bench.evaluation import dry_run, explaining, runner, scoring
from atman_bench.evaluation.compaction import compact
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.store import cells
from atman_bench.evaluation.stored import Ending
from atman_bench.metrics._signs import Sign

METRICS = ("average_precision", "average_recall")


@pytest.fixture
def config(tmp_path, fakes):
    return RunConfig(limit=6, metrics=METRICS, results=tmp_path / "results")


def run(config: RunConfig, **options: bool) -> runner.RunSummary:
    return runner.evaluate(config, lambda done, total, doing: None, **options)


def rows_in(results: Path) -> set:
    return set(lines_in(results))


def uids_of(config: RunConfig, method: str = "fake") -> list[str]:
    return list(dict.fromkeys(r.uid for r in lines_in(config.results) if r.method == method))


def test_each_sample_gives_one_row_per_method_and_metric(config):
    summary = run(config)
    rows = lines_in(config.results)
    assert summary.computed == {Status.OK: 12}
    assert len(rows) == 6 * 2 * len(METRICS)
    assert {(r.method, r.variant, r.metric) for r in rows} == {
        (method, "default", metric) for method in ("fake", "noise") for metric in METRICS
    }
    assert all(r.value is not None and r.n_positive >= 1 and r.answered for r in rows)


def test_a_second_run_computes_nothing(config, fakes):
    run(config)
    before = rows_in(config.results)
    fakes.explained.clear()
    summary = run(config)
    assert not fakes.explained
    assert summary.reused == 12
    assert rows_in(config.results) == before


def test_a_larger_limit_keeps_the_samples_of_a_smaller_one(config):
    run(replace(config, limit=3))
    few = uids_of(config)
    summary = run(config)
    assert uids_of(config)[:3] == few
    assert summary.computed == {Status.OK: 6}


def test_another_seed_chooses_other_samples(config):
    run(config)
    run(replace(config, seed=1, results=config.results / "other"))
    assert set(uids_of(config)) != set(uids_of(replace(config, results=config.results / "other")))


def test_the_seed_is_part_of_stochastic_methods_only(config):
    prints = {}
    for seed in (0, 1):
        summary = run(replace(config, seed=seed))
        prints[seed] = [cell.identity.fingerprint for cell in summary.cells]
    assert prints[0][0] == prints[1][0]
    assert prints[0][1] != prints[1][1]


def test_a_samples_own_seed_does_not_depend_on_other_samples(config):
    run(config)
    alone = replace(config, limit=1, results=config.results / "alone")
    run(alone)
    assert rows_in(alone.results) <= rows_in(config.results)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), Status.OOM),
        (MemoryError(), Status.OOM),
        (SampleError("refused"), Status.SKIPPED),
        (ModelError("no image\nin the prompt"), Status.ERROR),
        (RuntimeError("shapes"), Status.ERROR),
        (ValueError("at least two units"), Status.ERROR),
        (ZeroDivisionError(), Status.ERROR),
    ],
)
def test_a_sample_that_fails_is_a_row_and_the_run_goes_on(config, fakes, error, status):
    run(replace(config, limit=1))
    (uid,) = uids_of(config)
    fakes.fail[uid] = error
    summary = run(config, overwrite=True)
    failed = [r for r in lines_in(config.results) if r.uid == uid]
    assert summary.computed == {status: 2, Status.OK: 10}
    assert {(r.status, r.value) for r in failed} == {(status, None)}
    assert "\n" not in failed[0].error


def test_a_sample_that_no_model_code_can_encode_is_counted_and_the_run_goes_on(config, fakes, monkeypatch):
    encode = FakeAdapter.encode

    def failing(adapter, sample):
        if sample.uid == uids[0]:
            raise ZeroDivisionError("by zero")
        return encode(adapter, sample)

    run(replace(config, limit=2))
    uids = uids_of(config)
    monkeypatch.setattr(FakeAdapter, "encode", failing)
    summary = run(replace(config, limit=2), overwrite=True)
    assert summary.skipped == {"ZeroDivisionError: by zero": 1}
    assert len(summary.uids) == 2
    assert uids[0] not in summary.uids


def test_failures_are_tried_again_and_refusals_are_not(config, fakes):
    run(replace(config, limit=2))
    failing, refused = uids_of(config)
    fakes.fail |= {failing: RuntimeError("flaky"), refused: SampleError("no")}
    run(config, overwrite=True)
    fakes.fail.clear()
    fakes.explained.clear()
    run(config)
    assert set(fakes.explained) == {("fake", failing), ("noise", failing)}
    assert {r.status for r in lines_in(config.results) if r.uid == failing} == {Status.OK}


def test_how_samples_ended_is_what_their_maps_say_compacted_or_not(config, fakes):
    run(replace(config, limit=3))
    failing, refused, skipped = uids_of(config)
    fakes.fail |= {failing: RuntimeError("flaky"), refused: SampleError("no"), skipped: MemoryError()}
    run(config, overwrite=True)
    fakes.fail.clear()
    for _ in range(2):
        for cell in cells(config.results):
            expected = {uid: Ending(stored.status, bool(stored.label)) for uid, stored in cell.maps().items()}
            assert cell.endings() == expected
            assert len(expected) == 6
        compact(config.results)
    # What is tried again now lies in both places.
    run(config)
    (cell, _) = cells(config.results)
    assert cell.endings() == {uid: Ending(stored.status, True) for uid, stored in cell.maps().items()}
    assert sorted(ending.status for ending in cell.endings().values()) == [Status.OK] * 5 + [Status.SKIPPED]


def test_a_method_that_does_not_fit_the_model_is_asked_once_and_never_again(config, fakes):
    uids = [item.uid for item in runner.prepare(config).selected.samples]
    fakes.fail |= {uid: NotApplicableError("needs ReLUs") for uid in uids}
    summary = run(config)
    assert summary.computed == {Status.SKIPPED: 12}
    assert summary.first_error is None
    assert fakes.explained == [("fake", uids[0]), ("noise", uids[0])]
    assert {(r.status, r.error) for r in lines_in(config.results)} == {(Status.SKIPPED, "needs ReLUs")}
    fakes.explained.clear()
    assert run(config).reused == 12
    assert not fakes.explained


def test_scores_that_are_not_finite_are_an_error_of_that_sample(config, fakes, monkeypatch):
    def broken(*arguments: object) -> object:
        explanation = fakes.explain_encoded(*arguments)
        return replace(explanation, scores=explanation.scores * torch.nan)

    monkeypatch.setattr(explaining, "explain_encoded", broken)
    summary = run(config)
    assert summary.computed == {Status.ERROR: 12}
    assert "finite" in summary.first_error


def test_a_model_that_gives_no_numbers_is_an_error_of_that_sample(config, fakes, monkeypatch):
    def broken(*arguments: object) -> object:
        return replace(fakes.explain_encoded(*arguments), target_logprobs=(float("nan"),))

    monkeypatch.setattr(explaining, "explain_encoded", broken)
    summary = run(config)
    assert summary.computed == {Status.ERROR: 12}
    assert "no numbers" in summary.first_error


def test_long_samples_are_counted_and_do_not_use_up_the_limit(config):
    lengths = sorted(item.length for item in runner.prepare(replace(config, limit=None)).selected.samples)
    short = replace(config, max_tokens=lengths[len(lengths) // 2])
    summary = run(short)
    rows = [r for r in lines_in(config.results) if r.method == "fake" and r.metric == METRICS[0]]
    assert sum(r.status is Status.OK for r in rows) == 6
    skipped = [r for r in rows if r.status is Status.SKIPPED]
    assert {r.error for r in skipped} == {"longer than max_tokens"}
    assert summary.skipped == {"longer than max_tokens": len(skipped)}
    # Without the limit they are usable: a skipped row must not stand for ever.
    run(replace(config, limit=None))
    assert {r.status for r in lines_in(config.results)} == {Status.OK}


def test_no_usable_sample_is_an_error_that_says_why(config):
    with pytest.raises(DataError, match="200 x longer than max_tokens"):
        run(replace(config, max_tokens=1))


def test_a_folder_that_cannot_be_written_to_is_found_before_the_model_is_loaded(config, fakes):
    config.results.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        run(config)
    assert not fakes.loads


def test_a_damaged_file_of_its_own_cells_is_found_before_anything_is_computed(config, fakes):
    run(replace(config, methods=(("noise", {}),)))
    (path,) = config.results.rglob("rows-*.jsonl")
    path.write_text("{}\n" + path.read_text())
    fakes.explained.clear()
    with pytest.raises(StoreError, match="line 1"):
        run(config)
    assert not fakes.explained
    # What other cells hold is none of a run's business.
    assert run(replace(config, methods=(("fake", {}),))).computed == {Status.OK: 6}


def test_overwrite_computes_everything_again(config, fakes):
    run(config)
    fakes.explained.clear()
    run(config, overwrite=True)
    assert len(fakes.explained) == 12


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(config, fakes):
    run(replace(config, limit=2, results=config.results / "order"))
    second = uids_of(replace(config, results=config.results / "order"))[1]
    fakes.fail[second] = KeyboardInterrupt()
    summary = run(config)
    assert summary.interrupted
    assert (summary.computed.total(), summary.remaining) == (2, 10)
    fakes.fail.clear()
    assert run(config).computed == {Status.OK: 10}


@pytest.mark.parametrize("kind", ["maps", "rows"])
def test_a_run_that_was_killed_at_any_byte_of_a_line_resumes_to_the_same_rows(config, fakes, kind):
    config = replace(config, limit=2, methods=(("fake", {}),))
    run(config)
    whole = rows_in(config.results)
    cell = cells(config.results)[0]
    files = {name: next(cell.folder.glob(f"{name}-*.jsonl")) for name in ("maps", "rows")}
    content = {name: path.read_bytes() for name, path in files.items()}
    start = content[kind][:-1].rindex(b"\n") + 1
    # Start, middle and end of the line; that reading drops it wherever it is torn is tested with the store.
    for end in (start, start + 1, (start + len(content[kind])) // 2, len(content[kind]) - 1):
        for path in cell.folder.glob("*.jsonl"):
            path.unlink()
        files["maps"].write_bytes(content["maps"])
        # Rows are written after their map: where the map is torn they are not there.
        files["rows"].write_bytes(content["rows"][: content["rows"].index(b"\n") + 1])
        files[kind].write_bytes(content[kind][:end])
        run(config)
        assert rows_in(config.results) == whole


KILLED = """
import sys
from pathlib import Path
from fakes import Fakes
fakes = Fakes(delay=0.05)
fakes.install(lambda mapping, key, value: mapping.__setitem__(key, value), setattr)
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import evaluate
config = RunConfig(limit=20, metrics=("average_precision",), results=Path(sys.argv[1]))
evaluate(config, lambda done, total, doing: print(done, flush=True))
"""


def test_kill_9_and_again_gives_the_rows_of_an_uninterrupted_run(config):
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    killed = config.results / "killed"
    command = [sys.executable, "-c", KILLED, str(killed)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= 5:
                time.sleep(0.03)
                child.send_signal(signal.SIGKILL)
                break
    full = replace(config, limit=20, metrics=METRICS[:1])
    found = len(lines_in(killed))
    summary = run(replace(full, results=killed))
    run(replace(full, results=config.results / "whole"))
    assert 5 <= found < 40
    assert summary.reused >= 5
    assert rows_in(killed) == rows_in(config.results / "whole")


def test_other_metrics_and_signs_are_computed_from_stored_maps(config, fakes):
    run(replace(config, metrics=METRICS[:1]))
    asked = replace(config, sign=Sign.ABSOLUTE)
    run(replace(asked, results=config.results / "direct"))
    fakes.explained.clear()
    rescored = set(lines_of(scoring.scored_folder(config.results, METRICS, [Sign.ABSOLUTE])))
    assert not fakes.explained
    assert rescored == rows_in(config.results / "direct")


def test_two_names_of_the_same_options_are_one_cell(config):
    summary = run(replace(config, methods=(("fake:literal", {}), ("fake", {"form": "literal"}))))
    assert [cell.variant for cell in summary.cells] == ["form=literal"]


# A run's table holds its own samples, whatever else its cells hold


def ok_uids(config: RunConfig) -> dict[str, set[str]]:
    """Method -> the samples that the table of a run has values of."""
    lines = lines_of(runner.rows_of_run(config, run(config)))
    found: dict[str, set[str]] = {}
    for line in lines:
        found.setdefault(line.method, set())
        if line.value is not None:
            found[line.method].add(line.uid)
    return found


def test_a_smaller_limit_shows_the_samples_of_the_smaller_run(config):
    run(replace(config, methods=(("noise", {}),)))
    few = replace(config, limit=2)
    assert {method: len(uids) for method, uids in ok_uids(few).items()} == {"fake": 2, "noise": 2}


def test_another_seed_shows_its_own_samples_for_every_method(config):
    first = ok_uids(config)
    second = ok_uids(replace(config, seed=1))
    assert second["fake"] == second["noise"] != first["fake"]
    assert len(second["fake"]) == 6


def test_samples_that_a_run_passes_over_are_skipped_there_though_they_are_stored(config):
    run(replace(config, limit=None))
    lengths = sorted(item.length for item in runner.prepare(replace(config, limit=None)).selected.samples)
    short = replace(config, max_tokens=lengths[len(lengths) // 2], limit=20)
    summary = run(short)
    lines = [line for line in lines_of(runner.rows_of_run(short, summary)) if line.metric == METRICS[0]]
    skipped = [line for line in lines if line.status is Status.SKIPPED]
    assert len(lines) - len(skipped) == 2 * 20
    assert len(skipped) == 2 * len(summary.unusable)
    assert {line.error for line in skipped} == {"longer than max_tokens"}


def test_options_that_change_the_cost_alone_are_computed_once_and_named(config, fakes):
    summary = run(replace(config, methods=(("fake", {}), ("fake:literal", {"form": "shifted", "batch": 1}))))
    assert summary.same_maps == (("fake", "fake:literal"),)
    assert len(fakes.explained) == len(set(fakes.explained)) == 6
    assert [cell.variant for cell in summary.cells] == ["default"]


def test_cells_of_equal_names_are_told_apart_by_what_differs(config):
    run(replace(config, methods=(("noise", {}),)))
    run(replace(config, methods=(("noise", {}), ("fake", {})), seed=1))
    cells = scoring.scored_folder(config.results, METRICS, [Sign.POSITIVE])
    assert sorted(f"{cell.method} {cell.variant}" for cell in cells) == [
        "fake default",
        "noise default (seed 0)",
        "noise default (seed 1)",
    ]


def test_samples_whose_maps_were_dropped_are_computed_again_only_where_their_rows_do_not_do(config, fakes):
    before = ok_uids(config)
    compact(config.results, without_maps=["fake"])
    fakes.explained.clear()
    assert ok_uids(config) == before
    assert not fakes.explained
    assert run(replace(config, sign=Sign.ABSOLUTE)).computed == {Status.OK: 6}


def test_a_compacted_folder_is_resumed(config, fakes):
    before = ok_uids(config)
    compact(config.results)
    fakes.explained.clear()
    assert ok_uids(config) == before
    assert not fakes.explained
    assert not list(config.results.rglob("*.jsonl"))
    assert run(config, overwrite=True).computed == {Status.OK: 12}


def test_a_dry_run_counts_what_is_left_and_writes_nothing(config, fakes):
    run(replace(config, limit=2))
    before = sorted(config.results.rglob("*"))
    fakes.explained.clear()
    plan = dry_run.plan(config)
    assert [(c.method, c.stored, c.missing) for c in plan.cells] == [("fake", 2, 4), ("noise", 2, 4)]
    units = [len(item.label) for item in runner.prepare(config).selected.samples[2:]]
    assert plan.cells[0].forwards == sum(n + 1 for n in units)
    assert sorted(config.results.rglob("*")) == before
    assert {uid for _, uid in fakes.explained} <= {item.uid for item in runner.prepare(config).selected.samples[2:]}
    assert [c.seconds for c in plan.cells] == pytest.approx([0.5 * 4, 0.5 * 4], rel=0.2)
