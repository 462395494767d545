"""What ``make bench`` says of a run beside the one before; the measurements themselves are not repeated here."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from atman_bench.evaluation import runner
from atman_bench.evaluation.explaining import explain_sample

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import _history  # noqa: E402
import dry_run  # noqa: E402
import fidelity  # noqa: E402
import precision  # noqa: E402
import run as bench  # noqa: E402

sys.path.remove(str(BENCHMARKS))

SETTINGS = {"model": "tiny", "tokens": 8}


def row(fast: tuple[float, ...], captum: tuple[float, ...]) -> dict:
    ratios = {"fast / (U x plain_lean)": _history.spread(fast), "captum / fast": _history.spread(captum)}
    return {
        "settings": SETTINGS,
        "inseq": "left out",
        "ratios": ratios,
        "share_of_product_rate": {"fast": _history.spread((0.25,))},
        "product_rate": _history.spread((1e11,)),
        "forward_tokens": {"fast": 36, "exact minimum": 36, "naive": 72},
        "peak_bytes": {"fast": 10**6},
        "bytes of all logits": 10**6,
    }


def warnings(now: dict, before: dict | None) -> list[str]:
    return [line for line in bench.report(now, before) if line.startswith("warning")]


def test_a_ratio_is_printed_with_its_spread_and_its_change():
    lines = bench.report(row((0.3, 0.4, 0.5), (4, 5, 6)), row((0.5, 0.5), (5, 5)))
    assert "fast / (U x plain_lean): 0.4 (0.3 to 0.5, n = 3); last time 0.5, -20%" in lines


def test_only_what_became_worse_by_more_than_the_spread_is_warned_of():
    before = row((0.4, 0.5), (5, 6))
    assert not warnings(row((0.4, 0.5), (5, 6)), before)
    assert not warnings(row((0.5, 0.6), (4, 5)), before)  # ranges touch
    assert not warnings(row((0.1, 0.2), (9, 9)), before)  # better
    assert len(warnings(row((0.6, 0.7), (5, 6)), before)) == 1
    assert len(warnings(row((0.6, 0.7), (3, 4)), before)) == 2  # captum's ratio is better the higher it is


def test_a_single_repeat_or_a_first_run_warns_of_nothing():
    assert not warnings(row((9,), (1,)), row((0.4,), (5,)))
    assert not warnings(row((9, 9), (1, 1)), None)


def test_a_run_is_compared_with_the_newest_of_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [SETTINGS | {"n": 1}, SETTINGS, SETTINGS | {"n": 2}]
    monkeypatch.setattr(_history, "HISTORY", tmp_path / "history.jsonl")
    assert _history.last_like(SETTINGS) is None
    _history.HISTORY.write_text("".join(json.dumps({"settings": s, "id": i}) + "\n" for i, s in enumerate(rows)))
    assert _history.last_like(SETTINGS)["id"] == 1


def test_a_map_is_as_close_to_itself_as_can_be():
    exact = np.linspace(-1, 4, 20)
    close = fidelity.closeness(exact, exact)
    assert {name: close[name] for name in fidelity.MEASURES} == pytest.approx(
        {"best tenth": 1, "verified": 1, "Spearman": 1, "L1": 0}
    )


def test_closeness_by_hand():
    """Of ten units the best tenth is one: that of 8; the approximation, of 6 and 4, puts the one of 5 first."""
    exact, found = np.zeros(10), np.zeros(10)
    exact[3], exact[7] = 8.0, 5.0
    found[7], found[1] = 6.0, 4.0
    close = fidelity.closeness(exact, found)
    assert close["best tenth"] == pytest.approx(5 / 8)
    assert close["L1"] == pytest.approx((8 / 13 + abs(5 / 13 - 6 / 10) + 4 / 10) / 2)


def test_verified_are_units_of_equal_scores_and_the_bounds_are_of_as_many():
    exact, found = np.array([8.0, 4.0, 2.0, 1.0, -1.0]), np.array([7.0, 4.0, 1.5, 1.0, -1.0])
    close = fidelity.closeness(exact, found)
    assert close["verified"] == pytest.approx(5 / 15)
    assert close["verified, best order"] == pytest.approx(14 / 15)  # 8, 4 and 2: three units
    assert close["verified, random order"] == pytest.approx(3 / 5)


def test_an_exact_map_without_positive_scores_says_nothing():
    close = fidelity.closeness(-np.ones(10), np.ones(10))
    assert all(np.isnan(value) for value in close.values())


def a_row(uid: str, scores: dict[str, list[float]], seconds: dict[str, float]) -> dict:
    types = {
        name: {
            "scores": scores.get(name, [2, 1]),
            "seconds": seconds.get(name, 1),
            "plain_seconds": 1,
            "answered": True,
        }
        for name in precision.TYPES
    }
    return {"uid": uid, "group": uid, "label": [1, 0], "types": types}


def test_a_narrower_type_is_compared_with_float32_sample_by_sample():
    reversed_map = {"float32": [3, 1], "bfloat16": [1, 3]}
    rows = [a_row("a", reversed_map, {"bfloat16": 4}), a_row("b", {}, {})]
    lines = precision.table(rows, dict.fromkeys(precision.TYPES, 5_000_000)).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines[2:]}
    names = dict(zip(precision.HEADER, range(len(precision.HEADER)), strict=True))
    found = {name: cells["bfloat16"][column].split(" [")[0].strip(" |") for name, column in names.items()}
    assert found["weights, MB"] == "5"
    assert found["Spearman"] == "0.0"  # -1 and 1
    assert found["best tenth"] == "66.7"  # 1 of 3, and all
    assert found["mAP"] == "-25.0"  # from 3/4 to 1/4, and no change
    assert found["time"] == "2.00"  # the geometric mean of 4 and 1
    assert cells["float32"][names["mAP"]].startswith("70.8")  # of 3/4 and 2/3


def test_what_a_dry_run_predicts_stands_beside_what_was_taken(capsys, monkeypatch):
    def of_methods(config: object) -> SimpleNamespace:
        cells = [("attention", 8.0), ("chefer", 2.0)]
        return SimpleNamespace(cells=[SimpleNamespace(method=m, variant="default", seconds=s) for m, s in cells])

    def explain(item: object, method: str, *rest: object) -> object:
        return replace(explain_sample(item, method, *rest), seconds={"attention": 1.0, "chefer": 4.0}[method])

    monkeypatch.setattr(dry_run, "plan", of_methods)
    monkeypatch.setattr(runner, "explain_sample", explain)
    dry_run.main(["--limit", "2", "--methods", "attention,chefer"])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:4]]
    assert lines == [["attention:default", "8.00", "2.00", "4.00"], ["chefer:default", "2.00", "8.00", "0.25"]]
