"""Faithfulness functions and the metrics of a ranking, first against the numbers of independent implementations."""

import json
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest

from atman_bench.core.errors import AtmanBenchError
from atman_bench.metrics import METRICS
from atman_bench.metrics.faithfulness import (
    PERCENTS,
    Bounds,
    abpc,
    aopc,
    aopc_bounds,
    comprehensiveness,
    context_cite,
    curve_auc,
    deletion_auc,
    hellinger,
    insertion_auc,
    keep_rates,
    lds,
    normalised_aopc,
    only_first,
    r2,
    rationale_sizes,
    removal_order,
    response_logit,
    soft_nc,
    soft_ns,
    step_counts,
    sufficiency,
    token_logit,
    topk_drop,
    without_first,
)
from atman_bench.metrics.faithfulness._arrays import finite

GOLDEN = Path(__file__).parent / "golden"
VECTORS = np.load(GOLDEN / "metrics" / "metrics.npz")
FAMILIES = json.loads((GOLDEN / "metrics" / "cases.json").read_text())
CITE_VECTORS = np.load(GOLDEN / "context_cite" / "context_cite.npz")
CITE = json.loads((GOLDEN / "context_cite" / "cases.json").read_text())
ATOL = 1e-6  # the vectors' own
RECOVERY = {0.05: 5, 0.1: 10, 0.2: 20, 0.3: 30, 0.5: 50}


def cases(family: str):
    return pytest.mark.parametrize("case", FAMILIES[family], ids=lambda case: case["id"])


def vector(case, name: str):
    return VECTORS[f"{case['id']}/{name}"]


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=0, atol=ATOL)


@cases("eraser")
def test_comprehensiveness_and_sufficiency_match_eraser(case):
    assert tuple(round(100 * threshold) for threshold in case["thresholds"]) == PERCENTS
    full, without, only = (vector(case, name) for name in ("p_full", "p_without", "p_only"))
    close(comprehensiveness(full, without), vector(case, "comprehensiveness"))
    close(sufficiency(full, only), vector(case, "sufficiency"))
    close(comprehensiveness(full, without).mean(), vector(case, "comprehensiveness_mean"))
    close(sufficiency(full, only).mean(), vector(case, "sufficiency_mean"))
    for k in range(len(PERCENTS)):
        close(comprehensiveness(full, without[:, [k]]).mean(), vector(case, "comprehensiveness_points")[k])


@cases("bank")
def test_lds_and_r2_match_scipy_and_spectral_explain(case):
    bank = [vector(case, name) for name in ("masks", "scores", "logprobs")]
    close(lds(*bank), vector(case, "lds"))
    close(r2(*bank), vector(case, "r2"))


@cases("curve")
def test_curves_areas_and_drops_match(case):
    scores, table = vector(case, "scores"), vector(case, "table")

    def logprobs_of(kept):
        return table[kept @ (1 << np.arange(len(scores)))]

    order, counts = removal_order(scores), step_counts(len(scores), case["steps"])
    np.testing.assert_array_equal(order, vector(case, "order"))
    np.testing.assert_array_equal(counts, vector(case, "counts"))
    deletion = logprobs_of(without_first(order, counts))
    insertion = logprobs_of(only_first(order, counts))
    least_first = logprobs_of(without_first(order[::-1], counts))
    for name, curve, area in (
        ("deletion", deletion, deletion_auc),
        ("insertion", insertion, insertion_auc),
        ("least_first", least_first, deletion_auc),
    ):
        close(curve, vector(case, f"{name}_curve"))
        close(area(curve), vector(case, f"{name}_auc"))
        close(area(curve, normalised=False), vector(case, f"{name}_auc_raw"))
    close(abpc(least_first, deletion), vector(case, "abpc"))
    close(topk_drop(table[-1], logprobs_of(without_first(order, (1, 3, 5)))), vector(case, "topk_drop"))


@cases("area")
def test_area_over_given_fractions_matches(case):
    close(curve_auc(vector(case, "y"), vector(case, "x")), vector(case, "area"))


@cases("map")
def test_localisation_matches(case):
    x, y = vector(case, "scores"), vector(case, "coverage")
    for fraction, expected in zip(case["fractions"], vector(case, "recovery"), strict=True):
        if fraction in RECOVERY:
            close(METRICS.get(f"recovery_at_{RECOVERY[fraction]}").function(x, y), expected)
    close(METRICS.get("rank_auc").function(x, y), vector(case, "rank_auc"))
    close(METRICS.get("top_area_iou").function(x, y), vector(case, "top_iou"))
    if case["whole_units"]:
        close(METRICS.get("auprc").function(x, y), vector(case, "auprc"))
    if (x >= 0).all():
        close(METRICS.get("average_precision").function(x, y), vector(case, "energy"))


@pytest.mark.parametrize("case", CITE, ids=lambda case: case["id"])
def test_context_cite_matches_its_package(case):
    def of(name):
        return CITE_VECTORS[f"{case['id']}/{name}"]

    masks, logprobs = of("masks"), of("logprobs")
    y = response_logit(logprobs)
    np.testing.assert_allclose(y, of("y"), rtol=1e-5, atol=5e-4)
    weights = context_cite(masks, logprobs, case["alpha"])
    np.testing.assert_allclose(weights, of("scores"), rtol=0, atol=2e-4 * case["tokens"])
    for alpha in (0.001, 0.1):
        scores = of(f"scores_alpha{alpha}")
        np.testing.assert_allclose(context_cite(masks, logprobs, alpha), scores, rtol=0, atol=2e-4 * case["tokens"])
    if "span" in case:
        start, end = case["span"]
        span = logprobs[:, start:end]
        np.testing.assert_allclose(response_logit(span), of("span_y"), rtol=1e-5, atol=5e-4)
        np.testing.assert_allclose(context_cite(masks, span), of("span_scores"), rtol=0, atol=2e-4 * (end - start))


@pytest.mark.parametrize("case", ["logits0", "logits1"])
def test_token_logits_match(case):
    found = token_logit(CITE_VECTORS[f"{case}/logits"], CITE_VECTORS[f"{case}/labels"])
    np.testing.assert_allclose(found, CITE_VECTORS[f"{case}/logit_probs"], rtol=0, atol=1e-4)


def test_the_logit_of_a_certain_response_is_finite_and_the_largest():
    logprobs = np.array([[0.0, 0.0], [-1e-7, 0.0], [-1.0, -2.0], [-800.0, -900.0]])
    logits = response_logit(logprobs)
    assert np.isfinite(logits).all()
    assert (np.diff(logits) < 0).all()
    assert logits[3] == -1700


def test_the_surrogate_finds_the_units_that_matter_and_leaves_the_others_at_0():
    masks = np.random.default_rng(0).random((64, 6)) < 0.5
    logprobs = (-6.0 + 3 * masks[:, 1] - 2 * masks[:, 4])[:, None]
    weights = context_cite(masks, logprobs)
    assert weights[1] == pytest.approx(3, abs=0.1)
    assert weights[4] == pytest.approx(-2, abs=0.1)
    assert np.abs(weights[[0, 2, 3, 5]]).max() < 0.05


def test_a_response_that_no_unit_changes_has_weights_of_0():
    masks = np.random.default_rng(0).random((16, 4)) < 0.5
    assert not context_cite(masks, np.full((16, 2), -1.5)).any()


@pytest.mark.parametrize("function", [lds, r2])
def test_predictions_are_undefined_where_one_side_is_constant(function):
    masks = np.random.default_rng(1).random((12, 5)) < 0.5
    logprobs = np.random.default_rng(2).normal(size=12)
    assert function(masks, np.zeros(5), logprobs) is None
    assert function(masks, np.arange(5.0), np.full(12, -2.0)) is None


def test_a_map_of_the_wrong_sign_keeps_its_r2_and_not_its_lds():
    masks = np.random.default_rng(3).random((40, 6)) < 0.5
    scores = np.array([3.0, -1, 0.5, 0, 2, 1])
    logprobs = masks @ scores
    assert lds(masks, scores, logprobs) == pytest.approx(1)
    assert lds(masks, -scores, logprobs) == pytest.approx(-1)
    assert r2(masks, -scores, logprobs) == pytest.approx(1)


def test_rounding_of_equal_sums_is_no_rank():
    masks = np.random.default_rng(4).random((64, 24)) < 0.5
    logprobs = np.random.default_rng(5).normal(size=64)
    thirds, ones = (lds(masks, np.full(24, value), logprobs) for value in (0.1 / 3, 1.0))
    assert thirds == pytest.approx(ones, abs=1e-12)


def test_curves_of_a_model_that_adds_up_have_the_areas_of_its_weights():
    weights = np.array([1.0, 4.0, 3.0, 2.0])
    order, counts = removal_order(weights), step_counts(4, 4)
    deletion = without_first(order, counts) @ weights
    insertion = only_first(order, counts) @ weights
    least_first = without_first(order[::-1], counts) @ weights
    assert deletion_auc(deletion) == pytest.approx(np.mean([8, 4.5, 2, 0.5]) / 10)  # heights 10 6 3 1 0
    assert insertion_auc(insertion) == pytest.approx(1 - deletion_auc(deletion))
    assert abpc(least_first, deletion) == pytest.approx(deletion_auc(least_first) - deletion_auc(deletion))
    assert abpc(least_first, deletion) > 0


def test_areas_are_undefined_where_taking_everything_away_changes_nothing():
    flat = np.array([-2.0, -3.0, -2.0])
    assert deletion_auc(flat) is None
    assert insertion_auc(flat) is None
    assert abpc(flat, flat) is None
    assert deletion_auc(flat, normalised=False) == pytest.approx(-2.5)


def test_ties_are_ordered_by_index_and_exactly_reversed():
    order = removal_order(np.array([1.0, 2.0, 1.0, 2.0]))
    assert order.tolist() == [1, 3, 0, 2]
    assert without_first(order, (0, 1, 9)).tolist() == [[True] * 4, [True, False, True, True], [False] * 4]
    assert only_first(order[::-1], (1,)).tolist() == [[False, False, True, False]]


@pytest.mark.parametrize(("units", "sizes"), [(1, (1, 1, 1, 1, 1)), (20, (1, 1, 2, 4, 10)), (101, (2, 6, 11, 21, 51))])
def test_rationales_are_rounded_up_to_whole_units(units, sizes):
    assert rationale_sizes(units) == sizes


def subset_values(units: int, seed: int = 0):
    """A log-probability for every subset, and the function that looks it up."""
    values = np.random.default_rng(seed).normal(size=1 << units)
    return lambda kept: values[kept @ (1 << np.arange(units))]


def test_bounds_of_aopc_are_those_of_all_orders():
    logprobs_of = subset_values(5)
    all_orders = [aopc(logprobs_of(without_first(np.array(order), range(6)))) for order in permutations(range(5))]
    bounds = aopc_bounds(logprobs_of, 5, beam=10)  # as many as there are sets of two
    assert bounds.exact
    assert (bounds.lower, bounds.upper) == pytest.approx((min(all_orders), max(all_orders)))
    assert normalised_aopc(max(all_orders), bounds) == pytest.approx(1)
    assert normalised_aopc(min(all_orders), bounds) == pytest.approx(0)
    narrow = aopc_bounds(logprobs_of, 5, beam=1)
    assert not narrow.exact
    assert bounds.lower <= narrow.lower <= narrow.upper <= bounds.upper


def test_a_beam_of_one_is_exact_on_a_model_that_adds_up():
    weights = np.arange(1.0, 65.0)
    bounds = aopc_bounds(lambda kept: kept @ weights, 64, beam=1)
    best, worst = (aopc(without_first(order, range(65)) @ weights) for order in (np.arange(64)[::-1], np.arange(64)))
    assert (bounds.lower, bounds.upper) == pytest.approx((worst, best))


def test_orders_that_are_all_alike_have_no_normalised_aopc():
    assert normalised_aopc(0.0, aopc_bounds(lambda kept: np.zeros(len(kept)), 3)) is None
    assert normalised_aopc(1.0, Bounds(1.0, 3.0, exact=True)) == 0


@pytest.mark.parametrize(("units", "beam"), [(65, 5), (0, 5), (4, 0)])
def test_bounds_of_too_many_units_are_refused(units, beam):
    with pytest.raises(AtmanBenchError, match="1 to 64 units"):
        aopc_bounds(lambda kept: np.zeros(len(kept)), units, beam)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_keep_rates_have_the_asked_mean_and_the_order_of_the_scores(rate):
    scores = np.array([-3.0, 100.0, 0.0, 0.0, 1e-6])
    rates = keep_rates(scores, rate)
    assert rates.mean() == pytest.approx(rate)
    assert ((rates > 0) & (rates < 1)).all()
    assert rates[0] < rates[2] == rates[3] < rates[4] < rates[1]
    np.testing.assert_array_equal(rates, keep_rates(7 * scores, rate))


def test_keep_rates_of_a_uniform_map_are_the_rate():
    assert keep_rates(np.ones(4), 0.3) == pytest.approx(np.full(4, 0.3))


def test_a_keep_rate_is_a_probability():
    with pytest.raises(AtmanBenchError, match="between 0 and 1, received 1"):
        keep_rates(np.ones(3), 1.0)


def test_hellinger_distance_has_its_root():
    p, q = np.array([0.36, 0.64]), np.array([0.64, 0.36])
    assert hellinger(p, q) == pytest.approx(0.2)
    assert hellinger(np.array([1.0, 0]), np.array([0.0, 1])) == pytest.approx(1)
    with pytest.raises(AtmanBenchError, match="not logarithms"):
        hellinger(np.log(p), q)


def test_soft_metrics_reach_from_the_full_to_the_empty_distribution():
    full, empty = np.array([0.9, 0.1]), np.array([0.2, 0.8])
    as_full, as_empty = (np.broadcast_to(p, (5, 3, 2)) for p in (full, empty))
    assert soft_nc(full, as_empty, empty) == pytest.approx(1)
    assert soft_nc(full, as_full, empty) == pytest.approx(0)
    assert soft_ns(full, as_full, empty) == pytest.approx(1)
    assert soft_ns(full, as_empty, empty) == pytest.approx(0)
    assert soft_nc(full, as_empty, full) is None
    assert soft_ns(full, as_empty, full) is None


def test_the_area_over_keep_rates_weighs_their_distance():
    full, empty = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    perturbed = np.array([[empty], [full], [full]])
    assert soft_nc(full, perturbed, empty, np.array([0.1, 0.2, 0.9])) == pytest.approx(0.05 / 0.8)


RANKED = ["recovery_at_5", "recovery_at_10", "recovery_at_20", "recovery_at_30", "recovery_at_50"]


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("x", [[2, 1, 1, 1, 0], [1, 2, 2, 2, 0], [0, 0, 0, 0, 0], [3, 3, 3, 1, 1]])
def test_recovery_is_the_mean_over_all_orders_of_tied_units(name, x):
    y = np.array([0.5, 0, 1, 0.25, 0])
    places = max(1, -(-int(name.rpartition("_")[2]) * 5 // 100))
    kept = [y[sorted(order, key=lambda unit: -x[unit])[:places]].sum() / y.sum() for order in permutations(range(5))]
    assert METRICS.get(name).function(np.array(x, float), y) == pytest.approx(np.mean(kept))


def test_recovery_grows_with_the_share_of_units():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 37).astype(float), rng.random(37)
    values = [METRICS.get(name).function(x, y) for name in RANKED]
    assert values == sorted(values)
    assert METRICS.get("recovery_at_30").function(y, y) == max(
        METRICS.get("recovery_at_30").function(other, y) for other in (y, x, -y)
    )


def test_rank_auc_is_the_share_of_pairs_in_the_right_order():
    x, y = np.array([3.0, 1, 1, 0]), np.array([1.0, 0.5, 0, 0])
    pairs = [y[p] * (1 - y[q]) * (x[p] > x[q] or 0.5 * (x[p] == x[q])) for p, q in product(range(4), repeat=2)]
    assert METRICS.get("rank_auc").function(x, y) == pytest.approx(sum(pairs) / (1.5 * 2.5))


@pytest.mark.parametrize(("x", "expected"), [([4, 3, 2, 1], 1), ([1, 2, 3, 4], 0), ([1, 1, 1, 1], 0.5)])
def test_rank_auc_of_perfect_reversed_and_constant_maps(x, expected):
    assert METRICS.get("rank_auc").function(np.array(x, float), np.array([1.0, 1, 0, 0])) == expected


def test_rank_auc_needs_something_beside_the_evidence():
    assert METRICS.get("rank_auc").function(np.array([1.0, 2]), np.ones(2)) is None


def test_top_area_iou_of_whole_units():
    y = np.array([1.0, 1, 0, 0, 0])
    for best in combinations(range(5), 2):
        x = np.isin(np.arange(5), best).astype(float)
        shared = len({0, 1} & set(best))
        assert METRICS.get("top_area_iou").function(x, y) == pytest.approx(shared / (4 - shared))


def test_rounding_of_shares_adds_no_unit_to_the_top_area():
    y = np.array([0.1, 0.2, 0.3, 0.4, 0.0])  # their sum may be 1.0000000000000002
    x = np.array([0.0, 0, 0, 2, 1])
    assert METRICS.get("top_area_iou").function(x, y) == pytest.approx(0.4 / 1.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite("scores", np.ones(3), 2), r"scores: expected an array of shape \(2\), received \(3,\)"),
        (lambda: finite("masks", np.ones(3, bool), None, 2), r"masks: expected an array of shape \(any, 2\)"),
        (lambda: deletion_auc(np.array([0.0, np.nan])), "1 of 2 numbers are not finite"),
        (lambda: curve_auc(np.ones(3), np.array([0.0, 1, 0.5])), "ascending x"),
        (lambda: curve_auc(np.ones(1)), "at least two points"),
        (lambda: removal_order(np.array([1.0, np.inf])), "not finite"),
        (lambda: aopc(np.ones(1)), "at least one step"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(call, message):
    with pytest.raises(AtmanBenchError, match=message):
        call()
