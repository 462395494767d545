"""What a probe refuses: a model in which an edit would not do what its numbers claim."""

import pytest
import torch

from atman_bench.core.errors import ModelError
from atman_bench.models._probe import Probe

OWN = torch.tensor([[[4.0, -2.0], [1.0, 0.0]]])
PROBE = Probe("SomeModel", OWN, tolerance=0.01)


@pytest.mark.parametrize("calls", [[0], [0, 1, 1], [0, 2], []])
def test_a_layer_that_an_edit_does_not_reach_once_is_refused(calls):
    with pytest.raises(ModelError, match=r"SomeModel: the edit was called for layers .*, expected each of 2 once"):
        PROBE.check_layers(calls, 2)
    PROBE.check_layers([1, 0], 2)


def test_differences_count_relative_to_the_largest_logit():
    assert PROBE.check_same(OWN + 0.02, "factors of 1 change", "why") == pytest.approx(0.005)
    with pytest.raises(ModelError, match=r"factors of 1 change the logits by 0\.02 .* at most 0\.01; why"):
        PROBE.check_same(OWN + 0.08, "factors of 1 change", "why")


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(ModelError):
        PROBE.check_same(OWN * torch.nan, "factors of 1 change", "why")


def test_a_later_token_that_moves_earlier_logits_is_refused():
    with pytest.raises(ModelError, match=r"a later token moves earlier logits by 0\.25; not causal"):
        PROBE.check_causal(OWN[:, :1], OWN[:, :1] + 1, "not causal")
    assert PROBE.check_causal(OWN[:, :0], OWN[:, :0], "not causal") == 0
