"""Several processes on one results folder, and Ctrl-C at a bad moment: nothing is lost, doubled or left unsaid."""

import sys
from types import SimpleNamespace

import pytest

from atman_bench.cli import app
from atman_bench.cli import eval as eval_command
from atman_bench.core.errors import StoreError
from atman_bench.core.records import Row, Status
from atman_bench.evaluation.answer_store import Answer, AnswerCell, Quiz
from atman_bench.evaluation.compaction import compact
from atman_bench.evaluation.store import Cell, cells
from atman_bench.evaluation.stored import Identity, StoredMap

IDENTITY = Identity("facts", {}, "0", "tiny-text", "0", "float32", "uniform", 1, {}, None)


def _write(cell: Cell, uid: str) -> None:
    cell.append_map(StoredMap(uid, Status.OK, (0.5, 0.25), ((0.5, 0.25),), (1, 0), target_logprobs=(-1.0,)))
    cell.append_rows([Row(uid, "positive", Status.OK, {"auprc": 1.0})])


def _found(results) -> tuple[list[str], list[str]]:
    (cell,) = cells(results)
    return sorted(cell.maps()), sorted(row.uid for row in cell.rows())


def test_two_runs_of_the_same_cell_lose_and_double_nothing(tmp_path):
    first, second = Cell(tmp_path, IDENTITY, "default"), Cell(tmp_path, IDENTITY, "default")
    first.create({})
    second.create({})
    with first, second:
        for uid in "abc":
            _write(first, uid)
        for uid in "bcd":
            _write(second, uid)
    assert _found(tmp_path) == (list("abcd"), list("abcd"))


def test_compaction_beside_a_run_loses_and_doubles_nothing(tmp_path):
    with Cell(tmp_path, IDENTITY, "default") as done:
        done.create({})
        _write(done, "a")
    with Cell(tmp_path, IDENTITY, "default") as running:
        _write(running, "b")
        compact(tmp_path)
        _write(running, "c")
    assert _found(tmp_path) == (list("abc"), list("abc"))
    compact(tmp_path)
    assert _found(tmp_path) == (list("abc"), list("abc"))


def test_overwrite_does_not_remove_what_another_run_is_writing(tmp_path):
    running = Cell(tmp_path, IDENTITY, "default")
    running.create({})
    with running:
        _write(running, "a")
        with pytest.raises(StoreError, match="is being written to by another run"):
            Cell(tmp_path, IDENTITY, "default").clear()
    assert _found(tmp_path) == (["a"], ["a"])


def test_two_runs_of_one_quiz_give_one_answer_to_each_question(tmp_path):
    quiz = Quiz("facts", {}, "0", "tiny-text", "0", "float32", 0, None, 1, 1)
    cell = AnswerCell(tmp_path, quiz, "facts", ())
    with cell.writer() as first, cell.writer() as second:
        for writer in (first, second):
            writer.append(Answer("a", Status.OK, "Bern", ("Bern",), "g"))
        with pytest.raises(StoreError, match="is being written to by another run"):
            cell.clear()
    assert [answer.uid for answer in cell.answers()] == ["a"]


@pytest.mark.parametrize("place", ["the report", "loading"])
def test_ctrl_c_outside_of_the_loop_says_what_is_stored(place, monkeypatch, tmp_path, capsys):
    from atman_bench.evaluation import runner

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if place == "the report":
        monkeypatch.setattr(eval_command, "_report", interrupted)
        finished = SimpleNamespace(n_computed=1, reused=0, interrupted=False)
        monkeypatch.setattr(runner, "evaluate", lambda *_, **__: finished)
    else:
        monkeypatch.setattr(runner, "evaluate", interrupted)
    monkeypatch.setattr(sys, "argv", ["atman-bench", "eval", "-q", "-r", str(tmp_path / "results")])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"is stored in {tmp_path / 'results'}" in err
