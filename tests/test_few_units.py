"""Every method on a sample with no unit, with one and with two."""

import pytest
import tiny_models
import torch

from atman_bench.core.errors import ModelError, NotApplicableError, SampleError
from atman_bench.core.options import build
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods._perturbation import Baseline, occlude
from atman_bench.models._causal_lm import CausalLM

VARIANTS = [(name, dict(options)) for name in METHODS.names for options in ({}, *METHODS.get(name).variants.values())]


def explained(name, options, n_units):
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids([5, 17, 80], [13, 66], [[i] for i in range(n_units)])
    return explain_encoded(model, encoded, name, build(METHODS.get(name).config, options, name), 0)


@pytest.mark.parametrize("n_units", [1, 2])
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_method_works_or_does_not_apply(name, options, n_units):
    try:
        scores = explained(name, options, n_units).scores
    except NotApplicableError:
        return
    assert scores.shape == (n_units,)
    assert scores.isfinite().all()


def test_sample_without_a_unit_is_no_sample_of_any_method():
    for name in ("atman", "lime", "kernel_shap", "context_cite"):
        with pytest.raises(SampleError, match="has no unit to explain"):
            explained(name, {}, 0)


def test_kernel_shap_of_one_unit_is_the_difference_that_it_makes():
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids([5, 17, 80], [13, 66], [[1]])
    masked = occlude(
        model,
        encoded,
        torch.tensor([[False]]),
        Baseline.ZERO,
        METHODS.get("kernel_shap").config().engine_options(),
    )
    expected = (masked.losses - masked.plain).mean()
    scores = explain_encoded(model, encoded, "kernel_shap", METHODS.get("kernel_shap").config(), 0).scores
    torch.testing.assert_close(scores, expected[None])


@pytest.mark.parametrize(("n_units", "most"), [(1, 2), (2, 4)])
def test_lime_runs_each_possible_state_once(n_units, most):
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids([5, 17, 80], [13, 66], [[i] for i in range(n_units)])
    cost = explain_encoded(model, encoded, "lime", METHODS.get("lime").config(), 0).cost
    # One call computes the plain value, one the coalitions; each runs the plain pass too.
    assert cost.forward_tokens <= (most + 3) * encoded.length


@pytest.fixture
def damaged():
    """A model with one embedding that is no number."""
    model = tiny_models.build("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[44] = torch.nan
    return CausalLM("damaged", model, None, "damaged")


def test_log_probabilities_that_are_no_numbers_are_an_error_of_the_explanation(damaged):
    with pytest.raises(ModelError, match="log-probabilities that are no numbers"):
        explain_encoded(damaged, damaged.encode_ids([5, 44], [3]), "atman", METHODS.get("atman").config(), 0)
    assert explain_encoded(damaged, damaged.encode_ids([5, 17], [3]), "atman", METHODS.get("atman").config(), 0)
