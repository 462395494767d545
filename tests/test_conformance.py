"""The numbers of the authors' implementation on a tiny GPT-J: golden vectors, see tests/golden/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import atman_bench
from atman_bench.attention.edit import AttentionEdit, Form, RowMin
from atman_bench.attention.patching import Editor
from atman_bench.attention.similarity import cosine, suppression_factors
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.methods._recorded import mean_attention
from atman_bench.methods.rollout import roll

GOLDEN = Path(__file__).parent / "golden" / "gptj_tiny"
PROMPTS = json.loads((GOLDEN / "prompts.json").read_text())
VARIANTS = json.loads((GOLDEN / "atman" / "index.json").read_text())
HEAD_SIZE = 16
ATOL = 5e-5  # the vectors' own tolerance: float32 rounding of another implementation
ATOL_IG = 1e-4  # ten quadrature points add up


@pytest.fixture(scope="module")
def model():
    return atman_bench.load_model(f"hf:{GOLDEN / 'checkpoint'}", device="cpu")


def edit_of(name: str) -> tuple[Form, RowMin, float]:
    """Form, row minimum and factor of a variant, from the conventions in the vectors' README."""
    c = VARIANTS[name]["suppression_factor"]
    if name.startswith("logadd"):
        # The release adds log c before the 1/sqrt(d) scaling; its `asis` form also adds 1 to every other column.
        return Form.LOG, RowMin.VISIBLE, (c / np.e if "asis" in name else c) ** HEAD_SIZE**-0.5
    if VARIANTS[name]["literal"]:
        return Form.LITERAL, RowMin.VISIBLE, c
    return Form.SHIFTED, RowMin.VISIBLE if name.startswith("visiblemin") else RowMin.ALL, c


@pytest.mark.parametrize("engine", EngineMode)
@pytest.mark.parametrize("name", sorted(path.stem for path in (GOLDEN / "atman").glob("*.npz")))
def test_atman_losses_match_the_release(model, name, engine):
    setting, golden = VARIANTS[name], np.load(GOLDEN / "atman" / f"{name}.npz")
    form, row_min, c = edit_of(name)
    threshold = setting["conceptual_suppression_threshold"]
    for prompt in PROMPTS:
        key = f"p{prompt['id']}_"
        encoded = model.encode_ids(prompt["prompt_ids"], prompt["target_ids"])
        similarity = cosine(model.embed(encoded.inputs["input_ids"])[0].detach())
        factors = suppression_factors(
            [[i] for i in golden[key + "suppressed"].tolist()],
            encoded.length,
            1 - c,
            None if threshold is None else similarity,
            threshold,
            graded=setting["modify_suppression_factor_based_on_cossim"],
        )
        layers = None if setting["layers"] is None else frozenset(setting["layers"])
        result = sweep(model, encoded, AttentionEdit(factors, form, row_min, layers), EngineOptions(engine, batch=4))
        np.testing.assert_allclose(result.plain, golden[key + "default_loss"], atol=ATOL)
        np.testing.assert_allclose(-result.deltas.T, golden[key + "delta"], atol=ATOL)


def test_explain_gives_the_release_deltas_with_the_sign_of_the_paper(model):
    golden = np.load(GOLDEN / "atman" / "corr_t0.7_f0.1.npz")
    for prompt in PROMPTS:
        explanation = atman_bench.explain(
            model, prompt_ids=prompt["prompt_ids"], target_ids=prompt["target_ids"], kappa=0.7, row_min="all"
        )
        units = len(prompt["prompt_ids"])
        expected = -golden[f"p{prompt['id']}_delta"][:units].T
        np.testing.assert_allclose(explanation.per_target, expected, atol=ATOL)
        np.testing.assert_allclose(explanation.scores, expected.mean(0), atol=ATOL)


@pytest.mark.parametrize("backward", ["minimal", "full"])
def test_chefer_rows_match_the_release(model, backward):
    golden = np.load(GOLDEN / "chefer.npz")
    for prompt in PROMPTS:
        explanation = atman_bench.explain(
            model,
            prompt_ids=prompt["prompt_ids"],
            target_ids=prompt["target_ids"],
            method="chefer",
            backward=backward,
        )
        expected = golden[f"p{prompt['id']}_row"][:, : len(prompt["prompt_ids"])]
        np.testing.assert_allclose(explanation.per_target, expected, atol=ATOL)


def test_rollout_matches_the_release(model):
    golden = np.load(GOLDEN / "rollout.npz")
    for prompt in PROMPTS:
        encoded = model.encode_ids(prompt["prompt_ids"], prompt["target_ids"])
        np.testing.assert_allclose(
            roll(mean_attention(model, encoded)), golden[f"p{prompt['id']}_rollout"][-1], atol=ATOL
        )


@pytest.mark.parametrize(
    ("method", "key", "atol"), [("input_x_gradient", "ixg", ATOL), ("integrated_gradients", "ig", ATOL_IG)]
)
@pytest.mark.parametrize(("reduction", "suffix"), [("absolute", ""), ("signed", "_signed")])
def test_captum_methods_match_the_release(model, method, key, atol, reduction, suffix):
    golden = np.load(GOLDEN / "captum_modern.npz")
    for prompt in PROMPTS:
        explanation = atman_bench.explain(
            model,
            prompt_ids=prompt["prompt_ids"],
            target_ids=prompt["target_ids"],
            method=method,
            reduction=reduction,
        )
        units = len(prompt["prompt_ids"])
        for target in range(len(prompt["target_ids"])):
            expected = golden[f"p{prompt['id']}_{key}_t{target}{suffix}"][:units]
            np.testing.assert_allclose(explanation.per_target[target], expected, atol=atol)


def test_the_hosted_model_gives_the_reference_logits(model):
    golden = np.load(GOLDEN / "plain_logits_reference.npz")
    for prompt in PROMPTS:
        encoded = model.encode_ids(prompt["prompt_ids"], prompt["target_ids"])
        with torch.inference_mode(), model.host.applied(Editor(None)):
            logits = model.logits(dict(encoded.inputs), None, None)[0]
        np.testing.assert_allclose(logits, golden[f"p{prompt['id']}_logits"], atol=ATOL)
