"""Normalised AOPC and the soft measures of one map, on models whose answers are known."""

import numpy as np
import pytest

from atman_bench.methods._subsets import random_thresholds
from atman_bench.metrics.faithfulness import (
    MOST_UNITS,
    RATES,
    SOFT_DRAWS,
    aopc_bounds,
    costly_subsets,
    rank_correlation,
    score_aopc,
    score_soft,
)

WEIGHTS = np.array([2.0, 0.5, -1.0, 0.25])
SHAPE = len(RATES), SOFT_DRAWS


def additive(kept):
    """Log-probabilities of a model that adds up what is kept."""
    return kept @ WEIGHTS - 4


def test_the_best_order_of_an_additive_model_has_aopc_one_and_the_worst_zero():
    bounds = aopc_bounds(additive, 4, beam=6)
    assert bounds.exact
    assert score_aopc(WEIGHTS, additive, bounds) == pytest.approx(1)
    assert score_aopc(-WEIGHTS, additive, bounds) == pytest.approx(0)
    assert 0 < score_aopc(np.array([0.0, 1, 0, 0]), additive, bounds) < 1


@pytest.mark.parametrize(("threshold", "nc", "ns"), [(0.0, 0, 1), (1 - 1e-9, 1, 0)], ids=["all kept", "none kept"])
def test_soft_measures_at_the_ends(threshold, nc, ns):
    values = score_soft(WEIGHTS, np.full((*SHAPE, 4), threshold), additive)
    assert values == {"soft_nc": pytest.approx(nc), "soft_ns": pytest.approx(ns)}


def test_a_faithful_map_is_better_than_its_reverse_under_the_same_thresholds():
    thresholds = random_thresholds("q", 4, SHAPE)
    good, bad = (score_soft(x, thresholds, additive) for x in (WEIGHTS, -WEIGHTS))
    assert good["soft_nc"] > bad["soft_nc"]
    assert good["soft_ns"] > bad["soft_ns"]


def test_a_target_that_nothing_changes_has_no_soft_measures():
    assert score_soft(WEIGHTS, random_thresholds("q", 4, SHAPE), lambda kept: np.full(len(kept), -1.0)) == {
        "soft_nc": None,
        "soft_ns": None,
    }


def test_thresholds_are_the_samples_own_and_spread_over_the_unit_interval():
    thresholds = random_thresholds("q", 200, SHAPE)
    assert thresholds.shape == (*SHAPE, 200)
    assert (thresholds >= 0).all()
    assert (thresholds < 1).all()
    assert thresholds.mean() == pytest.approx(0.5, abs=0.02)
    assert (random_thresholds("q", 200, SHAPE) == thresholds).all()
    assert (random_thresholds("r", 200, SHAPE) != thresholds).any()


@pytest.mark.parametrize(("n_units", "steps"), [(MOST_UNITS, MOST_UNITS + 1), (MOST_UNITS + 1, 0)])
def test_units_are_removed_one_by_one_where_bounds_can_be_searched(n_units, steps):
    found = costly_subsets(np.arange(float(n_units)), random_thresholds("q", n_units, SHAPE))
    assert len(found["one_by_one"]) == steps
    assert len(found["soft_nc"]) == len(RATES) * SOFT_DRAWS + 2


def test_rank_correlation_is_spearmans_with_average_ranks():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 30).astype(float), rng.normal(size=30)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(np.ones(4), np.arange(4.0)) is None
