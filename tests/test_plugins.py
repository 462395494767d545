"""Methods, metrics and figures from outside the package: included files, installed packages, Python code."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import atman_bench
from atman_bench.cli.app import main
from atman_bench.core import plugins
from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.records import Modality
from atman_bench.evaluation.config import default_methods
from atman_bench.evaluation.stored import Identity, digest_of
from atman_bench.methods import METHODS
from atman_bench.methods._base import Contrast
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import METRICS
from atman_bench.report.tables import metrics_in_order

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"

METHOD = """
from dataclasses import dataclass


from atman_bench import Attribution, MethodSpec


@dataclass(frozen=True)
class Config:
    pass


def explain(model, encoded, config, seed):
    return Attribution(torch.{values}(len(encoded.units)))


SPEC = MethodSpec("one file", 1, Config, explain, lambda n_units, n_targets, config: 0)
"""

METRIC = """
from atman_bench import MetricSpec

SPEC = MetricSpec("a constant", True, lambda x, y: {value}, "constant")
"""

IDENTITY = Identity("facts", {}, "d", "tiny-text", "m", "float32", "atman", 1, {}, None)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    plugins.forget()
    yield
    plugins.forget()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mine.py").write_text(METHOD.format(values="ones"))
    (tmp_path / "constant.py").write_text(METRIC.format(value="0.5"))
    return tmp_path


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), *capsys.readouterr()


def test_a_file_is_a_method_under_its_name(folder):
    assert "mine" not in METHODS
    atman_bench.include([folder / "mine.py"])
    assert "mine" in METHODS.names
    assert METHODS.get("mine").summary == "one file"
    assert "constant" not in METRICS


def test_a_folder_is_all_its_files_and_they_import_each_other(tmp_path):
    (tmp_path / "_shared.py").write_text("VALUE = 0.25")
    text = METRIC.replace("{value}", "VALUE")
    (tmp_path / "shared_constant.py").write_text(f"from ._shared import VALUE\n{text}")
    (tmp_path / "test_mine.py").write_text("raise RuntimeError('tests are not included')")
    atman_bench.include([tmp_path])
    assert METRICS.get("shared_constant").function(None, None) == 0.25
    assert "shared_constant" in metrics_in_order()


def test_what_is_broken_is_named_and_leaves_the_others(folder, caplog):
    (folder / "broken.py").write_text("import no_such_module")
    (folder / "empty.py").write_text("x = 1")
    with caplog.at_level(logging.WARNING):
        atman_bench.include([folder])
    assert "broken.py cannot be included: ModuleNotFoundError" in caplog.text
    assert "empty.py cannot be included: it defines no SPEC" in caplog.text
    assert "mine" in METHODS
    with pytest.raises(UnknownNameError, match="unknown method 'broken'"):
        METHODS.get("broken")


def test_a_name_that_is_taken_stays_with_who_has_it(tmp_path, caplog):
    own = METHODS.get("atman")
    (tmp_path / "atman.py").write_text(METHOD.format(values="ones"))
    with caplog.at_level(logging.WARNING):
        atman_bench.include([tmp_path / "atman.py"])
        assert METHODS.get("atman") is own
    assert "'atman' is already the name of one of atman-bench itself" in caplog.text


FLOOR = METHOD.replace("MethodSpec", "FloorSpec").replace(", lambda n_units, n_targets, config: 0", "")


def test_a_floor_is_a_file_that_defines_a_floor_spec(tmp_path):
    (tmp_path / "flat.py").write_text(FLOOR.format(values="ones"))
    atman_bench.include([tmp_path / "flat.py"])
    assert "flat" in FLOORS
    spec = METHODS.get("flat")
    assert (spec.forwards(10, 3, spec.config()), spec.contrast) == (0, Contrast.SPAN)
    assert str(tmp_path / "flat.py") in METHODS.plugin("flat").source  # what fingerprints ask for
    assert "flat" in default_methods(Modality.TEXT)


def test_a_floor_can_be_registered():
    atman_bench.register(replace(FLOORS.get("uniform"), summary="of a notebook"), "flat")
    assert FLOORS.get("flat").summary == "of a notebook"


def test_entry_points_of_floors_have_a_group_of_their_own(monkeypatch):
    entry = EntryPoint("installed_floor", "atman_bench.methods.floors.uniform", "atman_bench.floors")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == entry.group else [])
    assert METHODS.get("installed-floor") is FLOORS.get("uniform")


def test_a_floor_takes_no_methods_name(tmp_path, caplog):
    (tmp_path / "atman.py").write_text(FLOOR.format(values="ones"))
    with caplog.at_level(logging.WARNING):
        atman_bench.include([tmp_path / "atman.py"])
        assert "atman" not in FLOORS
        assert METHODS.get("atman").forwards(10, 3, METHODS.get("atman").config()) > 0
    assert "'atman' is already the name of one of atman-bench itself" in caplog.text


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no such Python file or folder"):
        atman_bench.include([tmp_path / "nowhere.py"])


def test_processes_that_are_started_include_the_same(folder):
    atman_bench.include([folder / "constant.py"])
    code = "from atman_bench.metrics import METRICS; print(METRICS.get('constant').summary)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "a constant"


def test_registering_again_replaces_and_other_things_are_refused():
    first = replace(METRICS.get("pointing_game"), summary="first")
    atman_bench.register(first, "of_a_notebook")
    assert METRICS.get("of_a_notebook").summary == "first"
    atman_bench.register(replace(first, summary="second"), "of-a-notebook")
    assert METRICS.get("of_a_notebook").summary == "second"
    with pytest.raises(ConfigError, match="received int"):
        atman_bench.register(3)
    with pytest.raises(ConfigError, match="needs a name"):
        atman_bench.register(first, "not a name")


@dataclass
class Distribution:
    name: str = "package"
    version: str = "1.0"


@dataclass
class Entry:
    """An entry point of an installed package."""

    name: str
    module: str
    found: object
    dist: Distribution

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_a_broken_package_is_named_and_runs_go_on(monkeypatch, caplog):
    entries = {
        plugins.Group.METRICS: [
            Entry("broken", "p.broken", ImportError("no such thing"), Distribution("bad", "0.1")),
            Entry("wrong-kind", "p.wrong", METHODS.get("atman"), Distribution()),
            Entry("good", "p.good", METRICS.get("pointing_game"), Distribution()),
        ]
    }
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries.get(group, []))
    plugins.forget()
    with caplog.at_level(logging.WARNING):
        found = metrics_in_order()
    assert "good" in found
    assert "broken" not in found
    assert "'broken' of package bad 0.1 cannot be used: ImportError: no such thing" in caplog.text
    assert "'wrong_kind' of package package 1.0 cannot be used: expected SPEC, a MetricSpec" in caplog.text
    with pytest.raises(ConfigError, match="no such thing"):
        METRICS.get("broken")


def test_only_maps_that_depend_on_a_plug_in_carry_its_version():
    fields = {name: value for name, value in asdict(IDENTITY).items() if name not in ("plugins", "units")}
    assert IDENTITY.fingerprint == digest_of(fields)  # as before there were plug-ins
    other = replace(IDENTITY, plugins={"method": "1.0 abc"})
    assert other.fingerprint != IDENTITY.fingerprint
    assert other.same_experiment(IDENTITY)
    assert not replace(IDENTITY, plugins={"dataset": "1"}).same_experiment(IDENTITY)


def test_the_content_of_a_file_is_its_version(folder):
    atman_bench.include([folder / "mine.py"])
    before = METHODS.plugin("mine").version()
    (folder / "mine.py").write_text(METHOD.format(values="zeros"))
    assert METHODS.plugin("mine").version() != before


def test_eval_runs_what_is_included_and_a_changed_file_is_another_cell(monkeypatch, capsys, folder):
    results = folder / "results"
    command = ("eval", "--include", str(folder), "--methods", "mine", "--limit", "2", "-r", str(results))
    code, out, err = run(monkeypatch, capsys, *command, "--metrics", "constant")
    assert (code, err) == (0, "")
    assert "mine" in out
    assert "uniform" in out  # baselines are added
    manifests = [json.loads(path.read_text()) for path in results.rglob("mine/*/manifest.json")]
    assert [list(manifest["identity"]["plugins"] or ()) for manifest in manifests] == [["method"]]


def test_a_metric_of_a_plug_in_is_never_read_from_old_rows(monkeypatch, capsys, tmp_path):
    results, results_json = tmp_path / "results", tmp_path / "results" / "results.json"
    command = ("eval", "-q", "--methods", "uniform", "--limit", "2", "-r", str(results), "--metrics", "constant")
    for value in (0.25, 0.75):
        folder = tmp_path / str(value).replace(".", "_")
        folder.mkdir()
        (folder / "constant.py").write_text(METRIC.format(value=value))
        plugins.forget()
        assert run(monkeypatch, capsys, *command, "--no-baselines", "--include", str(folder / "constant.py"))[0] == 0
        assert [record["mean"] for record in json.loads(results_json.read_text())] == [100 * value]


def test_list_says_where_a_method_is_from(monkeypatch, capsys, folder):
    _, out, _ = run(monkeypatch, capsys, "list", "methods", "mine", "--include", str(folder / "mine.py"))
    assert "one file [file" in out


@pytest.mark.slow
def test_the_example_package_is_found_once_it_is_installed(tmp_path):
    """Built and installed without a network, as a third party's would be; its own tests pass."""
    target = tmp_path / "installed"
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(root)])}
    command = [
        "eval",
        "--methods",
        "zero_out",
        "--no-baselines",
        "--metrics",
        "average_precision,top_three",
        "--limit",
        "3",
    ]
    arguments = [*command, "-r", str(tmp_path / "results"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "atman_bench.cli.app", *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr  # a slow run says on stderr how far it is
    assert "zero_out" in done.stdout
    assert "top3" in done.stdout
    (manifest,) = (tmp_path / "results").rglob("manifest.json")
    assert json.loads(manifest.read_text())["identity"]["plugins"]["method"].startswith("zero-out 0.1.0 ")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(source / "tests")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert tests.returncode == 0, tests.stdout
