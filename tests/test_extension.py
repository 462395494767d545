"""A metric, a floor and a figure are one file each: nothing else names them."""

import sys
from pathlib import Path

import pytest

from atman_bench.cli.app import main
from atman_bench.core.registry import Registry
from atman_bench.methods import METHODS
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import METRICS
from atman_bench.report.figures import FIGURES

METRIC = """
from atman_bench.metrics._base import MetricSpec

SPEC = MetricSpec("share of the units with a positive score", False, lambda x, y: float((x > 0).mean()), "spread")
"""

FLOOR = """
from dataclasses import dataclass

import torch

from atman_bench.core.tensors import Attribution
from atman_bench.methods._base import MethodSpec


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


def explain(model, encoded, config, seed):
    return Attribution(torch.eye(1, len(encoded.units))[0])


SPEC = MethodSpec("Floor: the first unit", 1, Config, explain, lambda n_units, n_targets, config: 0)
"""

FIGURE = """
from matplotlib.figure import Figure

from atman_bench.report.figures._base import FigureSpec


def plot(frame):
    assert set(frame["method"]) == {"uniform", "first_unit"}
    return Figure()


SPEC = FigureSpec("nothing", metrics=("spread",), plot=plot)
"""


def add(monkeypatch: pytest.MonkeyPatch, folder: Path, registry: Registry, name: str, source: str) -> None:
    """Put one file into a package of its own whose entries are entries of a registry too."""
    package = folder / f"extra_{registry.kind}"
    package.mkdir()
    (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    names = registry.names
    monkeypatch.setattr(registry, "_parts", (*registry._parts, Registry(registry.kind, package.name, package)))
    monkeypatch.setitem(registry.__dict__, "names", tuple(sorted([*names, name])))


def test_one_file_each_is_seen_in_the_table_and_drawn(monkeypatch, tmp_path, capsys):
    methods = METHODS.names  # floors are methods: read before there is one more
    add(monkeypatch, tmp_path, METRICS, "spread", METRIC)
    add(monkeypatch, tmp_path, FLOORS, "first_unit", FLOOR)
    add(monkeypatch, tmp_path, FIGURES, "nothing", FIGURE)
    monkeypatch.setitem(METHODS.__dict__, "names", tuple(sorted([*methods, "first_unit"])))
    out = tmp_path / "results"
    arguments = ["eval", "--methods", "uniform,first_unit", "--limit", "3", "--device", "cpu", "-q"]
    arguments += ["--figure-format", "svg,png", "-r", str(out)]
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    header, _, *lines = (line for line in (out / "table.md").read_text().splitlines() if line.startswith("|"))
    place = [cell.strip() for cell in header.split("|")].index("spread")
    shown = {cells[1].strip(): float(cells[place]) for cells in (line.split("|") for line in lines)}
    assert shown["*uniform* (floor)"] == 100
    assert 0 < shown["*first\\_unit* (floor)"] < 100
    assert {path.name for path in (out / "figures").glob("nothing*")} == {"nothing.png", "nothing.svg"}
