"""What people expect of a command line, for every command there is."""

import re
import shlex
import subprocess
import sys
from collections import defaultdict

import pytest
from test_architecture import modules_after
from typer.core import TyperGroup
from typer.main import get_command

from atman_bench.cli.app import app, main

ROOT = get_command(app)


def commands(group: TyperGroup = ROOT, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= commands(command, (*prefix, name))
        else:
            found[*prefix, name] = command
    return found


COMMANDS = commands()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_without_arguments_help_is_shown_and_nothing_has_failed(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "explain" in out


def test_the_version_is_printed(run):
    code, out, _ = run("--version")
    assert code == 0
    assert re.match(r"atman-bench \S", out)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_short_help_with_examples(run, command):
    code, out, _ = run(*command, "-h")
    assert code == 0
    assert f"atman-bench {' '.join(command)}" in out.partition("Examples:")[2]
    for option in ("--quiet", "--verbose", "--include"):
        assert option in out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_examples_name_options_that_exist(command):
    for line in COMMANDS[command].epilog.split("\n\n")[1:]:
        words = shlex.split(line.partition(" > ")[0])
        assert tuple(words[: len(command) + 1]) == ("atman-bench", *command)
        COMMANDS[command].make_parser(COMMANDS[command].context_class(COMMANDS[command])).parse_args(
            words[len(command) + 1 :]
        )


def test_a_short_option_means_the_same_everywhere():
    meanings = defaultdict(set)
    for command in COMMANDS.values():
        for parameter in command.params:
            short = [name for name in parameter.opts if re.fullmatch("-[a-z]", name)]
            for name in short:
                meanings[name].add(next(name for name in parameter.opts if name.startswith("--")))
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


def test_list_names_everything_and_loads_no_model_code():
    code = "import sys\nsys.argv = ['atman-bench', 'list', 'methods']\nfrom atman_bench.cli.app import main\n"
    loaded = modules_after(code + "try: main()\nexcept SystemExit: pass")
    assert not loaded & {"torch", "transformers", "pandas", "matplotlib"}


def test_list_shows_all_kinds_then_one_then_an_entry(run):
    out = run("list")[1]
    assert all(kind in out for kind in ("methods", "datasets", "models", "metrics", "experiments"))
    assert "kappa" not in out
    assert "integrated_gradients" in out
    out = run("list", "methods", "atman", "lime")[1]
    assert "kappa" in out
    assert "n_samples" in out
    assert "chefer" not in out
    assert "did you mean 'atman'" in run("list", "methods", "atmann")[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny-txt", "unknown model 'tiny-txt': did you mean 'tiny-text'"),
        ("./nowhere", "no such folder"),
        ("nobody/no-such-model", "HF_HUB_OFFLINE"),
        ("hff:x", "unknown model 'hff'"),
        ("gpt2", "or a hub id (OWNER/NAME)"),
    ],
)
def test_a_wrong_model_is_refused_before_torch_is_loaded(name, said):
    code = (
        "import os, sys\nos.environ['HF_HUB_OFFLINE'] = '1'\n"
        f"sys.argv = ['atman-bench', 'explain', '-m', {name!r}]\n"
        "from atman_bench.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said in done.stderr
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["explain -i no.png", "docqa --document no.txt --question x", "sanity tiny-txt"])
def test_what_does_not_exist_is_refused_before_torch_is_loaded(command):
    code = (
        f"import sys\nsys.argv = ['atman-bench', *{command.split()!r}]\n"
        "from atman_bench.cli.app import main\ntry: main()\nexcept SystemExit as ended: print(ended.code)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert len(done.stderr.splitlines()) == 1


def test_the_package_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "atman_bench", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("atman-bench ")


def test_quiet_takes_progress_and_remarks_and_leaves_the_answer(run):
    code, out, err = run("explain", "-q", "--json", "-")
    assert (code, err) == (0, "")
    assert out.startswith("{")


@pytest.mark.parametrize("setting", ["f=0.5", "methods.atman.f=0.5"])
def test_both_ways_of_writing_an_option_work_everywhere(run, setting):
    code, out, _ = run("explain", "--set", setting, "-q")
    assert code == 0
    assert "f0.5" in out
    limits = ("--limit", "2", "--device", "cpu", "--no-baselines")
    code, out, _ = run("eval", "--methods", "atman", "--set", setting, *limits)
    assert code == 0
    assert "f0.5" in out


def test_an_option_that_no_method_has_is_named(run):
    for command in (["explain", "--method", "atman,attention"], ["eval", "--methods", "atman,attention"]):
        code, _, err = run(*command, "--set", "kapa=0.5")
        assert code == 2
        assert "did you mean 'kappa'" in err


def test_methods_keep_the_baselines_unless_told_otherwise(run):
    out = run("eval", "--methods", "attention", "--limit", "2")[1]
    assert "random" in out
    assert "too few for an interval" in " ".join(out.split())
    assert "The model itself gives the target of" in " ".join(out.split())
    assert "glossary" in out
    out = run("eval", "--methods", "attention", "--limit", "2", "--no-baselines")[1]
    assert "random" not in out
