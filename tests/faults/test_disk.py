"""Files that cannot grow and folders that vanish: one line says so, and the next run ends with all results."""

import shutil
import time

import pytest
from runs import COMMANDS, Ended, stored, written


@pytest.mark.parametrize("file_bytes", [0, 1_500])
@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_one_line_and_the_next_run_loses_and_doubles_nothing(nursery, whole, tmp_path, name, file_bytes):
    results = tmp_path / "results"
    ended = nursery.run(COMMANDS[name], results, file_bytes=file_bytes)
    assert ended.code == 2
    (line,) = ended.printed.splitlines()
    assert "cannot be written" in line
    assert str(results) in line
    assert "File too large" in line
    assert nursery.run(COMMANDS[name], results) == Ended(0, "")
    assert stored(results) == stored(whole(name))
    assert written(results) == written(whole(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_results_folder_that_vanishes_is_one_line_and_not_an_empty_table(nursery, whole, tmp_path, name):
    results = tmp_path / "results"
    pid = nursery.start(COMMANDS[name], results, delay=0.1)
    while not any(path.stat().st_size for path in results.rglob("*.jsonl")):
        time.sleep(0.01)
    shutil.rmtree(results)
    ended = nursery.end(pid)
    assert ended.code == 2
    (line,) = ended.printed.splitlines()
    assert "was removed" in line
    assert nursery.run(COMMANDS[name], results) == Ended(0, "")
    assert stored(results) == stored(whole(name))
