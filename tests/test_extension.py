"""A metric, a method and a figure are one file each: nothing else names them."""

import sys
from pathlib import Path

import pytest

from atman_bench.cli.app import main
from atman_bench.core import plugins

FILES = {
    "spread.py": """
from atman_bench.metrics._base import MetricSpec

SPEC = MetricSpec("share of the units with a positive score", False, lambda x, y: float((x > 0).mean()), "spread")
""",
    "first_unit.py": """
from dataclasses import dataclass

import torch

from atman_bench.core.tensors import Attribution
from atman_bench.methods._base import MethodSpec


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


def explain(model, encoded, config, seed):
    return Attribution(torch.eye(1, len(encoded.units))[0])


SPEC = MethodSpec("the first unit", 1, Config, explain, lambda n_units, n_targets, config: 0)
""",
    "nothing.py": """
from matplotlib.figure import Figure

from atman_bench.report.figures._base import FigureSpec


def plot(frame):
    assert set(frame["method"]) == {"uniform", "first_unit"}
    return Figure()


SPEC = FigureSpec("nothing", metrics=("spread",), plot=plot)
""",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    plugins.forget()
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, source in FILES.items():
        (folder / name).write_text(source)
    yield folder
    plugins.forget()


def test_one_file_each_is_seen_in_the_table_and_drawn(monkeypatch, tmp_path, capsys, folder):
    out = tmp_path / "results"
    arguments = ["eval", "--include", str(folder), "--methods", "uniform,first_unit", "--no-baselines", "--limit", "3"]
    arguments += ["--device", "cpu", "-q", "--figure-format", "svg,png", "-r", str(out)]
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    header, _, *lines = (line for line in (out / "table.md").read_text().splitlines() if line.startswith("|"))
    place = [cell.strip() for cell in header.split("|")].index("spread")
    shown = {cells[1].strip(): float(cells[place]) for cells in (line.split("|") for line in lines)}
    assert shown["*uniform* (floor)"] == 100
    assert 0 < shown["first\\_unit"] < 100
    assert {path.name for path in (out / "figures").glob("nothing*")} == {"nothing.png", "nothing.svg"}
