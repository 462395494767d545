"""ProxySPEX against the definition of Shapley values, and without its packages."""

import sys
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import shapiq
import tiny_models

from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Intervention
from atman_bench.methods import proxy_spex
from atman_bench.methods._subsets import InterventionOptions, random_subsets, run_bank
from atman_bench.methods.proxy_spex import ProxySpexConfig, explain, shapley_values


def marginal_contributions(value_of: Callable[[np.ndarray], np.ndarray], n_units: int) -> np.ndarray:
    """Mean over all orders of what each unit adds to those before it: the definition of Shapley values."""
    total = np.zeros(n_units)
    orders = list(permutations(range(n_units)))
    for order in orders:
        place = np.argsort(order)
        kept = place < np.arange(n_units + 1)[:, None]
        total[list(order)] += np.diff(value_of(kept))
    return total / len(orders)


@pytest.mark.parametrize(
    ("value_of", "dividends"),
    [
        (lambda x: 3 * x[:, 0] * x[:, 3] + x[:, 5] - 2, [3 / 2, 0, 0, 3 / 2, 0, 1]),
        (lambda x: 1 - 2 * x[:, 1] * x[:, 2] * x[:, 4], [0, -2 / 3, -2 / 3, 0, -2 / 3, 0]),
    ],
    ids=["pair", "triple"],
)
def test_proxy_spex_finds_the_shapley_values_of_known_interactions(value_of, dividends):
    masks = random_subsets("known", 6, 256)
    found = shapley_values(masks, value_of(masks.astype(float)))
    np.testing.assert_allclose(found, dividends, rtol=0, atol=0.02)
    by_orders = marginal_contributions(lambda kept: value_of(kept.astype(float)), 6)
    np.testing.assert_allclose(found, by_orders, rtol=0, atol=0.02)


def test_proxy_spex_of_nothing_to_tell_apart_is_0():
    masks = random_subsets("flat", 4, 64)
    assert not shapley_values(masks, np.full(64, 0.3)).any()
    always = np.ones((64, 2), np.bool_)
    assert not shapley_values(always, np.arange(64.0)).any()


@pytest.mark.parametrize("edit", Intervention)
def test_proxy_spex_explains_the_log_odds_of_the_response(edit):
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS[:2], [[0, 1], [5], [18, 19, 20], [9]])

    def log_odds(kept: np.ndarray) -> np.ndarray:
        total = run_bank(model, encoded, kept, InterventionOptions(intervention=edit)).astype(np.float64).sum(1)
        return total - np.log1p(-np.exp(total))

    found = explain(model, encoded, ProxySpexConfig(edit=edit), 0).scores
    expected = marginal_contributions(log_odds, 4)
    # Terms with 5 % of the energy are left out.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.25 * np.abs(expected).max())


def test_proxy_spex_refuses_a_shapiq_that_draws_subsets_of_its_own(monkeypatch):
    class Other(shapiq.ProxySPEX):
        def approximate(self, budget, game):
            return game(np.ones((budget, 4), np.bool_))

    monkeypatch.setattr(shapiq, "ProxySPEX", Other)
    masks = random_subsets("other", 4, 64)
    with pytest.raises(ConfigError, match=r"draws subsets of its own: pip install 'atman-bench\[spex\]'"):
        shapley_values(masks, np.arange(64.0))


def test_too_few_samples_for_proxy_spex_are_one_line():
    with pytest.raises(ConfigError, match="n_samples must be at least 64, received 63"):
        ProxySpexConfig(n_samples=63)


@pytest.mark.parametrize("package", ["shapiq", "lightgbm"])
def test_without_its_extra_proxy_spex_says_what_to_install_and_is_still_listed(package, monkeypatch, capsys):
    monkeypatch.setattr(proxy_spex, "find_spec", lambda name: None if name == package else object())
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "--method", "proxy_spex"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: proxy_spex needs {package}: pip install 'atman-bench[spex]'\n"
    monkeypatch.setattr(sys, "argv", ["atman-bench", "list", "methods", "proxy_spex"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "n_samples" in capsys.readouterr().out
