"""The colour scale that maps share, and the noise below it."""

import numpy as np
import pytest

from atman_bench.methods import METHODS
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.report._scales import LOSS_CHANGES, noise_of, scale_name, shades, shared_scale, without_noise


def test_methods_whose_scores_are_changes_of_the_loss_are_those_that_compute_losses_of_perturbations():
    computed = {name for name in METHODS.names if issubclass(METHODS.get(name).config, EngineConfig)}
    assert computed == LOSS_CHANGES


def test_noise_grows_with_the_loss_and_with_the_type_and_other_units_have_none():
    single = noise_of("atman", (-0.5,))
    assert single == pytest.approx(1.9e-6, rel=0.01)
    assert noise_of("atman", (-8.0, -12.0)) == pytest.approx(10 * single)
    assert noise_of("occlusion", (-0.5,), "bfloat16") == pytest.approx(0.125)
    assert noise_of("chefer", (-10.0,)) == 0


def test_noise_is_nothing_and_what_is_louder_stays():
    np.testing.assert_array_equal(without_noise(np.array([1e-6, -1e-6, 3.0, -3.0]), 2e-6), [0, 0, 3, -3])


def test_the_scale_is_the_largest_score_of_all_maps():
    assert shared_scale([np.array([0.1, -9.0]), np.array([4.0])]) == 4
    assert shared_scale([np.zeros(3)]) == 0


def test_colour_is_the_signed_root_of_the_share():
    np.testing.assert_allclose(shades(np.array([4.0, 1.0, 0.0, -1.0, -9.0]), 4.0), [1, 0.5, 0, -0.5, -1])
    np.testing.assert_array_equal(shades(np.ones(2), 0.0), [0, 0])


def test_methods_with_units_of_their_own_share_with_no_other():
    assert scale_name("atman", "shifted") == scale_name("occlusion", "default")
    assert scale_name("rollout", "default") == scale_name("rollout", "without-last-1")
    assert len({scale_name(name, "default") for name in ("atman", "chefer", "gradcam")}) == 3
    assert scale_name("gradcam", "guided-pixels") != scale_name("gradcam", "guided")
