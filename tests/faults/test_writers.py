"""Several processes on one folder at once: nothing is lost, and what is read is not doubled."""

import time

import pytest
from lines import lines_in
from runs import COMMANDS, Ended, stored

from atman_bench.core.jsonl import part_files
from atman_bench.evaluation.answer_store import answer_cells
from atman_bench.evaluation.compaction import compact
from atman_bench.evaluation.store import cells


@pytest.mark.parametrize("name", ["eval", "sweep", "reproduce"])
def test_two_writers_lose_and_double_nothing(nursery, whole, tmp_path, name):
    writers = [nursery.start(COMMANDS[name], tmp_path, delay=0.01) for _ in range(2)]
    assert [nursery.end(pid) for pid in writers] == [Ended(0, "")] * 2
    assert {place: set(lines) for place, lines in stored(tmp_path).items()} == {
        place: set(lines) for place, lines in stored(whole(name)).items()
    }
    assert sorted(lines_in(tmp_path), key=str) == sorted(lines_in(whole(name)), key=str)


def test_two_askers_lose_and_double_nothing(nursery, whole, tmp_path):
    askers = [nursery.start(COMMANDS["accuracy"], tmp_path, delay=0.01) for _ in range(2)]
    assert [nursery.end(pid) for pid in askers] == [Ended(0, "")] * 2
    (found,), (expected,) = answer_cells(tmp_path), answer_cells(whole("accuracy"))
    assert sorted(found.answers(), key=str) == sorted(expected.answers(), key=str)


def test_a_folder_that_is_compacted_all_the_time_keeps_what_two_writers_store(nursery, whole, tmp_path):
    results = tmp_path / "results"
    writers = [nursery.start(COMMANDS["sweep"], results, delay=0.02) for _ in range(2)]
    while not list(results.rglob("*.jsonl")):
        time.sleep(0.01)
    while any(part_files(cell.folder, "maps", "rows") for cell in cells(results)):
        compact(results)
    assert [nursery.end(pid) for pid in writers] == [Ended(0, "")] * 2
    assert sorted(lines_in(results), key=str) == sorted(lines_in(whole("sweep")), key=str)
