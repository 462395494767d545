"""What the README's commands are taken to be, and what they are run in."""

import os
import sys
from pathlib import Path

import readme_commands
from readme_commands import Command, commands_of, newcomers_environment, run

PAGE = """
```sh
make eval    # installs
atman-bench explain -p "a # b" \\
--html map.html   # a page
```
```python
print("atman-bench is no command here")
```
```json
{"data": []}
```
```sh
atman-bench eval --data mine.json
```
"""


def test_commands_are_the_lines_of_shell_blocks_with_the_files_that_they_read():
    make, explain, evaluate = commands_of(PAGE)
    assert (make.line, make.for_checkout) == ("make eval", True)
    assert explain == Command('atman-bench explain -p "a # b"  --html map.html', {})
    assert evaluate == Command("atman-bench eval --data mine.json", {"mine.json": '{"data": []}\n'})


def test_the_readme_has_commands_and_the_data_that_they_name():
    found = list(commands_of((readme_commands.ROOT / "README.md").read_text(encoding="utf-8")))
    assert found[0].line == "make eval"
    assert any(command.line.startswith("atman-bench explain") for command in found)
    assert [command.files.keys() for command in found if "--data mine.json" in command.line] == [{"mine.json"}]


def test_nothing_of_the_developers_environment_is_left(monkeypatch, tmp_path):
    for name in ("PYTHONPATH", "HF_HUB_OFFLINE", "ATMAN_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "developer's")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}/usr/bin")
    environment = newcomers_environment(tmp_path / "venv", tmp_path / "cache")
    assert "developer's" not in environment.values()
    assert environment["PATH"] == f"{tmp_path / 'venv' / 'bin'}{os.pathsep}/usr/bin"
    assert environment["XDG_CACHE_HOME"] == str(tmp_path / "cache")


def test_a_command_that_fails_says_its_last_line(tmp_path, capfd):
    path = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    ended = run("python -c \"import sys; print('out'); sys.exit('error: too bad')\"", tmp_path, path)
    assert (ended.code, ended.last) == (1, "error: too bad")
    assert capfd.readouterr().err == "out\nerror: too bad\n"
    assert run("python -c pass", tmp_path, path).last == ""
