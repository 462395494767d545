"""A wheel, installed outside the repository, is whole; its description has no link that a package index breaks."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import atman_bench

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ["atman_bench", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE"]

COMMANDS = {
    "eval": "eval --limit 3",
    "eval small": "eval --config small --dry-run --model tiny-text --data squad.json",
    "eval small without data": "eval --config small --dry-run",
    "sweep": "sweep -c sweep-forms --dry-run",
    "scale": "scale -c tiny --dry-run",
    "reproduce": "reproduce all --preset paper --dry-run",
}

CONTEXT, ANSWER = "Oslo is in Norway.", {"text": "Norway", "answer_start": 11}
PARAGRAPH = {"context": CONTEXT, "qas": [{"id": "1", "question": "Where is Oslo?", "answers": [ANSWER]}]}
SQUAD = {"version": "1.1", "data": [{"title": "Norway", "paragraphs": [PARAGRAPH]}]}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy: setuptools would take over what earlier builds left in ``build/``."""
    tree, built = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree)
    pip("wheel", tree, "--no-deps", "--no-build-isolation", "--wheel-dir", built)
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def outputs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each of ``COMMANDS`` prints where the wheel is installed, and ``where``: its file and version."""
    venv, folder = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    pip("--python", scripts / "python", "install", "--no-index", "--no-deps", wheel)
    # The dependencies are those of the running interpreter. Its own .pth files, an editable atman-bench among them, are
    # not read again.
    site_packages = sysconfig.get_path("purelib", vars={"base": str(venv)})
    (Path(site_packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "squad.json").write_text(json.dumps(SQUAD))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_HOME", "HF_DATASETS_CACHE")}
    # One thread each: two processes with two threads on two cores wait for each other.
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "COLUMNS": "200"}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    where = "import atman_bench; print(atman_bench.__file__); print(atman_bench.__version__)"
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = {name: pool.submit(run, scripts / "atman-bench", *line.split()) for name, line in COMMANDS.items()}
    return {"where": run(scripts / "python", "-c", where)} | {name: job.result() for name, job in runs.items()}


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_wheel_holds_every_file_of_the_package_and_every_preset(wheel: Path):
    package = [path.relative_to(ROOT) for path in (ROOT / "atman_bench").rglob("*") if "__pycache__" not in path.parts]
    presets = [Path("atman_bench") / path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")]
    wanted = {path.as_posix() for path in package if (ROOT / path).is_file()} | {path.as_posix() for path in presets}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert {"atman_bench/py.typed", "atman_bench/configs/small.yaml", "atman_bench/configs/scale/tiny.yaml"} < held


def test_the_version_is_the_projects():
    assert atman_bench.__version__ == PROJECT["version"]


@pytest.mark.slow
class TestInstalled:
    def test_it_is_the_installed_copy_that_runs(self, outputs):
        file, version = outputs["where"].stdout.split("\n")[:2]
        assert ROOT not in Path(file).parents
        assert "dependencies.pth" in [path.name for path in Path(file).parents[1].iterdir()]
        assert version == PROJECT["version"]

    @pytest.mark.parametrize(
        ("command", "printed"),
        [
            ("eval", ["facts · tiny-text", "atman:shifted", "3 samples"]),
            ("eval small", ["What would run", "input_x_gradient", "forward passes"]),
            ("sweep", ["shifted-kappa0.7", "literal", "log", "mask"]),
            ("scale", ["random:10M, atman:default, 512 tokens", "15 cells to measure"]),
            ("reproduce", ["gpt-j-6b", "table1a", "fig19"]),
        ],
    )
    def test_a_command_finds_its_preset_data_and_weights(self, outputs, command, printed):
        assert outputs[command].returncode == 0, outputs[command].stderr
        assert [text for text in printed if text not in outputs[command].stdout] == []

    def test_data_that_are_out_of_reach_are_named_in_one_line(self, outputs):
        result = outputs["eval small without data"]
        assert result.returncode == 2
        assert re.fullmatch(r"error: cannot load 'rajpurkar/squad'.*expected a SQuAD JSON file.*\n", result.stderr)


DESCRIPTION = (ROOT / PROJECT["readme"]).read_text()
DEFINITION = re.compile(r"^\[([^\]]+)\]: (\S+)$", flags=re.MULTILINE)
LABELS = dict(DEFINITION.findall(DESCRIPTION))
"""The addresses that the description's ``[label]`` links go to."""

PROSE = DEFINITION.sub("", re.sub(r"```.*?```", "", DESCRIPTION, flags=re.DOTALL))


def test_the_description_has_no_relative_link_or_image():
    inline = re.findall(r"\]\(([^)\s]+)", PROSE) + re.findall(r"(?:src|href)=[\"']([^\"']+)", PROSE)
    assert [target for target in (*inline, *LABELS.values()) if not target.startswith(("https://", "#"))] == []


def test_every_link_of_the_description_is_defined_and_used():
    linked = set(re.findall(r"\]\[([^\]]+)\]", PROSE))
    alone = set(re.findall(r"\[([^\[\]]+)\](?![(\[])", PROSE))
    assert linked | {label for label in alone if (ROOT / label).exists()} == set(LABELS)


def test_links_to_the_repository_lead_to_files_of_this_tree():
    repository = PROJECT["urls"]["Repository"]
    raw = repository.replace("github.com", "raw.githubusercontent.com")
    ours = re.findall(rf"(?:{re.escape(repository)}/blob|{re.escape(raw)})/main/([^)\s#]+)", DESCRIPTION)
    assert len(ours) >= 10
    assert [path for path in ours if not (ROOT / path).is_file()] == []
