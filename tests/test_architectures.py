"""Every family of decoders, as random weights: the edit gets in, is exact, and the fast engine changes nothing."""

import pytest
import tiny_models
import torch
from transformers import PreTrainedModel

from atman_bench.attention.edit import AttentionEdit, Form, RowMin
from atman_bench.attention.patching import AttentionHost, Editor
from atman_bench.attention.similarity import cosine, suppression_factors
from atman_bench.core.errors import ModelError
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.models import _causal_lm
from atman_bench.models._causal_lm import CausalLM

PATCHED = {"gptj", "gpt_neo", "bloom", "falcon", "falcon-new", "falcon-alibi"}
EDITS = {
    "shifted": (Form.SHIFTED, RowMin.VISIBLE, None, None),
    "shifted-all": (Form.SHIFTED, RowMin.ALL, None, None),
    "literal": (Form.LITERAL, RowMin.VISIBLE, None, None),
    "log": (Form.LOG, RowMin.VISIBLE, None, None),
    "mask": (Form.MASK, RowMin.VISIBLE, None, None),
    "shifted-kappa": (Form.SHIFTED, RowMin.VISIBLE, 0.3, None),
    "mask-kappa": (Form.MASK, RowMin.VISIBLE, 0.3, None),
    "shifted-layer1": (Form.SHIFTED, RowMin.VISIBLE, None, frozenset({1})),
}
"""Name -> form, row minimum, kappa (None: single units), layers."""


@pytest.fixture(params=tiny_models.HOSTED)
def model(request):
    return tiny_models.adapter(request.param)


@pytest.fixture
def encoded(model) -> Encoded:
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)


def test_the_probe_passes(model):
    report = model.probe()
    assert report.path == ("patched" if model.name in PATCHED else "routed")
    assert report.layers == model.model.config.num_hidden_layers


def test_hosted_logits_are_the_models_own(model, encoded):
    with torch.inference_mode():
        own = model.model(**encoded.inputs, use_cache=False).logits
        with model.host.applied(Editor(None)):
            hosted = model.logits(dict(encoded.inputs), None, None)
    torch.testing.assert_close(hosted, own, rtol=0, atol=2e-5)


@pytest.mark.parametrize("edit", EDITS)
def test_the_fast_engine_gives_the_naive_engines_losses(model, encoded, edit):
    form, row_min, kappa, layers = EDITS[edit]
    similarity = cosine(model.embed(encoded.inputs["input_ids"])[0].detach())
    # Target positions too: with several targets they are perturbed where neighbours are taken along.
    positions = [[position] for position in range(encoded.length)]
    factors = suppression_factors(positions, encoded.length, 0.9, None if kappa is None else similarity, kappa)
    perturbations = AttentionEdit(factors, form, row_min, layers)
    fast, naive = (
        sweep(model, encoded, perturbations, EngineOptions(mode, batch=7))
        for mode in (EngineMode.FAST, EngineMode.NAIVE)
    )
    torch.testing.assert_close(fast.losses, naive.losses, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.plain, naive.plain, rtol=0, atol=1e-4)
    assert fast.deltas.abs().max() > 0.01


def eager_losses_with_edited_softmax(
    monkeypatch, model: PreTrainedModel, encoded: Encoded, factors: torch.Tensor, form: Form
) -> torch.Tensor:
    """Losses of the model's own eager attention, its softmax replaced by one that edits the scores first."""
    plain_softmax = torch.nn.functional.softmax

    def edited_softmax(scores: torch.Tensor, dim: int = -1, **options: object) -> torch.Tensor:
        if scores.ndim != 4:  # the router of a mixture of experts
            return plain_softmax(scores, dim=dim, **options)
        columns, sink = scores[..., : encoded.length], scores[..., encoded.length :]
        visible = columns > -1e9
        if form is Form.SHIFTED:
            minimum = torch.where(visible, columns, torch.inf).amin(-1, keepdim=True)
            edited = minimum + factors * (columns - minimum)
        elif form is Form.LITERAL:
            edited = factors * columns
        elif form is Form.LOG:
            edited = columns + factors.log()
        else:
            edited = columns.masked_fill(factors != 1, -torch.inf)
            nothing_left = (~visible | (factors != 1)).all(-1, keepdim=True)
            edited = torch.where(nothing_left, columns, edited)
        edited = torch.where(visible, edited, -torch.inf)
        return plain_softmax(torch.cat([edited, sink], -1), dim=dim, **options)

    with monkeypatch.context() as patch, torch.inference_mode():
        for config in {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}.values():
            patch.setattr(config, "_attn_implementation_internal", "eager")
        patch.setattr(torch.nn.functional, "softmax", edited_softmax)
        logprobs = model(**encoded.inputs, use_cache=False).logits[0, encoded.target_rows].log_softmax(-1)
    return -logprobs.gather(1, encoded.target_ids[:, None])[:, 0]


@pytest.mark.parametrize("form", Form)
def test_losses_are_those_of_the_eager_model_with_an_edited_softmax(monkeypatch, model, encoded, form):
    if model.name == "falcon-alibi":
        pytest.skip("transformers' eager Falcon adds ALiBi twice; its default (sdpa), which we host, adds it once")
    if model.name == "gpt_oss" and form is Form.LITERAL:
        pytest.skip(
            "its eager attention subtracts each row's maximum before the softmax: Eq. 4 cannot be applied there"
        )
    factors = torch.ones(encoded.length)
    factors[[0, 4, 5, 19]] = torch.tensor([0.1, 0.1, 0.3, 1.8])
    expected = eager_losses_with_edited_softmax(monkeypatch, model.model, encoded, factors, form)
    losses = sweep(model, encoded, AttentionEdit(factors[None], form), EngineOptions()).losses[0]
    torch.testing.assert_close(losses, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mamba", "MambaForCausalLM made no attention call that AtMan can edit"),
        ("codegen", "CodeGenForCausalLM made no attention call that AtMan can edit"),
        ("xglm", "XGLMForCausalLM made no attention call that AtMan can edit"),
        ("mpt", "MptForCausalLM made no attention call that AtMan can edit"),
        ("lfm2", "Lfm2ForCausalLM has 2 layers but only 1 with softmax attention"),
    ],
)
def test_models_that_cannot_be_edited_are_refused_by_name(name, reason):
    with pytest.raises(ModelError, match=reason):
        AttentionHost(tiny_models.build(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("falcon_h1", "FalconH1ForCausalLM: a token that is removed from all attention still moves later logits"),
        ("minimax", "MiniMaxForCausalLM cannot be run as AtMan needs it.* ValueError: MiniMax uses cache of its own"),
        ("doge", "the model's own code makes its mask of float32 numbers"),
    ],
)
def test_models_that_suppression_or_the_store_would_not_reach_are_refused_before_they_are_explained(name, reason):
    with pytest.raises(ModelError, match=reason):
        CausalLM(name, tiny_models.build(name), None, name).probe()


@pytest.mark.parametrize(("name", "scale"), [("gemma2", 32**0.5), ("gemma3", 32**0.5), ("llama", 1)])
def test_the_mean_embedding_is_on_the_scale_that_the_layers_read(monkeypatch, name, scale):
    monkeypatch.setattr(_causal_lm, "SUMMED_TOKENS", 40)  # does not divide the vocabulary
    model = tiny_models.adapter(name)
    table = model.model.get_input_embeddings().weight
    torch.testing.assert_close(model.mean_embedding(), scale * table.detach().mean(0))
