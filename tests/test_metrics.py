from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from atman_bench.core.errors import AtmanBenchError, SampleError
from atman_bench.core.records import CharSpans, TextUnits
from atman_bench.metrics import METRICS
from atman_bench.metrics._align import unit_labels
from atman_bench.metrics._arrays import checked, is_degenerate
from atman_bench.metrics._signs import Sign, apply_sign

GOLDEN = Path(__file__).parent / "golden" / "gptj_tiny" / "metrics.npz"
TOLERANCE = 5e-5  # float32 scores, and the 1e-7 that the release adds to its denominators

EVIDENCE = np.array([True, False, False, True, False])


def metric(name: str, x, y=EVIDENCE):
    y = np.asarray(y)
    return METRICS.get(name).function(np.asarray(x, np.float32), y if y.dtype == bool else y.astype(np.float32))


@pytest.mark.parametrize("case", [0, 2, 4, 6, 8, 10, 18, 20])
def test_precision_and_recall_agree_with_the_release(case):
    golden = np.load(GOLDEN)
    x, y = golden[f"x{case}"].ravel(), golden[f"y{case}"].ravel()
    assert metric("average_precision", x, y) == pytest.approx(golden[f"precision{case}"], abs=TOLERANCE)
    assert metric("average_recall", x, y) == pytest.approx(golden[f"recall{case}"], abs=TOLERANCE)


@pytest.mark.parametrize("case", [14, 16])
def test_signed_maps_with_negative_total_have_recall_as_released_and_precision_zero(case):
    golden = np.load(GOLDEN)
    x, y = golden[f"x{case}"].ravel(), golden[f"y{case}"].ravel()
    assert metric("average_recall", x, y) == pytest.approx(golden[f"recall{case}"], abs=TOLERANCE)
    # The release gives 1.0007 and -9e7 here: shares of a negative total and of rounding.
    assert metric("average_precision", x, y) == 0


def test_uniform_map_has_precision_of_the_coverage_and_full_recall():
    assert metric("average_precision", np.full(5, 0.3)) == pytest.approx(2 / 5)
    assert metric("average_recall", np.full(5, 0.3)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["average_precision", "average_recall"])
def test_scale_of_a_map_does_not_matter(name):
    x = np.array([3.0, 1, 0, 2, 4])
    assert metric(name, 1e-6 * x) == pytest.approx(metric(name, x))


@pytest.mark.parametrize("name", ["average_precision", "average_recall"])
def test_all_zero_map_scores_zero(name):
    assert metric(name, np.zeros(5)) == 0


@pytest.mark.parametrize("name", sorted(set(METRICS.names) - {"degenerate"}))
def test_empty_label_is_undefined(name):
    assert metric(name, [1, 2, 3, 4, 5], np.zeros(5, bool)) is None


def test_signed_map_with_positive_total_is_taken_as_it_is():
    x = [4, -1, -1, 2, -2]
    assert metric("average_precision", x) == pytest.approx(6 / 2)
    assert metric("average_recall", x) == pytest.approx(6 / (4 * 2))


def test_map_without_positive_scores_has_no_recall():
    assert metric("average_recall", [-1, -2, -1, -1, -3]) == 0


@pytest.mark.parametrize(
    ("x", "expected"),
    [([0, 0, 0], True), ([1, -2, 0], True), ([1, -1, 1e-9], True), ([0, 1e-20, 0], False), ([3, -2, 0], False)],
)
def test_degenerate_maps_have_no_positive_total(x, expected):
    assert is_degenerate(np.array(x, float)) is expected
    assert metric("degenerate", x, [True, False, False]) == float(expected)


def test_auprc_sums_precision_at_each_recalled_unit():
    # Order of the units by score: evidence, other, evidence, other, other.
    assert metric("auprc", [9, 5, 1, 4, 2]) == pytest.approx((1 / 1 + 2 / 3) / 2)


@pytest.mark.parametrize("name", ["precision_at_k", "pointing_game"])
@pytest.mark.parametrize("x", [[2, 1, 1, 1, 0], [1, 2, 2, 2, 0], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1], [3, 3, 3, 1, 1]])
def test_ties_count_as_if_broken_at_random(name, x):
    places = {"precision_at_k": 2, "pointing_game": 1}[name]
    hits = []
    for order in permutations(range(5)):
        ranked = sorted(order, key=lambda unit: -x[unit])  # stable: ties stay in the random order
        hits.append(EVIDENCE[ranked[:places]].mean())
    assert metric(name, x) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("name", METRICS.names)
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, np.nan, 1], [1, 0, 0], "1 of 3 scores are not finite"),
        ([1, np.inf, 1], [1, 0, 0], "not finite"),
        ([], [], "one score and one label per unit"),
        ([1, 1], [2, 0], r"shares of a unit in \[0, 1\]"),
    ],
)
def test_unusable_arrays_are_refused(name, x, y, message):
    with pytest.raises(AtmanBenchError, match=message):
        metric(name, x, y)


def test_map_and_label_of_different_lengths_are_refused():
    with pytest.raises(AtmanBenchError, match=r"shapes \(2,\) and \(3,\)"):
        checked(np.ones(2), np.ones(3))


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        (Sign.POSITIVE, [2, 0, 0]),
        (Sign.SIGNED, [2, -1, 0]),
        (Sign.ABSOLUTE, [2, 1, 0]),
        (Sign.SQUARED, [4, 1, 0]),
        (Sign.RELEASE_DECODER, [10, 4, 18]),
        (Sign.RELEASE_BLIP, [4, 2, 0]),
    ],
)
def test_signs_follow_their_rule(sign, expected):
    per_target = np.array([[1, -2, 3], [3, 0, -3]], np.float32)
    assert apply_sign(sign, per_target.mean(0), per_target).tolist() == expected


def test_method_of_the_mean_counts_as_one_target():
    assert apply_sign(Sign.RELEASE_DECODER, np.array([1.0, -2.0]), None).tolist() == [1, 4]


def units_of(*texts: str) -> TextUnits:
    ends = np.cumsum([len(text) for text in texts]).tolist()
    return TextUnits(texts, tuple(zip([0, *ends[:-1]], ends, strict=True)))


def test_units_that_share_a_character_with_the_evidence_are_labelled():
    units = units_of("In", " Par", "is", ",", " France")
    assert unit_labels(CharSpans(((3, 8),)), units).tolist() == [False, True, True, False, False]


def test_several_spans_are_joined():
    units = units_of("a", "b", "c", "d")
    assert unit_labels(CharSpans(((0, 1), (3, 4))), units).tolist() == [True, False, False, True]


def test_unit_without_characters_is_no_evidence():
    units = TextUnits(("ab", "", "c"), ((0, 2), (1, 1), (2, 3)))
    assert unit_labels(CharSpans(((0, 2),)), units).tolist() == [True, False, False]


def test_evidence_outside_the_units_is_reported():
    with pytest.raises(SampleError, match="span does not align with any explained unit"):
        unit_labels(CharSpans(((9, 12),)), units_of("a", "b"))


def test_units_of_token_ids_cannot_be_labelled():
    with pytest.raises(SampleError, match="prompt given as text"):
        unit_labels(CharSpans(((0, 1),)), TextUnits(("a",)))
