"""Memory that really runs out: the sample's row says so, the others go on, and the next run fills the gap."""

import errno

import pytest
from lines import lines_in
from runs import COMMANDS, Ended, stored, written

from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.records import Status
from atman_bench.evaluation.answer_store import answer_cells

ALLOCATORS = ("torch", "python", "mmap")
"""Each reports in a way of its own that it found no memory."""


@pytest.mark.parametrize("name", ["eval", "sweep", "reproduce"])
def test_samples_without_memory_are_rows_of_their_own_and_are_tried_again(nursery, whole, tmp_path, name):
    results = tmp_path / "results"
    expected = lines_in(whole(name))
    uids = sorted({line.uid for line in expected})[: len(ALLOCATORS)]
    hungry = dict(zip(uids, ALLOCATORS, strict=True))
    assert nursery.run(COMMANDS[name], results, hungry=hungry) == Ended(0, "")
    found = lines_in(results)
    assert {line for line in found if line.uid not in uids} == {line for line in expected if line.uid not in uids}
    assert {(line.uid, line.status, line.value) for line in found if line.uid in uids} == {
        (uid, Status.OOM, None) for uid in uids
    }
    assert nursery.run(COMMANDS[name], results) == Ended(0, "")
    assert sorted(lines_in(results), key=str) == sorted(expected, key=str)
    assert written(results) == written(whole(name))


def test_questions_without_memory_are_answers_of_their_own_and_are_asked_again(nursery, whole, tmp_path):
    results = tmp_path / "results"
    (cell,) = answer_cells(whole("accuracy"))
    expected = {answer.uid: answer for answer in cell.answers()}
    (lines,) = stored(whole("accuracy")).values()
    assert len(lines) == len(expected)
    hungry = dict(zip(sorted(expected), ALLOCATORS, strict=False))
    assert nursery.run(COMMANDS["accuracy"], results, hungry=hungry) == Ended(0, "")
    (cell,) = answer_cells(results)
    found = {answer.uid: answer for answer in cell.answers()}
    assert {uid for uid, answer in found.items() if answer.status is Status.OOM} == set(hungry)
    assert all(found[uid] == expected[uid] for uid in expected.keys() - hungry.keys())
    assert nursery.run(COMMANDS["accuracy"], results) == Ended(0, "")
    assert {answer.uid: answer for answer in cell.answers()} == expected
    assert written(results) == written(whole("accuracy"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=str,
)
def test_what_libraries_say_when_memory_runs_out_is_known(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
