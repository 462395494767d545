"""AtMan's gradient and integrated suppression: right derivatives of the exact sweep, in memory that grows with S."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import tiny_models
import tiny_pictures
import tiny_vlms
import torch
from attention_inputs import ARCHITECTURES, BATCH, COLUMNS, FORMS
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaConfig

from atman_bench.attention import gradient as gradient_module
from atman_bench.attention.edit import AttentionEdit, AttentionInputs, Form, RowMin, attend
from atman_bench.attention.gradient import DifferentiableEditor
from atman_bench.attention.similarity import cosine, suppression_factors
from atman_bench.core import device_traits
from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.records import Boxes, Explained, Modality, Sample, Word
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.evaluation.config import applicable_methods, default_methods
from atman_bench.methods import METHODS, _gradients, atman_gradient, integrated_suppression
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.methods.atman_gradient import Aggregate, AtManGradientConfig
from atman_bench.methods.integrated_suppression import IntegratedSuppressionConfig
from atman_bench.models._base import ModelAdapter
from atman_bench.profiling.devices import find_device
from atman_bench.profiling.predict import method_job, plain_job, simulate_job

DERIVABLE = [(form, row_min) for form, row_min in FORMS if form is not Form.MASK]
FAMILIES = ["llama", "gemma2", "gpt_oss", "mixtral", "gptj", "bloom"]
"""Grouped queries; softcap and sliding window; sinks; experts; patched; position bias."""


def gradient(model: ModelAdapter, encoded: Encoded, **options: Any) -> Attribution:
    return atman_gradient.explain(model, encoded, AtManGradientConfig(**options), 0)


def integrated(model: ModelAdapter, encoded: Encoded, **options: Any) -> Attribution:
    return integrated_suppression.explain(model, encoded, IntegratedSuppressionConfig(**options), 0)


def text(family: str) -> tuple[ModelAdapter, Encoded]:
    model = tiny_models.adapter(family)
    return model, model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


def strided(tensor: Tensor) -> Tensor:
    """The same numbers as models lay them out: heads behind positions."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def by_autograd(inputs: AttentionInputs, factors: Tensor, edit: AttentionEdit) -> tuple[Tensor, Tensor]:
    """Output and weights of edited attention, from operations that autograd differentiates."""
    heads = inputs.query.shape[1] // inputs.key.shape[1]
    key, value = (tensor.repeat_interleave(heads, 1) for tensor in (inputs.key, inputs.value))
    scores = inputs.query @ key.mT * inputs.scaling
    if inputs.softcap is not None:
        scores = inputs.softcap * (scores / inputs.softcap).tanh()
    if inputs.bias is not None:
        scores = scores + inputs.bias
    hidden, column = ~inputs.visibility.visible, factors[:, None, None]
    if edit.form is Form.SHIFTED:
        seen = scores.masked_fill(hidden, torch.inf) if edit.row_min is RowMin.VISIBLE else scores
        minimum = seen.amin(-1, keepdim=True)
        scores = minimum + column * (scores - minimum)
    else:
        scores = column * scores if edit.form is Form.LITERAL else scores + column.log()
    scores = scores.masked_fill(hidden, -torch.inf)
    if inputs.sinks is not None:
        scores = torch.cat([scores, inputs.sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)], -1)
    weights = scores.softmax(-1)[..., :COLUMNS]
    return weights @ value, weights


def leaves_of(inputs: AttentionInputs) -> tuple[AttentionInputs, list[Tensor]]:
    names = "query", "key", "value"
    leaves = {name: strided(getattr(inputs, name)).requires_grad_() for name in names}
    return replace(inputs, **leaves), list(leaves.values())


@pytest.mark.parametrize("plain", [True, False], ids=["factors of 1", "other factors"])
@pytest.mark.parametrize(("form", "row_min"), DERIVABLE)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_of_one_call_are_those_of_autograd(monkeypatch, architecture, form, row_min, plain):
    monkeypatch.setattr(device_traits, "CPU", replace(device_traits.CPU, block_elements=1))  # blocks of 16 rows
    generator = torch.Generator().manual_seed(1)
    factors = torch.ones(BATCH, COLUMNS, dtype=torch.float64)
    if not plain:
        factors = 0.1 + torch.rand(factors.shape, dtype=factors.dtype, generator=generator)
    editor = DifferentiableEditor(AttentionEdit(factors, form, row_min), 1)
    inputs, leaves = leaves_of(ARCHITECTURES[architecture])
    output, _ = editor(0, inputs)
    direction = torch.randn(output.shape, dtype=output.dtype, generator=generator)
    found = torch.autograd.grad((output * direction).sum(), [*leaves, editor.leaves[0]])

    inputs, leaves = leaves_of(ARCHITECTURES[architecture])
    leaf = factors.clone().requires_grad_()
    output, weights = by_autograd(inputs, leaf, editor.edit)
    *expected, by_weights = torch.autograd.grad((output * direction).sum(), [*leaves, leaf, weights])

    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    product = (weights * by_weights).detach()
    statistics = editor.statistics[0]
    torch.testing.assert_close(statistics.grad_x_attention, (-product.mean(1)).clamp(min=0).sum(1))
    torch.testing.assert_close(
        statistics.centred, (weights.detach() * product.sum(-1, keepdim=True) - product).sum((1, 2))
    )


def slopes(losses: Callable[[float], Tensor], step: float = 0.004) -> Tensor:
    """Derivative at 0 by a central difference of the fourth order."""
    near, far = (losses(h) - losses(-h) for h in (step, 2 * step))
    return (8 * near - far) / (12 * step)


SHORT_STEPS = {"mixtral": 0.001, "blip2": 0.001}
"""Where a longer one crosses the jump of a router, or the kink of a ReLU; losses are float32, and noisier there."""


def slopes_of_sweep(model: ModelAdapter, encoded: Encoded, form: Form, row_min: RowMin, step: float) -> Tensor:
    """-dL/dc (T, U) of the exact sweep's own losses, each unit suppressed alone."""

    def losses(f: float) -> Tensor:
        groups = encoded.positions_of_units()
        factors = torch.ones(len(groups), encoded.length)
        for unit, positions in enumerate(groups):
            factors[unit, positions] = 1 - f
        return sweep(model, encoded, AttentionEdit(factors, form, row_min), EngineOptions(EngineMode.NAIVE)).losses.T

    return slopes(losses, step)


def assert_close(found: Tensor, expected: Tensor, share: float = 3e-3) -> None:
    """Equal, up to a share of the largest number."""
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=share * expected.abs().max().item())


@pytest.mark.parametrize(("form", "row_min"), DERIVABLE)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_slopes_of_the_exact_sweep(family, form, row_min):
    model, encoded = text(family)
    found = gradient(model, encoded, f=1.0, form=form, row_min=row_min, per_target=True).per_target
    assert_close(found, slopes_of_sweep(model, encoded, form, row_min, SHORT_STEPS.get(family, 0.004)))


@pytest.mark.parametrize("form", [Form.SHIFTED, Form.LITERAL, Form.LOG])
@pytest.mark.parametrize("source", ["embedded picture", "gemma3", "qwen2_vl", "blip2"])
def test_patches_too(tmp_path, source, form):
    picture = tiny_pictures.save_noise(tmp_path / "noise.png")
    if source == "embedded picture":
        model = tiny_pictures.adapter()
        encoded = model.encode_text("This is a picture of a", " cat owl", picture=picture, explained=Explained.BOTH)
    elif source == "blip2":  # its vision encoder is edited
        model = tiny_vlms.blip2()
        encoded = model.encode_text("Where is the red square ?", " left is", None, picture, Explained.IMAGE)
    else:
        model = tiny_vlms.adapter(source)
        encoded = model.encode_text("Where is the red square ?", " left is", None, picture, Explained.BOTH)
    found = gradient(model, encoded, f=1.0, form=form, per_target=True).per_target
    expected = slopes_of_sweep(model, encoded, form, RowMin.VISIBLE, step := SHORT_STEPS.get(source, 0.004))
    noise = 2e-6 / step
    assert expected.abs().max() > 10 * noise
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3 * expected.abs().max().item() + noise)


@pytest.mark.parametrize("layers", [None, (1,)])
@pytest.mark.parametrize("graded", [True, False])
def test_neighbours_are_suppressed_along_by_the_chain_rule(graded, layers):
    model, encoded = text("llama")
    likeness = cosine(model.embeddings(encoded)[0].detach())

    def losses(f: float) -> Tensor:
        groups = encoded.positions_of_units()
        factors = suppression_factors(groups, encoded.length, f, likeness, 0.3, graded=graded)
        edit = AttentionEdit(factors, layers=None if layers is None else frozenset(layers))
        return sweep(model, encoded, edit, EngineOptions(EngineMode.NAIVE)).losses.T

    options = {"f": 1.0, "layers": layers, "per_target": True}
    found = gradient(model, encoded, kappa=0.3, graded=graded, **options).per_target
    assert_close(found, slopes(losses))
    assert (found - gradient(model, encoded, **options).per_target).abs().max() > 0.01


def test_f_scales_the_scores_and_nothing_else():
    model, encoded = text("llama")
    torch.testing.assert_close(gradient(model, encoded, f=0.3).scores * 3, gradient(model, encoded, f=0.9).scores)


def test_layers_add_up_and_their_positive_parts_do_in_relu_layers():
    model, encoded = text("gemma3")
    layers = torch.stack([gradient(model, encoded, layers=(n,)).scores for n in range(model.host.n_layers)])
    torch.testing.assert_close(layers.sum(0), gradient(model, encoded).scores)
    positive = gradient(model, encoded, aggregate=Aggregate.RELU_LAYERS).scores
    torch.testing.assert_close(positive, layers.clamp(min=0).sum(0))
    assert (positive - layers.sum(0).clamp(min=0)).abs().max() > 1e-3


def test_centred_is_the_gradient_of_the_log_form():
    model, encoded = text("llama")
    centred = gradient(model, encoded, aggregate=Aggregate.CENTRED, kappa=0.3).scores
    torch.testing.assert_close(centred, gradient(model, encoded, form=Form.LOG, kappa=0.3).scores)


def test_grad_x_attention_is_never_negative_and_of_the_target():
    model, encoded = text("llama")
    scores = gradient(model, encoded, aggregate=Aggregate.GRAD_X_ATTENTION, per_target=True).per_target
    assert scores.min() >= 0
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_no_edited_layer_has_no_effect():
    model, encoded = text("llama")
    assert not gradient(model, encoded, layers=()).scores.any()
    assert not integrated(model, encoded, layers=()).scores.any()


@pytest.mark.parametrize("method", [gradient, integrated])
def test_one_pass_explains_the_mean_and_one_each_the_targets(method):
    model, encoded = text("gptj")
    mean, each = method(model, encoded), method(model, encoded, per_target=True)
    assert mean.per_target is None
    torch.testing.assert_close(mean.scores, each.per_target.mean(0), rtol=1e-4, atol=1e-5)
    assert (each.per_target[0] - each.per_target[1]).abs().max() > 1e-3


@pytest.mark.parametrize("method", [gradient, integrated])
def test_words_are_always_explained_one_by_one(tmp_path, method):
    model, prompt, label = tiny_pictures.adapter(), "This is a picture of a", Boxes(((0, 0, 9, 9),))
    words = tuple(Word((start, start + 7), label) for start in (10, 10))
    picture = tiny_pictures.save_noise(tmp_path / "noise.png")
    encoded = model.encode(Sample("s", prompt, " cat", None, label, "g", picture=picture, words=words))
    assert method(model, encoded).per_target.shape == (2, len(encoded.units))


@pytest.mark.parametrize("form", [Form.SHIFTED, Form.LITERAL, Form.LOG])
@pytest.mark.parametrize(("family", "depth"), [("llama", 0.5), ("gemma2", 1.0), ("gptj", 1.0)])
def test_integrated_scores_add_up_to_the_loss_with_all_units_suppressed(family, depth, form):
    model = tiny_models.adapter(family)
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, [[i] for i in range(3, 18)])
    factors = 1 - depth * (encoded.unit_of_position[None] >= 0)
    whole = sweep(model, encoded, AttentionEdit(factors, form), EngineOptions()).deltas[:, 0]
    missing = [
        (integrated(model, encoded, form=form, depth=depth, points=n, per_target=True).per_target.sum(1) - whole).abs()
        for n in (1, 32)
    ]
    assert whole.abs().max() > 0.1
    assert missing[1].max() < 0.01 * whole.abs().max()
    assert missing[1].max() < missing[0].max()


def test_a_short_path_is_the_gradient():
    model, encoded = text("llama")
    short = integrated(model, encoded, depth=1e-3, points=1).scores
    torch.testing.assert_close(short / 1e-3, gradient(model, encoded, f=1.0).scores, rtol=1e-2, atol=1e-3)


def test_points_and_weights_integrate_polynomials_exactly():
    points, weights = integrated_suppression.path_points(4)
    for power in range(8):
        assert (weights * points**power).sum().item() == pytest.approx(1 / (power + 1), rel=1e-5)


@pytest.mark.parametrize("method", [gradient, integrated])
@pytest.mark.parametrize("family", ["llama", "gptj", "mixtral"])
def test_what_only_changes_cost_changes_no_score(monkeypatch, family, method):
    model, encoded = text(family)
    default = method(model, encoded, per_target=True).per_target
    monkeypatch.setattr(device_traits, "CPU", replace(device_traits.CPU, block_elements=1))
    monkeypatch.setattr(_gradients, "ROWS", 7)
    for options in ({}, {"batch": 1}, {"batch": 2, "checkpointing": False}):
        found = method(model, encoded, per_target=True, **options).per_target
        torch.testing.assert_close(found, default, rtol=0, atol=1e-5 * default.abs().max().item())


def test_a_failed_backward_pass_leaves_the_model_as_it_was(monkeypatch):
    model, encoded = text("gptj")
    before = tiny_models.state_of(model.model)

    def fail(*args: object) -> None:
        raise RuntimeError("on the way back")

    monkeypatch.setattr(gradient_module, "edit_gradient", fail)
    with pytest.raises(RuntimeError, match="on the way back"):
        gradient(model, encoded)
    assert tiny_models.state_of(model.model) == before


def kept_elements(length: int) -> Counter[int]:
    """Elements of the tensors that a graph keeps for an input's backward pass, each storage once."""
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids([7] * length, [3])
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        gradient(model, encoded, checkpointing=False)
    return Counter(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())


def test_a_graph_keeps_no_scores_and_grows_with_the_length_alone():
    short, long = kept_elements(64), kept_elements(128)
    assert max(long) < 128 * 128
    assert 0 < long.total() <= 1.1 * short.total()
    assert sum(n * count for n, count in long.items()) <= 2.1 * sum(n * count for n, count in short.items())


def test_the_peak_is_at_most_three_and_a_half_lean_passes_at_1024_tokens():
    # SmolLM2-135M, without its weights.
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    simulated = partial(simulate_job, config=config, dtype=torch.float32, device=find_device("A100-80GB"), free=1e10)
    lean = simulated(plain_job("lean", 1024)).peak_bytes
    found = simulated(method_job("atman_gradient", AtManGradientConfig(), 1024, 1024)).peak_bytes
    assert 2 * lean < found <= 3.5 * lean


@pytest.mark.parametrize("config", [AtManGradientConfig, IntegratedSuppressionConfig])
@pytest.mark.parametrize(("options", "reason"), [({"form": Form.MASK}, "no derivative"), ({"batch": 0}, "at least 1")])
def test_what_has_no_derivative_or_no_sense_is_refused(config, options, reason):
    with pytest.raises(ConfigError, match=reason):
        config(**options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"points": 0}, "at least 1, received 0"), ({"depth": 0.0}, "received 0"), ({"depth": 1.5}, "received 1.5")],
)
def test_an_impossible_path_is_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        IntegratedSuppressionConfig(**options)


def test_options_of_atman_are_checked_too():
    with pytest.raises(ConfigError, match="kappa is a cosine"):
        AtManGradientConfig(kappa=2.0)
    with pytest.raises(ConfigError, match="the same for every form"):
        AtManGradientConfig(aggregate=Aggregate.CENTRED, form=Form.LOG)
    model, encoded = text("llama")
    for method in (gradient, integrated):
        with pytest.raises(NotApplicableError, match="layer 7 does not exist: expected 0 to 1"):
            method(model, encoded, layers=(7,))


def test_names_tell_what_differs():
    names = {
        AtManGradientConfig(): "shifted",
        AtManGradientConfig(kappa=0.7, aggregate=Aggregate.RELU_LAYERS): "shifted-kappa0.7-relu_layers",
        AtManGradientConfig(aggregate=Aggregate.CENTRED, per_target=True, checkpointing=False): "centred-per_target",
        IntegratedSuppressionConfig(): "shifted",
        IntegratedSuppressionConfig(
            form=Form.LOG, points=4, depth=0.9, layers=(0, 1)
        ): "log-points4-depth0.9-layers0.1",
    }
    for config, name in names.items():
        method = "atman_gradient" if isinstance(config, AtManGradientConfig) else "integrated_suppression"
        assert METHODS.get(method).label(config) == name


def test_a_run_that_names_no_methods_leaves_them_out():
    new = {"atman_gradient", "integrated_suppression"}
    for modality in Modality:
        assert new <= set(applicable_methods(modality))
        assert not new & set(default_methods(modality))


def test_a_plain_call_without_factors_is_attention_itself():
    inputs, _ = leaves_of(ARCHITECTURES["everything"])
    editor = DifferentiableEditor(AttentionEdit(torch.ones(BATCH, COLUMNS), layers=frozenset()), 1)
    torch.testing.assert_close(editor(0, inputs)[0], attend(inputs, None), rtol=0, atol=0)
