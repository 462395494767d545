"""Gradient rules: the numbers of the methods' own packages, conservation, and that no half correction is given."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_pictures
import tiny_vlms
import torch
from torch import nn

import atman_bench
from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.records import Explained, Picture
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods import METHODS, attnlrp, cp_lrp, gim
from atman_bench.methods._gradients import parameters_require_grad
from atman_bench.methods._rules import activation_ratios, applied, frozen_norms, halved_gates
from atman_bench.methods._rules_check import Trace
from atman_bench.models._base import Pass
from atman_bench.models._causal_lm import CausalLM

GOLDEN = Path(__file__).parent / "golden"
ATOL = 5e-5  # the vectors' own tolerance: ten times the float32 noise of another implementation
METHOD_RULES = {"attnlrp": attnlrp.RULES, "cp_lrp": cp_lrp.RULES, "gim": gim.RULES}
REFUSED = {"gpt_oss"}
COVERED = [name for name in tiny_models.HOSTED if name not in REFUSED]
CONSERVED = {
    "llama", "qwen3", "gemma2", "gemma3", "phi3", "mistral", "mixtral", "olmo", "olmo2", "smollm3", "qwen3_moe"
}  # fmt: skip
"""Decoders without biases."""


def attribute(model: CausalLM, encoded: Encoded, method: str, **options: object) -> Attribution:
    spec = METHODS.get(method)
    return spec.explain(model, encoded, spec.config(**options), 0)


def encode(model: CausalLM) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


def golden_cases(family: str) -> list[tuple[str, str, str, dict[str, object]]]:
    """(Model, array, method, options) of every array that a method has to give."""
    return [
        (folder.name, call["array"], call["method"], call["options"])
        for folder in sorted((GOLDEN / family).iterdir())
        if folder.is_dir()
        for call in json.loads((folder / "cases.json").read_text())["api"]
    ]


@pytest.mark.parametrize(
    ("family", "name", "array", "method", "options"),
    [(family, *case) for family in ("attnlrp", "gim") for case in golden_cases(family)],
)
def test_relevance_is_that_of_the_methods_own_package(family, name, array, method, options):
    # GIM's vectors belong to the same checkpoints.
    model = atman_bench.load_model(f"hf:{GOLDEN / 'attnlrp' / name / 'checkpoint'}", device="cpu")
    vectors = np.load(GOLDEN / family / name / "vectors.npz")
    for case in json.loads((GOLDEN / family / name / "cases.json").read_text())["cases"]:
        ids = case["prompt_ids"]
        result = atman_bench.explain(model, prompt_ids=ids, target_ids=case["target_ids"], method=method, **options)
        expected = vectors[array.format(i=case["id"])]
        np.testing.assert_allclose(result.per_target, expected[:, : len(ids)], rtol=0, atol=ATOL)


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize(("name", "contrastive"), [("gpt2", True), ("llama", False)])
def test_lrp_is_contrastive_on_gpt2_unless_it_is_told_otherwise(name, contrastive, method):
    model = tiny_models.adapter(name)
    chosen, default, other = (
        attribute(model, encode(model), method, contrastive=option).scores
        for option in (contrastive, None, not contrastive)
    )
    assert torch.equal(chosen, default)
    assert (other - default).abs().max() > 1e-3


def target_logits(model: CausalLM, encoded: Encoded) -> torch.Tensor:
    with torch.inference_mode():
        logits = model.run(encoded, Pass(rows=encoded.target_rows.tolist()))[0]
    return logits.gather(1, encoded.target_ids[:, None])[:, 0]


@pytest.mark.parametrize("name", sorted(CONSERVED))
def test_cp_lrp_adds_up_to_the_targets_logit_in_models_without_biases(name):
    model = tiny_models.adapter(name)
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS[:1])
    total = attribute(model, encoded, "cp_lrp").per_target.sum(1)
    torch.testing.assert_close(total, target_logits(model, encoded), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHOD_RULES)
@pytest.mark.parametrize("name", COVERED)
def test_each_target_is_explained_as_it_is_alone(name, method):
    model = tiny_models.adapter(name)
    before = tiny_models.state_of(model.model)
    together = attribute(model, encode(model), method).per_target
    assert tiny_models.state_of(model.model) == before
    assert together.isfinite().all()
    prompt, targets = tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS
    for i, target in enumerate(targets):
        alone = model.encode_ids([*prompt, *targets[:i]], [target])
        expected = attribute(model, alone, method).per_target[0, : len(prompt)]
        torch.testing.assert_close(together[i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rules", METHOD_RULES.values(), ids=METHOD_RULES)
@pytest.mark.parametrize("name", COVERED)
def test_rules_change_no_logit(name, rules):
    model = tiny_models.adapter(name)
    encoded = encode(model)
    plain = model.run(encoded)
    with applied(model.model, rules), model.host.applied(Trace(model.model, rules)):
        torch.testing.assert_close(model.run(encoded), plain, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", METHOD_RULES)
def test_checkpointing_changes_no_score(method):
    model = tiny_models.adapter("qwen3_moe")
    scores, other = (attribute(model, encode(model), method, checkpointing=on).scores for on in (False, True))
    torch.testing.assert_close(scores, other)


@pytest.mark.parametrize("method", METHOD_RULES)
def test_experts_with_other_inner_workings_are_refused_by_name(method):
    model = tiny_models.adapter("gpt_oss")
    before = tiny_models.state_of(model.model)
    with pytest.raises(NotApplicableError, match=r"no rule for the Mul in model\.layers\.1\.mlp\.experts \(GptOss"):
        attribute(model, encode(model), method)
    assert tiny_models.state_of(model.model) == before


class UnknownNorm(nn.Module):
    """Divides by the mean of absolute values, and calls itself a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.abs().mean(-1, keepdim=True)


class OwnGate(nn.Module):
    """A feed-forward layer whose gate has another name than all others'."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.w1, self.w2, self.w3 = (nn.Linear(32, 32, bias=False) for _ in range(3))
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(self.activation(self.w1(x)) * self.w3(x))


class Doubled(nn.Module):
    """Not gated, but its second projection has the name that gated ones have."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj, self.down_proj = (nn.Linear(32, 32, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.gate_up_proj(x))


@pytest.mark.parametrize(
    ("path", "part", "methods", "operation"),
    [
        ("layers.1.input_layernorm", UnknownNorm(), ("attnlrp", "cp_lrp", "gim"), "Div"),
        ("layers.0.mlp", OwnGate(nn.SiLU()), ("attnlrp", "cp_lrp", "gim"), "Mul"),
        ("layers.0.mlp.act_fn", nn.Sigmoid(), ("attnlrp",), "Sigmoid"),
        ("layers.0.mlp", Doubled(), ("attnlrp", "gim"), "UnsafeView"),
    ],
)
def test_a_part_without_a_rule_is_refused_by_name(path, part, methods, operation):
    model = CausalLM("llama", tiny_models.build("llama"), None, "llama")
    model.model.model.set_submodule(path, part)
    place = re.escape(f"no rule for the {operation} in model.{path}")
    for method in methods:
        with pytest.raises(NotApplicableError, match=place):
            attribute(model, encode(model), method)


@pytest.mark.parametrize("left_out", [frozen_norms, activation_ratios, halved_gates])
def test_leaving_out_any_rule_is_refused(left_out):
    model = tiny_models.adapter("llama")
    trace = Trace(model.model, attnlrp.RULES)
    with ExitStack() as stack:
        stack.enter_context(parameters_require_grad(model.model, False))
        stack.enter_context(model.host.applied(trace))
        for rule in {frozen_norms, activation_ratios, halved_gates} - {left_out}:
            stack.enter_context(rule(model.model))
        stack.enter_context(trace.followed())
        embeddings = model.embeddings(encode(model)).detach().requires_grad_()
        logits = model.run(encode(model), Pass(embeddings=embeddings))
    with pytest.raises(NotApplicableError, match=r"no rule for the \w+ in model\."):
        trace.require_rules(logits, "attnlrp")


@pytest.fixture
def picture(tmp_path) -> Picture:
    return tiny_pictures.save_noise(tmp_path / "noise.png", (56, 40))


@pytest.mark.parametrize("method", METHOD_RULES)
@pytest.mark.parametrize("name", tiny_vlms.FAMILIES)
def test_image_tokens_have_relevance_as_well(name, picture, method):
    model = tiny_vlms.adapter(name)
    encoded = model.encode_text("Where is the red square ?", " left is", picture=picture, explained=Explained.IMAGE)
    scores = attribute(model, encoded, method).scores
    assert scores.isfinite().all()
    assert (scores != 0).float().mean() > 0.9


@pytest.mark.parametrize("name", ["llava", "qwen3_vl"])
def test_what_later_layers_add_to_image_tokens_is_part_of_their_relevance(name, picture):
    model = tiny_vlms.adapter(name)
    encoded = model.encode_text("Where is the red square ?", " left", picture=picture, explained=Explained.BOTH)
    everywhere = model.encode_text("Where is the red square ?", " left", picture=picture, explained=Explained.BOTH)
    object.__setattr__(everywhere, "unit_of_position", torch.arange(encoded.length).clamp(max=len(encoded.units) - 1))
    total = attribute(model, everywhere, "cp_lrp").per_target.sum(1)
    torch.testing.assert_close(total, target_logits(model, encoded), rtol=1e-4, atol=1e-4)


def test_models_that_attend_to_images_in_an_encoder_are_refused(picture):
    model = tiny_vlms.blip2()
    encoded = model.encode_text("Where is the red square ?", " left", picture=picture, explained=Explained.IMAGE)
    with pytest.raises(NotApplicableError, match="attnlrp is defined for decoders"):
        attribute(model, encoded, "attnlrp")


def test_a_baseline_outside_the_vocabulary_is_refused():
    model = tiny_models.adapter("llama")
    with pytest.raises(ConfigError, match="baseline_token 96 is no token of llama: expected 0 to 95"):
        attribute(model, encode(model), "gim", baseline_token=96)
