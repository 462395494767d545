"""How far a command is: a bar on a terminal, a line now and then in a log."""

from rich.console import Console

from atman_bench.cli import _runs
from atman_bench.core.progress import listening, tell


def test_a_log_gets_a_line_every_half_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(_runs.time, "monotonic", lambda: now[0])
    with _runs.ProgressBar(Console(force_terminal=False)) as bar:
        for step in range(1, 8):
            now[0] += 10
            bar(step, 10, "atman")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["3 of 10, about 1 min 10 s left: atman", "6 of 10, about 40 s left: atman"]


def test_quiet_logs_get_none(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(_runs.time, "monotonic", lambda: now[0])
    with _runs.ProgressBar(Console(force_terminal=False, quiet=True)) as bar:
        now[0] += 100
        bar(1, 10, "atman")
    assert capsys.readouterr().err == ""


def test_only_who_listens_is_told():
    told = []
    tell(1, 2, "nobody")
    with listening(lambda *what: told.append(what)):
        tell(1, 2, "somebody")
    tell(2, 2, "nobody")
    assert told == [(1, 2, "somebody")]
