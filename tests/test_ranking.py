"""Mean ranks and critical differences, against numbers worked out by hand and Demsar's published example."""

import pytest
from lines import Line, frame_of_lines

from atman_bench.core.records import Status
from atman_bench.report.means import Column
from atman_bench.report.ranking import critical_difference, rank_cells

HIGHER, LOWER = Column("auprc", "AUPRC", True), Column("degenerate", "degenerate", False)


def row(method: str, i: int, value: float | None, metric: str = "auprc", group: int | None = None) -> Line:
    group = i if group is None else group
    return Line(method, "squad", "tiny", method, "default", f"q{i}", metric, "positive", value, Status.OK, f"g{group}")


def ranks(lines: list[Line], *columns: Column) -> dict[str, float]:
    ranking = rank_cells(frame_of_lines(lines), columns or (HIGHER,))
    return {method: rank for (method, _), rank in ranking.mean_ranks.items()}


@pytest.mark.parametrize(("n_cells", "n_blocks", "published"), [(4, 14, 1.25), (2, 6, 0.80), (10, 100, 1.354)])
def test_critical_differences_are_those_of_demsars_table(n_cells, n_blocks, published):
    assert critical_difference(n_cells, n_blocks) == pytest.approx(published, abs=0.005)


def test_the_best_comes_first_and_ties_share_their_ranks():
    lines = [row(m, i, v) for i in range(6) for m, v in (("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", 0.1))]
    assert ranks(lines) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4}


def test_a_metric_of_which_lower_is_better_ranks_the_other_way_round():
    lines = [
        row(m, i, v, metric)
        for metric, values in (("auprc", {"a": 0.9, "b": 0.5, "c": 0.1}), ("degenerate", {"a": 1, "b": 0, "c": 2}))
        for i in range(5)
        for m, v in values.items()
    ]
    assert ranks(lines, LOWER) == {"b": 1, "a": 2, "c": 3}
    # a is 1 and 2, b 2 and 1: on every sample their mean ranks are tied.
    assert ranks(lines, HIGHER, LOWER) == {"a": 1.5, "b": 1.5, "c": 3}


def test_samples_of_one_group_are_one_block():
    many = [row(m, i, v, group=0) for i in range(20) for m, v in (("a", 0.1), ("b", 0.9), ("c", 0.5))]
    few = [row(m, i, v) for i in range(20, 24) for m, v in (("a", 0.9), ("b", 0.1), ("c", 0.5))]
    ranking = rank_cells(frame_of_lines([*many, *few]), (HIGHER,))
    assert (ranking.n_blocks, ranking.n_samples) == (5, 24)
    assert ranking.mean_ranks["a", "default"] == pytest.approx((3 + 4 * 1) / 5)


def test_methods_with_too_few_samples_are_left_out_and_others_ranked_on_those_they_share():
    lines = [row(m, i, v) for i in range(8) for m, v in (("a", 0.9), ("b", 0.5))]
    lines += [row("c", i, 0.7) for i in range(6)] + [row("d", i, 1.0) for i in range(3)]
    ranking = rank_cells(frame_of_lines(lines), (HIGHER,))
    assert (ranking.n_blocks, ranking.left_out) == (6, (("d", "default"),))
    assert list(ranking.mean_ranks) == [("a", "default"), ("c", "default"), ("b", "default")]


def test_a_metric_that_is_undefined_for_one_method_does_not_rank_that_sample():
    lines = [row(m, i, v) for i in range(6) for m, v in (("a", 0.9), ("b", 0.5))]
    lines += [row(m, i, v, "degenerate") for i in range(1, 6) for m, v in (("a", 1), ("b", 0))]
    lines += [row("a", 0, None, "degenerate"), row("b", 0, 0, "degenerate")]
    # On sample 0 AUPRC alone counts; on the others the two metrics tie.
    assert ranks(lines, HIGHER, LOWER) == {"a": pytest.approx(8.5 / 6), "b": pytest.approx(9.5 / 6)}


def test_there_are_no_ranks_without_five_groups_in_common():
    assert rank_cells(frame_of_lines([row(m, i, 0.5) for i in range(4) for m in "ab"]), (HIGHER,)) is None


def test_friedmans_test_sees_an_order_and_no_order():
    ordered = [row(m, i, v) for i in range(10) for m, v in (("a", 0.9), ("b", 0.5), ("c", 0.1))]
    cyclic = [row(m, i, ((place + i) % 3) / 3) for i in range(9) for place, m in enumerate("abc")]
    assert rank_cells(frame_of_lines(ordered), (HIGHER,)).p_value < 1e-3
    assert rank_cells(frame_of_lines(cyclic), (HIGHER,)).p_value == pytest.approx(1)
