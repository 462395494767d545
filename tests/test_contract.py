"""What every explanation method promises, over the registry: a new method is tested as soon as its file exists."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tiny_models
import torch

from atman_bench.attention.edit import Form
from atman_bench.core.errors import ConfigError
from atman_bench.core.options import identity_options
from atman_bench.core.records import Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.evaluation.config import applicable_methods
from atman_bench.methods import METHODS
from atman_bench.methods._engine import EngineMode
from atman_bench.methods._gradients import Reduction
from atman_bench.methods._perturbation import EngineConfig
from atman_bench.methods.chefer import Backward
from atman_bench.models._causal_lm import CausalLM
from atman_bench.testing.contract import MethodContract

TEXT_METHODS = applicable_methods(Modality.TEXT)
ENGINE_METHODS = [name for name in TEXT_METHODS if issubclass(METHODS.get(name).config, EngineConfig)]
COSTLY_METHODS = [name for name in TEXT_METHODS if METHODS.get(name).forwards(10, 3, METHODS.get(name).config()) > 0]
"""Methods that run the model at all."""

FEW_SAMPLES = {"lime": {"n_samples": 30}, "kernel_shap": {"n_samples": 30}, "proxy_spex": {"n_samples": 64}}


for _name in METHODS.names:
    _tests = {"spec": METHODS.get(_name), "options": FEW_SAMPLES.get(_name, {})}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (MethodContract,), _tests)
"""The contract that methods of others are tested by, too."""


def attribute(model: CausalLM, encoded: Encoded, method: str, seed: int = 0, **options: Any) -> Attribution:
    spec = METHODS.get(method)
    return spec.explain(model, encoded, spec.config(**FEW_SAMPLES.get(method, {}), **options), seed)


@pytest.fixture(params=["llama", "gptj"], ids=["routed", "patched"])
def model(request) -> CausalLM:
    return tiny_models.adapter(request.param)


@pytest.fixture
def encoded(model) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


@pytest.mark.parametrize(
    "options", [{"batch": 1}, {"batch": 5}, {"engine": EngineMode.NAIVE}, {"engine": EngineMode.LEAN}], ids=str
)
@pytest.mark.parametrize("method", ENGINE_METHODS)
def test_what_only_changes_cost_changes_no_score(model, encoded, method, options):
    default, other = attribute(model, encoded, method), attribute(model, encoded, method, **options)
    torch.testing.assert_close(default.scores, other.scores, rtol=0, atol=1e-5)
    assert default.scores.abs().max() > 1e-3


@contextmanager
def failing_forward(model: CausalLM) -> Iterator[None]:
    """Let the first attention module raise while an edit is installed."""

    def fail(module: torch.nn.Module, args: object) -> None:
        raise RuntimeError("in the middle of a forward pass")

    handle = next(iter(model.host._layers)).register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("method", COSTLY_METHODS)
def test_a_failed_explanation_leaves_the_model_as_it_was(model, encoded, method):
    before = tiny_models.state_of(model.model)
    with failing_forward(model), pytest.raises(RuntimeError, match="in the middle"):
        attribute(model, encoded, method)
    assert tiny_models.state_of(model.model) == before


def test_a_full_backward_pass_puts_back_the_gradients_that_it_found(model, encoded):
    parameters = list(model.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    before = tiny_models.state_of(model.model)
    try:
        attribute(model, encoded, "chefer", backward=Backward.FULL)
        after = tiny_models.state_of(model.model)
    finally:
        for parameter in parameters:
            parameter.grad = None
    assert after == before


@pytest.mark.parametrize("method", sorted(set(METHODS.names) - set(TEXT_METHODS)))
def test_methods_for_images_refuse_a_text(encoded, model, method):
    with pytest.raises(ConfigError, match=f"{method} needs an image"):
        attribute(model, encoded, method)


@pytest.mark.parametrize("kappa", [None, 0.3])
@pytest.mark.parametrize("form", Form)
def test_a_suppression_of_0_gives_atman_scores_of_exactly_0(encoded, model, form, kappa):
    assert not attribute(model, encoded, "atman", f=0.0, form=form, kappa=kappa).per_target.any()


@pytest.mark.parametrize("form", Form)
def test_a_suppression_of_0_is_plain_in_the_naive_engine_too(encoded, model, form):
    result = attribute(model, encoded, "atman", f=0.0, form=form, engine=EngineMode.NAIVE)
    torch.testing.assert_close(result.per_target, torch.zeros_like(result.per_target), rtol=0, atol=1e-5)


def test_integrated_gradients_add_up_to_the_difference_from_the_baseline():
    # Learned positions keep a zero embedding from being a zero input, where norms without mean are not smooth.
    model = tiny_models.adapter("gpt2")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS[:1])
    scores = attribute(
        model, encoded, "integrated_gradients", reduction=Reduction.SIGNED, n_steps=200, internal_batch_size=50
    ).scores
    embeddings = model.embed(encoded.inputs["input_ids"])
    with torch.inference_mode():
        logits = [
            model.logits({"inputs_embeds": e}, [encoded.length - 1], None)[0, 0, tiny_models.TARGET_IDS[0]]
            for e in (embeddings, torch.zeros_like(embeddings))
        ]
    assert scores.sum().item() == pytest.approx((logits[0] - logits[1]).item(), abs=1e-2)


@pytest.mark.parametrize("method", ["rollout", "attention", "mean_attention"])
def test_what_is_made_of_attention_adds_up_to_1(encoded, model, method):
    # The first target's row sees the whole prompt and nothing else.
    assert attribute(model, encoded, method).per_target[0].sum().item() == pytest.approx(1, abs=1e-5)


def test_rollout_without_the_last_units_differs_in_nothing_else(encoded, model):
    whole, cut = (attribute(model, encoded, "rollout", without_last=n).per_target for n in (0, 2))
    assert torch.equal(cut[:, :-2], whole[:, :-2])
    assert not cut[:, -2:].any()
    assert whole[:, -1].min() > 0


def test_a_new_option_of_rollout_leaves_the_fingerprints_of_stored_maps():
    assert identity_options(METHODS.get("rollout").config()) == {}
    assert identity_options(METHODS.get("rollout").config(without_last=1)) == {"without_last": 1}


def test_a_chunk_is_suppressed_as_a_whole(model):
    together = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, [[2, 3, 4, 5]])
    apart = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, [[2], [3], [4], [5]])
    whole = attribute(model, together, "atman").scores
    assert (whole - attribute(model, apart, "atman").scores.sum()).abs().item() > 1e-3


def test_an_empty_chunk_matters_nothing(model):
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, [[2], [], [5]])
    for kappa in (None, 0.3):
        assert attribute(model, encoded, "atman", kappa=kappa).scores[1] == 0
