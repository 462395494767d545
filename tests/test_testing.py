"""What is installed for the tests of others: it accepts what keeps the contract, and finds what breaks it."""

from dataclasses import dataclass, replace

import pytest
import torch

from atman_bench.core.tensors import Attribution
from atman_bench.methods import METHODS
from atman_bench.metrics import METRICS
from atman_bench.testing import MethodContract, MetricContract, toy_model


class TestAMethodOfTexts(MethodContract):
    spec = METHODS.get("atman")


class TestAMethodOfImages(MethodContract):
    spec = METHODS.get("tam")


class TestAMetric(MetricContract):
    spec = METRICS.get("auprc")


@dataclass(frozen=True)
class Undocumented:
    """No section names its options."""

    power: float = 1.0


@dataclass
class Changeable:
    """Can be changed while it runs."""


def hook(model, encoded, config, seed):
    model.model.register_forward_hook(lambda *_: None)
    return Attribution(torch.ones(len(encoded.units)))


BROKEN = {
    "one score too many": ("scores", lambda m, e, c, s: Attribution(torch.ones(len(e.units) + 1))),
    "float64": ("scores", lambda m, e, c, s: Attribution(torch.ones(len(e.units)).double())),
    "no number": ("scores", lambda m, e, c, s: Attribution(torch.full((len(e.units),), torch.nan))),
    "a mean that is none": (
        "scores",
        lambda m, e, c, s: Attribution(torch.ones(len(e.units)), torch.zeros(len(e.target_ids), len(e.units))),
    ),
    "chance": ("seed", lambda m, e, c, s: Attribution(torch.rand(len(e.units)))),
    "a hook that stays": ("leaves", hook),
}
CHECKS = {
    "scores": MethodContract.test_scores_are_finite_float32_on_the_cpu_one_for_each_unit,
    "seed": MethodContract.test_the_same_seed_gives_the_same_scores,
    "leaves": MethodContract.test_it_leaves_the_model_and_the_random_state_as_they_were,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_found(name, tmp_path):
    check, explain = BROKEN[name]
    broken = MethodContract()
    broken.spec = replace(METHODS.get("uniform"), explain=explain, stochastic=False)
    broken.families = ("gpt2",)
    broken.spec = replace(broken.spec, modalities=frozenset({"text"}))
    model = toy_model("gpt2").model
    hooks = dict(model._forward_hooks)
    try:
        with pytest.raises(AssertionError):
            CHECKS[check](broken, tmp_path)
    finally:
        model._forward_hooks.clear()
        model._forward_hooks.update(hooks)


@pytest.mark.parametrize("config", [Undocumented, Changeable])
def test_options_have_to_be_frozen_and_documented(config):
    broken = MethodContract()
    broken.spec = replace(METHODS.get("uniform"), config=config)
    with pytest.raises(AssertionError):
        broken.test_its_options_are_a_documented_frozen_dataclass_with_defaults()


def test_a_metric_that_is_no_number_is_found():
    broken = MetricContract()
    broken.spec = replace(METRICS.get("auprc"), function=lambda x, y: float("nan"))
    with pytest.raises(AssertionError):
        broken.test_it_is_a_number_or_undefined(7)
