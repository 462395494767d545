"""The leaderboard from a configuration to its page, on a few samples of the embedded model."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, StoreError, UnknownNameError
from atman_bench.core.options import PRESETS, read_yaml
from atman_bench.datasets import DATASETS
from atman_bench.evaluation import faithfulness, leaderboard, measuring, relative_costs
from atman_bench.evaluation.leaderboard import load_leaderboard
from atman_bench.evaluation.leaderboard_store import read_rows, read_run, read_runs
from atman_bench.evaluation.relative_costs import peak_bytes, representative
from atman_bench.report.leaderboard import families_table, overview_table, panel_tables
from atman_bench.report.leaderboard_panels import panels_of

METHODS = ("attention", "chefer", "uniform")
CONFIG = f"""
model: tiny-text
dataset: facts
limit: 5
cost_samples: 1
note: Few samples, for a test.
methods: [{", ".join(METHODS)}]
"""


def call(*arguments: str | Path) -> int:
    sys.argv = ["atman-bench", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def _restored_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results folder with one run of the leaderboard."""
    folder = tmp_path_factory.mktemp("leaderboard")
    config = folder / "quick.yaml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        assert call("leaderboard", "run", config, "-r", folder / "results", "-q") == 0
    return folder / "results"


def test_the_page_has_every_method_with_quality_faithfulness_and_cost(results):
    page = (results / "leaderboard" / "leaderboard.html").read_text()
    (panel,) = panels_of(results)
    tables = {table.title.partition(":")[0]: table for table in panel_tables(panel)}
    for name in ("Localisation", "Faithfulness", "Costs", "Mean ranks"):
        assert {line[0] for line in tables[name].lines} == {"attention", "chefer", "uniform"}
        assert tables[name].title in page
    assert {"mAP", "AUPRC", "R@10"} <= set(tables["Localisation"].columns)
    assert {"LDS, attention", "LDS, embedding"} <= set(tables["Faithfulness"].columns)
    assert [line[0] for line in overview_table([panel]).lines][-1] == "uniform"
    assert page.count("data:image/png") == 3
    assert "Few samples, for a test." in page


def test_places_by_family_are_those_of_each_panels_mean_ranks(results):
    (panel,) = panels_of(results)
    ranks = next(table for table in panel_tables(panel) if table.title.startswith("Mean ranks"))
    assert families_table([panel]).columns == ranks.columns
    last = len(ranks.lines) - 1
    by_method = {line[0]: [float(rank) for rank in line[1:]] for line in ranks.lines}
    for name, *places in families_table([panel, panel]).lines:
        expected = [100 * (rank - 1) / last for rank in by_method[name]]
        assert [float(place) for place in places] == pytest.approx(expected, abs=0.5 + 100 * 0.05 / last)


def test_the_funnel_leads_from_candidates_to_samples(results):
    (run,) = read_runs(results)
    (panel,) = panels_of(results)
    steps = {line[1]: int(line[2].replace(",", "")) for line in panel_tables(panel)[-1].lines}
    assert steps["candidates"] == run.n_candidates == 200
    assert steps["used"] == len(run.uids) == 5
    lost = sum(count for step, count in steps.items() if step.startswith("- "))
    assert steps["candidates"] - lost == steps["used"]


def test_costs_are_multiples_of_a_plain_pass(results):
    (panel,) = panels_of(results)
    costs = {method: cost for (method, _), cost in panel.costs.items()}
    assert costs.keys() == set(METHODS)
    assert costs["uniform"].passes == 0
    assert costs["chefer"].passes == pytest.approx(1)
    assert costs["chefer"].peak > 1 > costs["uniform"].peak
    assert all(cost.n == 1 and cost.plain_peak_bytes > 0 for cost in costs.values())


def test_what_is_stored_is_not_computed_again_and_failed_costs_are(results, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "run_bank", None)
    monkeypatch.setattr(leaderboard, "relative_cost", None)
    before = (results / "leaderboard" / "leaderboard.json").read_text()
    assert call("leaderboard", "run", results.parent / "quick.yaml", "-r", results, "-q") == 0
    assert (results / "leaderboard" / "leaderboard.json").read_text() == before


def test_the_page_is_made_again_without_a_model(results, monkeypatch):
    monkeypatch.setattr("atman_bench.models._load.load", None)
    page = results / "leaderboard" / "leaderboard.md"
    before = page.read_text()
    page.unlink()
    assert call("leaderboard", "page", results) == 0
    assert page.read_text() == before


def test_rows_come_back_as_they_were_stored(results):
    config = load_leaderboard(str(results.parent / "quick.yaml"), {"results": str(results)}, ())
    run = leaderboard.begin(config.run)
    rows = faithfulness.evaluate_faithfulness(run, config.run, lambda *_: None).rows
    assert read_rows(results, "quick") == list(rows)


@pytest.mark.parametrize(
    ("flags", "name", "command"),
    [
        ({}, "quick", "quick"),
        ({"model": "hf:/models/my--own/"}, "quick--my-own", "quick --model hf:/models/my--own/"),
        ({"model": "m", "dataset": "needle"}, "quick--needle--m", "quick --dataset needle --model m"),
        (
            {"max_tokens": 60, "methods": ["atman:mask", "ifr"], "set": "seed=3", "device": "cpu"},
            "quick",
            "quick --max-tokens 60 --methods atman:mask,ifr --set seed=3",
        ),
    ],
)
def test_runs_of_one_configuration_with_other_models_or_data_stand_beside_each_other_with_their_commands(
    results, flags, name, command
):
    overrides = [flags.pop("set")] if "set" in flags else ()
    config = load_leaderboard(str(results.parent / "quick.yaml"), {"results": str(results), **flags}, overrides)
    assert config.name == name
    run = replace(read_run(results, "quick"), name=config.name, chosen=config.chosen, flags=config.flags)
    assert run.command == f"atman-bench leaderboard run {command}"


def test_records_name_ranks_costs_and_runs(results):
    (panel,) = json.loads((results / "leaderboard" / "leaderboard.json").read_text())["panels"]
    assert {record["metric"] for record in panel["records"]} >= {"auprc", "lds_attention", "top3_drop_embedding"}
    assert {len(ranking["mean_ranks"]) for ranking in panel["ranks"].values()} == {3}
    assert panel["runs"][0]["n_used"] == 5


def test_a_method_whose_cost_cannot_be_measured_is_named_and_tried_again(results, monkeypatch):
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(relative_costs, "peak_bytes", fail)
    config = load_leaderboard(str(results.parent / "quick.yaml"), {"results": str(results)}, ())
    run = leaderboard.begin(config.run)
    cost = relative_costs.relative_cost(run.cells[0], run.selected.samples[:1], 0)
    assert (cost.error, cost.seconds) == ("out of memory", None)


def test_tensors_are_counted_while_they_are_alive():
    class Adapter:
        model = torch.nn.Linear(2, 2)

    def two_at_once() -> None:
        first = torch.ones(1000)
        second = first + 1
        del first
        second.mul_(2)

    assert peak_bytes(two_at_once, Adapter()) == 2 * 4000


def test_costs_are_measured_on_samples_of_typical_lengths():
    class Item:
        def __init__(self, length: int):
            self.length, self.uid = length, str(length)

    items = [Item(length) for length in (9, 1, 5, 3, 7)]
    assert [item.length for item in representative(items, 3)] == [1, 5, 9]
    assert [item.length for item in representative(items, 1)] == [5]
    assert len(representative(items, 9)) == 5


def test_a_folder_without_a_leaderboard_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="leaderboard run CONFIG"):
        read_runs(tmp_path)


def test_a_damaged_run_is_named(tmp_path):
    (tmp_path / "leaderboard" / "x").mkdir(parents=True)
    path = tmp_path / "leaderboard" / "x" / "run.json"
    path.write_text('{"schema": 2, "name": 3}')
    with pytest.raises(StoreError, match="is damaged"):
        read_run(tmp_path, "x")
    path.with_name("faithfulness.parquet").write_text("no parquet")
    with pytest.raises(StoreError, match="is damaged"):
        read_rows(tmp_path, "x")


@pytest.mark.parametrize("text", ["cost_samples: many", "note: [1]", "measures: lds", "measures: [1]"])
def test_a_wrong_value_of_the_configuration_is_refused(text, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match="must be"):
        load_leaderboard(str(tmp_path / "x.yaml"), {}, ())


def test_measures_of_a_configuration_are_known_and_hold_what_a_panel_needs(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("measures: [lds, nonsense]")
    with pytest.raises(UnknownNameError, match="nonsense"):
        load_leaderboard(str(path), {}, ())
    path.write_text("measures: [r2]")
    with pytest.raises(ConfigError, match="lds at least"):
        load_leaderboard(str(path), {}, ())


def test_measures_of_a_configuration_are_those_of_its_panel(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(CONFIG + "measures: [lds, top3_drop]\n")
    assert call("leaderboard", "run", config, "-r", tmp_path / "results", "-q") == 0
    (panel,) = panels_of(tmp_path / "results")
    assert set(panel.faithfulness["measure"]) == {"lds", "top3_drop"}
    (table,) = [table for table in panel_tables(panel) if table.title.startswith("Faithfulness")]
    headings = " ".join(table.columns)
    assert "LDS" in headings
    assert "deletion" not in headings + table.note.lower()
    bank_and_ends = 66
    three_methods = 3 * 3
    asked = panel.spent["attention"].subsets / panel.spent_on
    assert bank_and_ends - 2 <= asked <= bank_and_ends + three_methods


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("leaderboard-*.yaml")))
def test_every_preset_resolves(preset):
    dataset = read_yaml(preset)["dataset"]
    if dataset not in DATASETS:  # one that is not in this version is refused by name, before anything is loaded
        with pytest.raises(UnknownNameError, match=dataset):
            load_leaderboard(preset, {}, ())
        return
    assert load_leaderboard(preset, {}, ()).run.cells
