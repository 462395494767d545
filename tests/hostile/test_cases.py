"""Every case ends in an exit code that is meant, in one line at the most, in 20 seconds, and never in a traceback."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import worlds
from case import EVAL, Case
from cases import CASES

from atman_bench.cli.app import main

SECONDS = 20


class TooLongError(BaseException):
    """No error of a sample, which a run would survive."""


def end_of(arguments: list[str]) -> int:
    """The exit code of the command line; anything but an end that it chose passes through."""
    sys.argv = ["atman-bench", *arguments]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("the command line did not end itself")


@pytest.fixture(scope="module")
def world(tmp_path_factory, monkeymodule) -> Path:
    """What every case finds in its folder."""
    folder = tmp_path_factory.mktemp("world")
    monkeymodule.chdir(folder)
    worlds.write_data(folder / "data")
    assert end_of(f"{EVAL} -r results".split()) == 0
    assert end_of([*["accuracy", "-q", "-r", "answers", "--max-new-tokens", "1"], "--limit=1"]) == 0
    shutil.copytree(folder / "results", folder / "packed")
    worlds.compacted(folder / "packed")
    worlds.write_sections(folder / "sections")
    worlds.write_scale(folder / "scale")
    return folder


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        yield patch


@pytest.fixture
def too_long():
    """Fails what takes longer than a user should wait for an answer."""

    def stop(*_: object) -> None:
        raise TooLongError(f"no answer after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _place(folder: Path, name: str) -> Path:
    """A file of the world; ``@`` marks the stem of one whose whole name nobody knows before."""
    if not name.startswith("@"):
        return folder / name
    kept, _, stem = name[1:].partition("/")
    if "." in stem:
        return folder / kept / ("experiments" if kept == "sections" else "") / stem
    (found,) = (folder / kept).rglob(f"{stem}*.json*")
    return found


def _put(path: Path, content: bytes | str | tuple[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if isinstance(content, tuple):
        path.symlink_to(*content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.encode("unicode_escape").decode()[:100])
def test_hostile_input(case: Case, world, tmp_path, monkeypatch, capfd, too_long):
    shutil.copytree(world, tmp_path, dirs_exist_ok=True, copy_function=_link)
    for name, content in case.files.items():
        _put(_place(tmp_path, name), content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setattr(sys, "argv", [])
    code = end_of(case.arguments)
    out, err = capfd.readouterr()
    assert code == case.code, (code, out[-500:], err)
    assert err.count("\n") <= 1
    assert case.said in (err if code else out)
    assert case.never not in out + err
    if code:
        assert err.startswith("error: ")


def _link(source: str, target: str) -> None:
    """Copy by a hard link: cases replace files, and never write into them."""
    Path(target).hardlink_to(source)


def test_there_are_enough_cases():
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
