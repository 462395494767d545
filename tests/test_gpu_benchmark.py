"""``benchmarks/gpu.py`` on small models: every line of its table is filled, and what it scales is scaled right."""

import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import _gpu_cells as cells  # noqa: E402
import gpu as bench  # noqa: E402

sys.path.remove(str(BENCHMARKS))

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Of a run in seconds."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    bench.main(["--tiny", "--seconds", "600", "--repeats", "1", "--output", str(path)])
    return json.loads(path.read_text())


def test_every_cell_is_measured_on_every_model_and_length(record: dict):
    rows = record["rows"]
    assert [row["cell"] for row in rows] == [cell.name for cell in cells.CELLS] * 4
    assert {(row["status"], row["reason"]) for row in rows} == {("ok", None)}
    assert all(row["seconds"] > 0 for row in rows)


def test_passes_are_those_of_the_methods(record: dict):
    passes = {row["cell"]: row["passes"] for row in record["rows"] if row["tokens"] == 32}
    assert passes["plain, default"] == passes["plain, lean"] == passes["Chefer, minimal"] == 1
    assert passes["AtMan lean"] == passes["AtMan naive"] == 1 + 32
    assert passes["AtMan fast"] == passes["AtMan fast, attention in blocks"] < 1 + 32
    assert passes["integrated gradients"] == 10


def test_a_sample_of_units_is_runs_of_neighbours_spread_over_the_input():
    units = bench.units_in(1024, share=2.0, plain=0.01)  # time for 100 suppressions
    assert len(units) == 96 == 6 * bench.RUN
    assert units == sorted(set(units))
    assert 0 <= units[0] < units[-1] < 1024
    assert sum(units) / len(units) == pytest.approx(1023 / 2, abs=2)
    assert bench.units_in(64, share=10.0, plain=0.01) == list(range(64))


def test_without_time_rows_say_so():
    box = bench.Bench(torch.device("cpu"), 0, 1)
    assert box.left <= 0
    rows = list(bench.measure(cells.TINY[:1], (32,), box))
    assert {(row.status, row.reason) for row in rows} == {("left out", "the time was used up")}


def test_a_cell_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch):
    whole = bench.function_of

    def failing(cell, model, encoded):
        if cell.method == "chefer":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate")
        return whole(cell, model, encoded)

    monkeypatch.setattr(bench, "function_of", failing)
    rows = list(bench.measure(cells.TINY[:1], (32,), bench.Bench(torch.device("cpu"), 600, 1)))
    assert [row.status for row in rows].count("oom") == 2
    assert [row.status for row in rows].count("ok") == len(cells.CELLS) - 2


def test_the_papers_readings_stand_beside_its_own_model_only():
    shape = cells.SHAPES[0]
    assert shape.paper == "random:6.0B"
    readings = {cell.name: bench.paper_reading(shape.paper, *cell.paper, 1024) for cell in cells.CELLS if cell.paper}
    assert {name: reading.seconds for name, reading in readings.items()} == {
        "plain, default": 0.047,
        "AtMan fast": 159.5,
        "Chefer, full": 0.457,
    }
    assert cells.SHAPES[1].paper is None


def test_goals_are_said_where_they_were_measured():
    def row(cell: str, seconds: float, peak: int) -> bench.Row:
        return bench.Row("GPT-J-6B", "float16", 1024, cell, "ok", seconds=seconds, peak_bytes=peak)

    rows = [row("AtMan fast", 12.0, 20), row("plain, default", 0.05, 10), row("AtMan lean", 30.0, 12)]
    assert bench.goals(rows) == [
        "goal met: 1,024 suppressions in 12.0 s, at most 15 s",
        "goal missed: peak of lean 1.20 x a plain pass, at most 1.10 x",
    ]
    assert bench.goals([]) == []


def test_without_a_gpu_large_models_are_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit, match="need a GPU"):
        bench.main(["--device", "cpu"])
