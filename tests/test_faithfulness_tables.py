"""Tables and the figure of faithfulness, of rows made up by hand."""

import csv
import io
import json

import pytest

from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.faithfulness_records import Faithfulness, FaithfulnessRow, Spent
from atman_bench.report import machine
from atman_bench.report.faithfulness import (
    columns_of,
    cost_table,
    faithfulness_tables,
    favour_table,
    frame_of_faithfulness,
    terminal_table,
)
from atman_bench.report.figures import FIGURES
from atman_bench.report.means import scales_of

ATTENTION, EMBEDDING = Intervention.ATTENTION, Intervention.EMBEDDING
PERTURBS = {"atman": ATTENTION, "occlusion": EMBEDDING}
SPENT = {ATTENTION: Spent(1000, 50_000, 2.0), EMBEDDING: Spent(1000, 60_000, 4.0)}

LDS = {
    ATTENTION: {"atman": 0.9, "chefer": 0.5, "gim": 0.6, "occlusion": 0.4, "uniform": 0.0},
    EMBEDDING: {"atman": 0.3, "chefer": 0.5, "gim": 0.6, "occlusion": 0.9, "uniform": 0.0},
}


def row(method: str, i: int, intervention: Intervention, **more) -> FaithfulnessRow:
    value = LDS[intervention][method]
    fields = {
        "variant": "default",
        "group": f"g{i}",
        "status": Status.OK,
        "values": {"lds": value, "deletion_auc": -value, "insertion_auc": value, "top3_drop": 3 * value},
        "passes": {"lds": 64, "deletion_auc": 11, "insertion_auc": 11, "top3_drop": 3},
    }
    return FaithfulnessRow(
        fingerprint=method,
        method=method,
        uid=f"q{i}",
        intervention=intervention,
        perturbs=PERTURBS.get(method),
        **fields | more,
    )


def found(n: int = 6) -> Faithfulness:
    rows = [row(m, i, intervention) for intervention in Intervention for i in range(n) for m in LDS[intervention]]
    return Faithfulness({}, ("lds", "deletion_auc", "insertion_auc", "top3_drop"), tuple(rows), SPENT)


@pytest.fixture
def frame():
    return frame_of_faithfulness(found(), "squad", "tiny")


def test_both_interventions_stand_side_by_side_floors_last(frame):
    table, *_ = faithfulness_tables(frame, SPENT)
    assert table.columns[:4] == ("method", "n", "LDS, attention", "LDS, embedding")
    assert "deletion, attention ↓" in table.columns
    assert [line[0] for line in table.lines] == ["atman", "gim", "chefer", "occlusion", "uniform"]
    assert table.floors == (False, False, False, False, True)
    assert table.lines[0][1:4] == ("6", "90.0 [90.0, 90.0]", "30.0 [30.0, 30.0]")
    assert table.lines[0][table.columns.index("top-3 drop, attention")] == "2.70 [2.70, 2.70]"


def test_methods_that_perturb_gain_ranks_where_the_measure_perturbs_alike(frame):
    table = favour_table(frame)
    # By attention atman is 1st and occlusion 4th, by embedding atman is 4th and occlusion 1st.
    assert table.columns == ("measure", "n", "gained by attention methods", "gained by embedding methods")
    assert table.lines[0] == ("LDS", "6", "+3.00 [+3.00, +3.00]", "+3.00 [+3.00, +3.00]")
    assert {line[2] for line in table.lines} == {"+3.00 [+3.00, +3.00]"}  # deletion is better where it is lower
    assert "of 4 methods" in table.note
    assert "by attention: atman; by embedding: occlusion" in table.note


def test_a_run_without_methods_that_perturb_says_nothing_of_favours(frame):
    kept = frame[frame["method"].isin(["chefer", "gim"])]
    assert not favour_table(kept).lines


def test_costs_are_those_of_one_map_alone_and_of_what_ran(frame):
    table = cost_table(frame, SPENT, 6)
    lds = dict(zip(table.columns, table.lines[0], strict=True))
    assert lds["passes"] == "64.0"
    assert lds["shared by"] == "all methods"
    assert lds["positions, attention"] == "3,200"  # 64 subsets of 50 positions
    assert lds["seconds, embedding"] == "0.256"
    assert table.lines[-1][1] == "166.7"  # 1000 subsets for six samples


def test_samples_without_a_map_are_counted_by_reason():
    rows = [*found().rows, row("chefer", 9, ATTENTION, status=Status.OOM, values={}, passes={}, error="too large")]
    frame = frame_of_faithfulness(Faithfulness({}, ("lds",), tuple(rows), SPENT), "squad", "tiny")
    line = next(line for line in faithfulness_tables(frame, SPENT)[0].lines if line[0] == "chefer")
    assert (line[1], line[-1]) == ("6", "1 oom")


def test_records_say_their_scale_and_the_csv_has_the_same_numbers(frame):
    scales = scales_of(columns_of(frame))
    records = {
        (r["method"], r["metric"]): r for r in json.loads(machine.as_json(frame, scales)) if r["method"] == "atman"
    }
    assert records["atman", "lds_embedding"]["mean"] == pytest.approx(30)
    drop = records["atman", "top3_drop_attention"]
    assert (drop["mean"], drop["scale"], drop["n"]) == (pytest.approx(2.7), 1, 6)
    lines = list(csv.DictReader(io.StringIO(machine.as_csv(frame, scales))))
    (line,) = [line for line in lines if (line["method"], line["metric"]) == ("atman", "top3_drop_attention")]
    assert float(line["mean"]) == drop["mean"]


def test_the_terminal_has_both_numbers_in_one_cell(frame):
    table = terminal_table(frame)
    assert next(iter(table.columns[2].cells)) == "90.0 | 30.0"


def test_the_figure_is_drawn_of_these_rows_and_of_no_others(frame, tmp_path):
    figure = FIGURES.get("faithfulness")
    figure.draw(frame, tmp_path / "faithfulness")
    assert (tmp_path / "faithfulness.png").exists()
    assert figure.lacks(frame[frame["metric"] != "lds_attention"]) == ("lds_attention",)
