from itertools import product

import numpy as np
import pytest

from atman_bench.core.errors import AtmanBenchError
from atman_bench.metrics import _statistics
from atman_bench.metrics._statistics import (
    IQ_25_72,
    IQ_MEAN,
    MEAN,
    average,
    bootstrap_interval,
    compare,
    resample,
    weighted_averages,
)

AVERAGES = pytest.mark.parametrize("kind", [MEAN, IQ_MEAN, IQ_25_72])


def samples(n: int, n_groups: int, seed: int = 0):
    """Values with ties, as average recall has them, in groups of different sizes."""
    rng = np.random.default_rng(seed)
    return np.round(rng.random(n), 1), rng.integers(0, n_groups, n)


def test_interquartile_mean_of_a_known_sample():
    # Quartiles of 0..8 are 2 and 6; the 72nd percentile is 5.76.
    values = np.arange(9.0)[::-1]
    assert average(values, IQ_MEAN) == pytest.approx((2 + 3 + 4 + 5 + 6) / 5)
    assert average(values, IQ_25_72) == pytest.approx((2 + 3 + 4 + 5) / 4)


@pytest.mark.parametrize("values", [[0.3], [0.2, 0.4]])
def test_interquartile_mean_of_one_or_two_values_is_their_mean(values):
    assert average(np.array(values), IQ_MEAN) == pytest.approx(0.3)


@AVERAGES
@pytest.mark.parametrize(("n", "n_groups"), [(2, 2), (5, 4), (41, 12)])
def test_weighted_average_is_the_average_of_repeated_values(kind, n, n_groups):
    values, codes = samples(n, n_groups)
    values.sort()
    draws = next(resample(n_groups, rows=50, seed=1))
    draws = draws[draws[:, codes].any(axis=1)][:, codes]
    repeated = [average(np.repeat(values, draw), kind) for draw in draws]
    assert weighted_averages(values, draws, kind) == pytest.approx(repeated)


def test_resamples_draw_each_group_once_on_average():
    draws = np.concatenate(list(resample(5, rows=300, seed=0)))
    assert draws.shape == (_statistics.RESAMPLES, 5)
    assert (draws.sum(axis=1) == 5).all()
    # The standard deviation of a column's mean is sqrt(4/5) / 100.
    assert draws.mean(axis=0) == pytest.approx(np.ones(5), abs=0.04)


def test_interval_of_the_mean_has_the_normal_width():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    interval = bootstrap_interval(values, np.arange(400))
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


@pytest.mark.parametrize("kind", [MEAN, IQ_MEAN])
def test_interval_is_that_of_averages_of_drawn_groups_written_out(kind):
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 9, 40)
    values = rng.random(40)
    draws = np.concatenate(list(resample(9, rows=10_000, seed=0)))
    averages = [average(np.repeat(values, counts[groups]), kind) for counts in draws]
    interval = bootstrap_interval(values, groups, kind)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(averages, [0.025, 0.975])))


def test_questions_that_repeat_their_paragraph_change_nothing():
    values = np.random.default_rng(2).random(20)
    once = bootstrap_interval(values, np.arange(20))
    ten_times = bootstrap_interval(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high))


@AVERAGES
def test_interval_over_samples_would_be_too_narrow(kind):
    values, paragraphs = np.repeat(np.random.default_rng(2).random(20), 10), np.repeat(np.arange(20), 10)
    grouped = bootstrap_interval(values, paragraphs, kind)
    alone = bootstrap_interval(values, np.arange(200), kind)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


@AVERAGES
def test_interval_does_not_depend_on_the_order_of_samples_or_on_chunks(kind, monkeypatch):
    values, groups = samples(n=60, n_groups=20)
    whole = bootstrap_interval(values, groups, kind)
    shuffled = np.random.default_rng(3).permutation(60)
    reordered = bootstrap_interval(values[shuffled], groups[shuffled], kind)
    assert (reordered.low, reordered.high) == pytest.approx((whole.low, whole.high))
    monkeypatch.setattr(_statistics, "_CHUNK", 60 * 700)
    assert bootstrap_interval(values, groups, kind) == whole


def test_single_group_has_no_interval():
    assert bootstrap_interval(np.array([0.1, 0.5]), np.array(["p", "p"])) is None


def test_comparison_of_a_method_with_itself_finds_nothing():
    values, groups = samples(n=30, n_groups=10)
    paired = compare(values, values, groups)
    assert (paired.n, paired.difference, paired.p_value) == (30, 0, 1)
    assert (paired.interval.low, paired.interval.high) == (0, 0)


def test_p_value_is_the_share_of_sign_flips_that_do_as_much():
    a, groups = samples(n=16, n_groups=6, seed=4)
    b = samples(n=16, n_groups=6, seed=5)[0]
    totals = [sum((a - b)[groups == group]) for group in np.unique(groups)]
    flips = [abs(np.dot(signs, totals)) >= abs(sum(totals)) - 1e-9 for signs in product([-1, 1], repeat=len(totals))]
    # Three standard deviations of a share among 10,000 random flips.
    assert compare(a, b, groups).p_value == pytest.approx(np.mean(flips), abs=0.015)


def test_comparison_is_paired():
    hardness = np.random.default_rng(6).random(40)
    paired = compare(hardness + 0.01, hardness, np.arange(40))
    assert paired.difference == pytest.approx(0.01)
    assert paired.interval.low == pytest.approx(0.01)
    assert paired.p_value == pytest.approx(1 / (1 + _statistics.RESAMPLES))


@pytest.mark.parametrize("values", [np.array([]), np.array([0.5, np.nan])])
def test_averages_refuse_missing_values(values):
    with pytest.raises(AtmanBenchError, match="at least one finite value"):
        average(values)
