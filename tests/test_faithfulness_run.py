"""Faithfulness of stored maps: measures from the model's own answers, evaluated once, stored, resumed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atman_bench.core.errors import StoreError
from atman_bench.core.options import build
from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation import faithfulness, faithfulness_rows, measuring
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.faithfulness import evaluate_faithfulness
from atman_bench.evaluation.faithfulness_records import Faithfulness
from atman_bench.evaluation.runner import evaluate, prepare
from atman_bench.evaluation.store import cells
from atman_bench.methods._subsets import InterventionOptions
from atman_bench.metrics.faithfulness import DEFAULT_MEASURES, MEASURES, _costly, score_map, subsets_of_map

INTERVENTIONS = pytest.mark.parametrize("intervention", Intervention)


def silent(done: int, total: int, what: str) -> None:
    pass


def faithfulness_of(config: RunConfig, *options: InterventionOptions, measures=DEFAULT_MEASURES) -> Faithfulness:
    """The faithfulness of the maps that are stored of a run."""
    return evaluate_faithfulness(prepare(config), config, silent, options or (InterventionOptions(),), measures)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> RunConfig:
    """Maps of two samples."""
    methods = [("atman", {}), ("uniform", {}), ("occlusion", {})]
    folder = tmp_path_factory.mktemp("results")
    config = build(
        RunConfig,
        {"limit": 2, "max_tokens": 66, "methods": methods, "device": "cpu", "results": str(folder)},
    )
    evaluate(config, silent)
    return config


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """How many masks each call of the model had."""
    made: list[int] = []
    run_bank = measuring.run_bank

    def spy(adapter, encoded, masks, options):
        made.append(len(masks))
        return run_bank(adapter, encoded, masks, options)

    monkeypatch.setattr(measuring, "run_bank", spy)
    return made


@INTERVENTIONS
def test_measures_of_all_maps_are_had_from_one_sweep_a_sample_and_from_none_when_run_again(
    stored, passes, intervention
):
    options = InterventionOptions(intervention=intervention)
    found = faithfulness_of(stored, options)
    cell, rows = found.cells[intervention], found.rows
    assert len(passes) == 2
    assert {(row.method, row.status) for row in rows} == {
        (method, Status.OK) for method in ("atman", "uniform", "occlusion")
    }
    assert all(set(row.values) == set(row.passes) == set(DEFAULT_MEASURES) for row in rows)
    assert {row.values["lds"] is None for row in rows} == {False}
    records = cell.evaluated()
    spent = found.spent[intervention]
    assert sum(len(record.kept) for record in records) == sum(passes) == spent.subsets
    assert sum(record.cost.forward_tokens for record in records) == spent.forward_tokens > 0
    assert {row.passes["lds"] for row in rows} == {64}
    assert {row.passes["top3_drop"] for row in rows} == {3}
    assert faithfulness_of(stored, options) == found
    assert len(passes) == 2


def test_methods_that_see_the_model_are_more_faithful_than_a_uniform_map(stored):
    for intervention in Intervention:
        rows = faithfulness_of(stored, InterventionOptions(intervention=intervention)).rows
        drop = {
            method: np.mean([row.values["top5_drop"] for row in rows if row.method == method])
            for method in ("atman", "occlusion", "uniform")
        }
        assert min(drop["atman"], drop["occlusion"]) > drop["uniform"] + 1


def test_interventions_are_stored_apart_and_tables_of_maps_do_not_see_them(stored):
    folders = {
        faithfulness_of(stored, options).cells[options.intervention].folder
        for options in (
            InterventionOptions(),
            InterventionOptions(intervention=Intervention.EMBEDDING),
            InterventionOptions(batch=2),
        )
    }
    assert len(folders) == 2  # a batch size is no part of it
    assert {cell.identity.method for cell in cells(stored.results)} == {"atman", "uniform", "occlusion"}


def test_a_sample_that_fails_is_a_row_with_its_reason_and_runs_again(stored, monkeypatch):
    options = InterventionOptions(f=0.7)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "run_bank", fail)
        rows = faithfulness_of(stored, options).rows
    assert {(row.status, row.error, len(row.values)) for row in rows} == {(Status.OOM, "CUDA out of memory", 0)}
    monkeypatch.setattr(measuring, "run_bank", lambda model, encoded, masks, options: -masks.sum(1)[:, None] / 9)
    assert {row.status for row in faithfulness_of(stored, options).rows} == {Status.OK}


def test_numbers_that_are_not_finite_are_not_stored(stored, monkeypatch):
    monkeypatch.setattr(measuring, "run_bank", lambda model, encoded, masks, options: np.full((len(masks), 1), np.nan))
    found = faithfulness_of(stored, InterventionOptions(f=0.6))
    assert {row.status for row in found.rows} == {Status.ERROR}
    assert "not finite" in found.rows[0].error
    assert not found.cells[Intervention.ATTENTION].evaluated()


def test_a_full_disk_ends_the_run(stored, monkeypatch):
    def full(*_: object) -> None:
        raise StoreError("No space left on device")

    monkeypatch.setattr(measuring, "run_bank", lambda model, encoded, masks, options: -masks.sum(1)[:, None] / 9)
    monkeypatch.setattr(faithfulness.SubsetWriter, "append", full)
    with pytest.raises(StoreError, match="No space left"):
        faithfulness_of(stored, InterventionOptions(f=0.5))


def test_a_method_without_a_map_is_skipped_with_its_reason(stored):
    config = replace(stored, methods=(("atman", {}), ("chefer", {})))
    rows = faithfulness_of(config).rows
    assert {(row.status, row.error) for row in rows if row.method == "chefer"} == {
        (Status.SKIPPED, "no stored map: run eval first")
    }
    assert {row.status for row in rows if row.method == "atman"} == {Status.OK}


def test_a_corrupted_line_is_named(stored, monkeypatch):
    monkeypatch.setattr(measuring, "run_bank", lambda model, encoded, masks, options: -masks.sum(1)[:, None] / 9)
    (cell,) = faithfulness_of(stored, InterventionOptions(f=0.8)).cells.values()
    (path,) = cell.folder.glob("subsets-*.jsonl")
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(StoreError, match="line 1 is corrupted"):
        faithfulness_of(stored, InterventionOptions(f=0.8))


@pytest.fixture
def additive():
    """Weights, a bank, what a model says that adds weights up, and how many subsets it was asked for at each call."""
    weights = np.array([3.0, 0.0, 1.0, -1.0, 0.5])
    calls = []

    def logprobs_of(kept):
        calls.append(len(kept))
        return kept @ weights - 5

    return weights, np.random.default_rng(0).random((32, 5)) < 0.5, logprobs_of, calls


def test_a_map_is_scored_by_the_weights_of_a_model_that_adds_up(additive):
    weights, bank, logprobs_of, calls = additive
    perfect, reversed_ = (score_map(x, bank, logprobs_of, steps=5) for x in (weights, -weights))
    assert calls == [32 + sum(map(len, subsets_of_map(weights, 5).values()))] * 2
    assert perfect["lds"] == pytest.approx(1)
    assert reversed_["lds"] == pytest.approx(-1)
    assert perfect["r2"] == pytest.approx(reversed_["r2"]) == pytest.approx(1)
    assert [perfect[f"top{k}_drop"] for k in (1, 3, 5)] == pytest.approx([3, 4.5, 3.5])
    for name in DEFAULT_MEASURES:
        if name not in ("r2", "top5_drop"):  # without all units nothing depends on their order
            assert (perfect[name] > reversed_[name]) == MEASURES[name].higher_is_better


def test_measures_that_are_named_ask_for_their_own_subsets_alone(additive):
    weights, bank, logprobs_of, calls = additive
    everything = score_map(weights, bank, logprobs_of, steps=5)
    some = score_map(weights, bank, logprobs_of, ("lds", "top1_drop", "insertion_auc"), steps=5)
    assert some == {name: everything[name] for name in ("lds", "top1_drop", "insertion_auc")}
    assert score_map(weights, bank, logprobs_of, ("r2",)) == {"r2": everything["r2"]}
    ends, top, curve = 2, 3, 6
    assert calls[1:] == [32 + ends + top + curve, 32 + ends]


def test_curves_of_a_target_that_loses_next_to_nothing_are_undefined():
    weights = np.array([0.4, 0.3, -0.1])
    bank = np.random.default_rng(0).random((16, 3)) < 0.5
    few, enough = (score_map(weights, bank, lambda kept, s=scale: s * kept @ weights) for scale in (1.0, 2.0))
    curves = {"deletion_auc", "insertion_auc", "abpc"}
    assert {name for name, value in few.items() if value is None} == curves
    assert None not in enough.values()


@pytest.mark.parametrize("most_units", [64, 40])
def test_measures_that_take_many_passes_are_computed_where_they_are_named_and_defined(stored, monkeypatch, most_units):
    """The bounds' beam search takes too long for a test: a model that adds up answers at once."""
    weights = np.random.default_rng(0).normal(size=64)

    def additive(model, encoded, masks, options):
        return (masks @ weights[: masks.shape[1]] - 50)[:, None] / 9

    monkeypatch.setattr(measuring, "run_bank", additive)
    for module in (faithfulness_rows, _costly):
        monkeypatch.setattr(module, "MOST_UNITS", most_units)
    measures = ("lds", "normalised_aopc", "soft_nc", "soft_ns")
    rows = faithfulness_of(stored, InterventionOptions(f=0.9), measures=measures).rows
    assert {tuple(row.values) for row in rows} == {measures}
    for row in rows:  # of 45 to 64 units
        assert (row.values["normalised_aopc"] is None) == (row.passes["normalised_aopc"] == 0) == (most_units == 40)
        assert None not in (row.values["soft_nc"], row.values["soft_ns"])
        assert row.passes["soft_nc"] > 10
