import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lines import lines_in

from atman_bench.core import jsonl
from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import part_files, read_part
from atman_bench.core.records import Row, Status
from atman_bench.evaluation import compaction
from atman_bench.evaluation.archive import CELLS, MAPS, ROWS
from atman_bench.evaluation.compaction import compact, forget
from atman_bench.evaluation.store import Cell, cells
from atman_bench.evaluation.stored import Identity, StoredMap, float32_list

IDENTITY = Identity("facts", {"n": 5}, "d", "tiny", "m", "float32", "atman", 1, {"f": 0.9}, None)
SCORES = float32_list(np.random.default_rng(0).normal(size=5))
WORDS = StoredMap(
    "ü/2",
    Status.OK,
    scores=SCORES,
    per_target=(SCORES, SCORES[::-1]),
    label=(0, 1, 0.333333, 0, 0),
    word_labels=((0, 1, 0, 0, 0), (0.25, 0, 0, 0, 1)),
    word_of_target=(0, 1),
    group="g",
    facts={"n_questions": 3, "article": "Zoë", "share": 0.1},
    target_logprobs=(-0.1, -1e-9),
    answered=True,
    seconds=0.25,
    forward_tokens=100,
    peak_bytes=2**40,
)
MAPS_OF_ALL_KINDS = [
    WORDS,
    StoredMap("one target", Status.OK, scores=SCORES, per_target=(SCORES,), label=(0, 1, 0, 0, 0)),
    StoredMap("mean only", Status.OK, scores=SCORES, label=(0, 1, 0, 0, 0)),
    StoredMap("long", Status.SKIPPED, error="longer than max_tokens"),
    StoredMap("large", Status.OOM, label=(1,), error="out of memory"),
]
ROWS_OF_ALL_KINDS = [
    Row("ü/2", "positive", Status.OK, {"ap": 0.1, "ar": None}, group="g", n_questions=3, n_units=5, answered=True),
    Row("ü/2", "absolute", Status.OK, {"ap": 1 / 3}, group="g", n_positive=1.333333, target_logprob=-0.1),
    Row("large", "positive", Status.OOM, {"ap": None, "ar": None}, error="out of memory", peak_bytes=2**40),
]


def cell_in(results: Path, variant: str = "shifted", device: str = "cpu", **identity: object) -> Cell:
    cell = Cell(results, replace(IDENTITY, **identity), variant)
    cell.create({"device": device})
    return cell


def filled(results: Path, **changes: object) -> Cell:
    with cell_in(results, **changes) as cell:
        for stored in MAPS_OF_ALL_KINDS:
            cell.append_map(stored)
        cell.append_rows(ROWS_OF_ALL_KINDS)
    return cell


def contents(results: Path) -> dict[str, tuple]:
    """Everything that a folder holds, scores as the float32 values that they name."""
    return {
        cell.identity.fingerprint: (
            cell.identity,
            cell.variant,
            cell.manifest["created"],
            {uid: as_float32(stored) for uid, stored in cell.maps().items()},
            cell.rows(),
        )
        for cell in cells(results)
    }


def as_float32(stored: StoredMap) -> tuple:
    per_target = None if stored.per_target is None else np.float32(stored.per_target).tobytes()
    return np.float32(stored.scores).tobytes(), per_target, replace(stored, scores=(), per_target=None)


def test_what_was_compacted_reads_as_before_and_its_lines_are_gone(tmp_path):
    filled(tmp_path)
    filled(tmp_path, method="chefer", variant="default", method_options={})
    before = contents(tmp_path)
    done = compact(tmp_path)
    assert (done.cells, done.maps, done.rows, done.in_use) == (2, 10, 6, ())
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([CELLS, MAPS, ROWS])
    assert contents(tmp_path) == before


def test_a_run_goes_on_in_a_compacted_folder_and_compacting_again_keeps_both(tmp_path):
    filled(tmp_path)
    compact(tmp_path)
    later = replace(MAPS_OF_ALL_KINDS[-1], status=Status.OK, scores=(1.0,), error=None)
    with cell_in(tmp_path, device="cuda") as cell:
        cell.append_map(later)
    for _ in range(2):
        (found,) = cells(tmp_path)
        maps = found.maps()
        assert maps["large"].status is Status.OK
        assert len(maps) == len(MAPS_OF_ALL_KINDS)
        devices = {uid: found.environments()[stored.environment]["device"] for uid, stored in maps.items()}
        assert devices == {**dict.fromkeys(maps, "cpu"), "large": "cuda"}
        compact(tmp_path)


def test_a_cell_that_is_being_written_to_is_left_as_it_is(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_map(WORDS)
        assert compact(tmp_path).in_use == (cell.folder,)
        cell.append_map(replace(WORDS, uid="next"))
    assert set(cells(tmp_path)[0].maps()) == {"ü/2", "next"}
    assert compact(tmp_path).in_use == ()
    assert set(cells(tmp_path)[0].maps()) == {"ü/2", "next"}


def test_a_run_that_has_not_written_yet_survives_a_compaction(tmp_path):
    filled(tmp_path)
    with cell_in(tmp_path) as cell:
        compact(tmp_path)
        cell.append_map(replace(WORDS, uid="next"))
    assert "next" in cells(tmp_path)[0].maps()


def test_a_part_file_is_locked_before_a_compaction_can_see_it(tmp_path, monkeypatch):
    seen = []
    flock = jsonl.fcntl.flock
    with cell_in(tmp_path) as cell, monkeypatch.context() as patch:
        patch.setattr(jsonl.fcntl, "flock", lambda *lock: (seen.append(part_files(cell.folder, "maps")), flock(*lock)))
        cell.append_map(WORDS)
    assert seen == [[]]


def test_what_was_compacted_after_a_cell_was_made_is_found_in_it(tmp_path):
    early = Cell(tmp_path, IDENTITY, "shifted")
    filled(tmp_path)
    before = early.maps()
    compact(tmp_path)
    assert early.maps().keys() == before.keys() == {stored.uid for stored in MAPS_OF_ALL_KINDS}


def test_a_part_file_that_was_compacted_since_it_was_listed_holds_nothing_any_more(tmp_path):
    assert read_part(tmp_path / "maps-1.jsonl", StoredMap.from_json) == (None, [])


@pytest.mark.parametrize("stop", range(8))
def test_a_compaction_that_is_killed_loses_and_doubles_nothing(tmp_path, monkeypatch, stop):
    """Stopped at each of its changes on disk: three files replaced, two part files, a manifest and folders removed."""
    filled(tmp_path)
    compact(tmp_path)
    filled(tmp_path, seed=1)
    before = contents(tmp_path)
    changes = 0

    def counted(change):
        def run(*arguments, **options):
            nonlocal changes
            if changes == stop:
                raise KeyboardInterrupt
            changes += 1
            return change(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path)
    assert contents(tmp_path) == before
    compact(tmp_path)
    assert contents(tmp_path) == before


LOOP = """
import sys
from pathlib import Path
from atman_bench.evaluation.compaction import compact
print("ready", flush=True)
while True:
    compact(Path(sys.argv[1]))
    print("compacted", flush=True)
"""


def test_killed_processes_leave_whole_folders(tmp_path):
    for seed in range(20):
        filled(tmp_path, seed=seed)
    before = contents(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for delay in (0.005, 0.02, 0.05, 0.1):
        command = [sys.executable, "-c", LOOP, str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            child.stdout.readline()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
        assert contents(tmp_path) == before


def test_maps_can_be_dropped_and_rows_are_kept(tmp_path):
    filled(tmp_path)
    filled(tmp_path, variant="pixels", method="gradcam")
    lines = lines_in(tmp_path)
    compact(tmp_path, without_maps=["gradcam:pixels"])
    assert {cell.variant: len(cell.maps()) for cell in cells(tmp_path)} == {"shifted": 5, "pixels": 0}
    assert lines_in(tmp_path) == lines


def test_what_is_overwritten_is_forgotten_and_the_rest_is_not(tmp_path):
    cell = filled(tmp_path)
    other = filled(tmp_path, seed=1)
    compact(tmp_path)
    forget(tmp_path, [cell])
    assert list(contents(tmp_path)) == [other.identity.fingerprint]
    assert len(cells(tmp_path)[0].maps()) == len(MAPS_OF_ALL_KINDS)


@pytest.mark.parametrize(
    ("name", "content"), [(CELLS, "[]"), (CELLS, '{"schema": 2}'), (CELLS, "{"), (ROWS, "no parquet"), (MAPS, "")]
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, name, content):
    filled(tmp_path)
    compact(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(StoreError, match=name):
        contents(tmp_path)


def test_two_compactions_at_once_are_refused(tmp_path):
    filled(tmp_path)
    with compaction.exclusive(tmp_path / ".compacting"), pytest.raises(StoreError, match="another process"):
        compact(tmp_path)


def test_compacted_results_weigh_a_fraction(tmp_path):
    rng = np.random.default_rng(0)
    with cell_in(tmp_path) as cell:
        for i in range(50):
            scores = float32_list(rng.normal(size=300))
            cell.append_map(
                replace(MAPS_OF_ALL_KINDS[1], uid=f"q{i}", scores=scores, per_target=(scores,), label=(0,) * 300)
            )
            cell.append_rows([replace(ROWS_OF_ALL_KINDS[0], uid=f"q{i}")])
    done = compact(tmp_path)
    # 60 of the 386 KB are random float32 scores, which nothing compresses.
    assert done.bytes_after < done.bytes_before / 4
