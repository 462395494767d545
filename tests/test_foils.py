"""Contrastive explanations: why one token rather than another, and why one span of them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_pictures
import torch

import atman_bench
from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, NotApplicableError, SampleError
from atman_bench.core.records import Intervention, Modality, Status
from atman_bench.evaluation import runner
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.faithfulness import evaluate_faithfulness
from atman_bench.evaluation.faithfulness_rows import SampleMaps
from atman_bench.methods import METHODS
from atman_bench.methods._base import Contrast
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods._subsets import InterventionOptions, random_subsets, run_bank
from atman_bench.methods.atman_gradient import Aggregate
from atman_bench.metrics.faithfulness import score_map
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._reading import against

TARGET, FOIL, DIFFERENCE = 13, 66, 95
PROMPT = tiny_models.PROMPT_IDS
TEXT = {"prompt": "Ada was born in", "target": " Bern"}
FEW = {"lime": {"n_samples": 30}, "kernel_shap": {"n_samples": 30}, "proxy_spex": {"n_samples": 64}}
ON_TEXT = [name for name in METHODS.names if Modality.TEXT in METHODS.get(name).modalities and name != "gradcam"]


@pytest.fixture(scope="module")
def model() -> CausalLM:
    """A decoder whose last token has the output weights of the target less those of the foil."""
    adapter = CausalLM("llama", tiny_models.build("llama"), None, "hash")
    with torch.no_grad():
        head = adapter.model.get_output_embeddings().weight
        head[DIFFERENCE] = head[TARGET] - head[FOIL]
    return adapter


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> CausalLM:
    folder = tmp_path_factory.mktemp("reader")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    return atman_bench.load_model(f"hf:{folder}", device="cpu")


def scores(model: CausalLM, target: int, foil: int | None = None, **options: object) -> torch.Tensor:
    return atman_bench.explain(model, prompt_ids=PROMPT, target_ids=[target], foil=foil, **options).scores


@pytest.mark.parametrize(
    "options",
    [
        {"method": "atman"},
        {"method": "atman", "kappa": 0.2, "form": "log"},
        {"method": "atman", "engine": "lean"},
        {"method": "atman", "engine": "naive"},
        {"method": "adaptive", "budget": 1.0},
        {"method": "atman_gradient"},
        {"method": "integrated_suppression"},
        {"method": "occlusion"},
        {"method": "kernel_shap", "n_samples": 64},
    ],
    ids=str,
)
def test_scores_of_losses_are_those_of_the_target_less_those_of_the_foil(model, options):
    contrast = scores(model, TARGET, FOIL, **options)
    separate = scores(model, TARGET, **options) - scores(model, FOIL, **options)
    torch.testing.assert_close(contrast, separate, rtol=1e-3, atol=1e-4)
    assert contrast.abs().max() > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        {"method": "input_x_gradient"},
        {"method": "integrated_gradients"},
        {"method": "chefer"},
        {"method": "grad_x_attention"},
        {"method": "attnlrp"},
        {"method": "cp_lrp"},
        {"method": "gim"},
    ],
    ids=str,
)
def test_scores_of_logits_are_those_of_the_difference_of_both(model, options):
    """A token with the difference of both tokens' output weights has the difference of their logits."""
    contrast = scores(model, TARGET, FOIL, **options)
    torch.testing.assert_close(contrast, scores(model, DIFFERENCE, **options), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(contrast, scores(model, TARGET, **options), rtol=1e-2)


def test_a_foil_takes_the_place_of_the_mean_of_all_logits(model):
    plain, with_mean = (scores(model, TARGET, FOIL, method="attnlrp", contrastive=value) for value in (False, True))
    torch.testing.assert_close(plain, with_mean)


@pytest.mark.parametrize("method", ON_TEXT)
def test_every_method_explains_a_foil_or_refuses_it_in_one_line(model, method):
    if METHODS.get(method).contrast is not Contrast.NONE:
        assert torch.isfinite(scores(model, TARGET, FOIL, method=method, **FEW.get(method, {}))).all()
        return
    with pytest.raises(NotApplicableError, match="does not explain why one token rather than another") as caught:
        scores(model, TARGET, FOIL, method=method)
    assert "\n" not in str(caught.value)


def test_foil_of_an_image_is_explained_by_its_patches(tmp_path):
    magma = atman_bench.load_model("tiny-magma", device="cpu")
    picture = tiny_pictures.save_noise(tmp_path / "noise.png", (56, 40))
    arguments = {"prompt": "This is a picture of a", "image": picture.path, "explained": "image", "kappa": 0.7}
    contrast, red, blue = (
        atman_bench.explain(magma, **arguments, target=target, foil=foil).scores
        for target, foil in ((" red", " blue"), (" red", None), (" blue", None))
    )
    torch.testing.assert_close(contrast, red - blue, rtol=1e-3, atol=1e-5)
    assert contrast.abs().max() > 1e-2


def test_foil_of_an_image_may_be_longer_than_the_target(tmp_path):
    magma = atman_bench.load_model("tiny-magma", device="cpu")
    picture = tiny_pictures.save_noise(tmp_path / "noise.png", (56, 40))
    arguments = {"prompt": "This is a picture of a", "image": picture.path, "explained": "image"}
    found = [
        atman_bench.explain(magma, **arguments, target=target, foil=foil)
        for target, foil in ((" red", " blue square"), (" red", None), (" blue square", None))
    ]
    contrast, red, blue = (one.scores * len(one.target_texts) for one in found)
    assert len(found[2].target_texts) > 1
    torch.testing.assert_close(contrast, red - blue, rtol=1e-3, atol=1e-4)


SPAN, SHORT = [13, 66, 4], [71, 8]
SPANS = [name for name in ON_TEXT if METHODS.get(name).contrast is Contrast.SPAN]


def of_span(model: CausalLM, target: list[int], foil: int | list[int] | None = None, **options: object) -> torch.Tensor:
    return atman_bench.explain(model, prompt_ids=PROMPT, target_ids=target, foil=foil, **options).scores


@pytest.mark.parametrize(
    "options",
    [
        {"method": "atman"},
        {"method": "atman", "kappa": 0.2, "form": "log"},
        {"method": "atman", "engine": "lean"},
        {"method": "atman", "engine": "naive"},
        {"method": "atman_gradient"},
        {"method": "integrated_suppression"},
        {"method": "occlusion"},
        {"method": "kernel_shap", "n_samples": 64},
    ],
    ids=str,
)
@pytest.mark.parametrize(("target", "foil"), [(SPAN, SHORT), (SPAN[:1], SHORT), (SPAN, SHORT[:1])], ids=str)
def test_a_span_against_a_span_is_the_difference_of_two_runs_each_summed_over_its_tokens(model, options, target, foil):
    separate = [len(tokens) * of_span(model, tokens, **options) for tokens in (target, foil)]
    contrast = of_span(model, target, foil, **options)
    torch.testing.assert_close(contrast, separate[0] - separate[1], rtol=1e-3, atol=1e-4)
    assert contrast.abs().max() > 1e-2


def test_gradients_of_spans_are_those_of_the_difference_of_their_log_probabilities(model):
    own = model.model
    found = {
        reduction: of_span(model, SPAN, SHORT, method="input_x_gradient", reduction=reduction)
        for reduction in ("signed", "absolute")
    }
    gradients = []
    prompt = own.get_input_embeddings()(torch.tensor([PROMPT])).detach()
    for tokens in (SPAN, SHORT):
        leaf = prompt.clone().requires_grad_()
        embedded = torch.cat([leaf, own.get_input_embeddings()(torch.tensor([tokens[:-1]]))], dim=1)
        logprobs = own(inputs_embeds=embedded, use_cache=False).logits[0, len(PROMPT) - 1 :].log_softmax(-1)
        (gradient,) = torch.autograd.grad(logprobs.gather(1, torch.tensor(tokens)[:, None]).sum(), leaf)
        gradients.append(gradient[0])
    product = prompt[0] * (gradients[0] - gradients[1])
    torch.testing.assert_close(found["signed"], product.sum(-1), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["absolute"], product.abs().sum(-1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [(name, {}) for name in SPANS] + [("atman_gradient", {"aggregate": Aggregate.RELU_LAYERS})],
    ids=str,
)
def test_two_sequences_of_a_token_each_are_explained_as_one_pass_explains_them(model, method, options):
    """Logits and log-probabilities of one row differ by the same number, so both ways have one result."""
    encoded, foil = (model.encode_ids(PROMPT, [token]) for token in (TARGET, FOIL))
    apart = replace(encoded, foil=replace(foil, foil=encoded))
    config = METHODS.get(method).config(**FEW.get(method, {}), **options)
    together, separate = (
        explain_encoded(model, one, method, config, 0).scores for one in (against(encoded, foil, "", ""), apart)
    )
    torch.testing.assert_close(together, separate, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["chefer", "grad_x_attention", "adaptive"])
def test_what_reads_both_in_one_pass_refuses_a_span_in_one_line(model, method):
    with pytest.raises(SampleError, match=f"{method} explains one token rather than another.*3 and 2 tokens") as caught:
        of_span(model, SPAN, SHORT, method=method)
    assert "\n" not in str(caught.value)


def test_an_aggregate_with_positive_parts_inside_refuses_a_span(model):
    with pytest.raises(SampleError, match="aggregate 'grad_x_attention' explains one token rather than another"):
        of_span(model, SPAN, SHORT, method="atman_gradient", aggregate="grad_x_attention")


def test_a_span_has_no_scores_of_single_target_tokens(model):
    found = atman_bench.explain(model, prompt_ids=PROMPT, target_ids=SPAN, foil=SHORT)
    assert found.per_target is None
    assert len(found.target_logprobs) == len(SPAN)
    assert len(found.to_dataframe()) == len(PROMPT)


@pytest.mark.parametrize("foil", [SHORT, [FOIL]], ids=["span", "token"])
def test_subsets_of_units_are_asked_for_the_contrast(model, foil):
    target = SPAN if len(foil) > 1 else [TARGET]
    encoded, other = (model.encode_ids(PROMPT, tokens) for tokens in (target, foil))
    masks = random_subsets("a", len(PROMPT), 4)
    contrast, alone, against_it = (
        run_bank(model, one, masks, InterventionOptions()).sum(1)
        for one in (against(encoded, other, "", ""), encoded, other)
    )
    np.testing.assert_allclose(contrast, alone - against_it, rtol=0, atol=1e-4)


def test_foil_is_given_as_text_and_named_in_the_explanation(reader):
    explained = atman_bench.explain(reader, **TEXT, foil=" Rome")
    ids = [reader.tokenizer.convert_tokens_to_ids(text.strip()) for text in (TEXT["target"], " Rome")]
    prompt = reader.tokenizer(TEXT["prompt"])["input_ids"]
    of_ids = atman_bench.explain(reader, prompt_ids=prompt, target_ids=ids[:1], foil=ids[1])
    torch.testing.assert_close(explained.scores, of_ids.scores)
    assert explained.foil == "Rome"
    assert atman_bench.explain(reader, **TEXT).foil is None


def test_foil_of_several_words_is_given_as_text_or_ids_and_in_any_units(reader):
    options = {"prompt": TEXT["prompt"], "target": " Bern and", "foil": " Rome", "units": "word"}
    words = atman_bench.explain(reader, **options)
    prompt = reader.tokenizer(TEXT["prompt"])["input_ids"]
    target, foil = (reader.tokenizer(text)["input_ids"] for text in ("Bern and", "Rome"))
    of_ids = atman_bench.explain(reader, prompt_ids=prompt, target_ids=target, foil=foil)
    assert (len(target), words.foil) == (2, "Rome")
    torch.testing.assert_close(words.scores, of_ids.scores)


def test_the_models_own_answer_is_no_longer_than_the_foil():
    toy = atman_bench.load_model("tiny-text", device="cpu")
    prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
    for foil in (" the", " the bridge was"):
        longest = len(toy.encode_text(prompt, foil).target_ids)
        found = atman_bench.explain(toy, prompt=prompt, foil=foil, method="uniform")
        assert len(found.target_texts) <= longest
        whole = atman_bench.explain(toy, prompt=prompt, method="uniform")
        assert found.target_texts == whole.target_texts[: len(found.target_texts)]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({**TEXT, "foil": " Zebra"}, SampleError, "the foil is not in this model's vocabulary"),
        ({**TEXT, "foil": " Bern"}, SampleError, "target and foil are the same"),
        ({**TEXT, "foil": ""}, SampleError, "the target is empty"),
        ({**TEXT, "foil": " Bern and"}, SampleError, "one of target and foil begins with the other"),
        ({**TEXT, "target": " Bern and", "foil": " Bern"}, SampleError, "one of target and foil begins with the other"),
        ({**TEXT, "foil": " Rome and Zebra"}, SampleError, "the foil is not in this model's vocabulary"),
        ({**TEXT, "foil": 3}, ConfigError, "foil is given as token ids: give text"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": []}, SampleError, "the target is empty"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": " Rome"}, ConfigError, "foil is text: give its token ids"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": 96}, SampleError, "token id 96 is outside the vocabulary"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": -1}, SampleError, "token id -1 is outside the vocabulary"),
    ],
)
def test_foil_that_cannot_be_is_one_clear_line(reader, arguments, error, said):
    with pytest.raises(error, match=said) as caught:
        atman_bench.explain(reader, **arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def pairs(tmp_path) -> Path:
    path = tmp_path / "pairs.csv"
    rows = ["Ada was born in,Bern,Rome,born", "Bern was in,Rome,Zebra,Bern", "Ada does live in,Rome,Bern,live"]
    path.write_text("one_prefix_prefix,one_prefix_word_good,one_prefix_word_bad,target\n" + "\n".join(rows) + "\n")
    return path


def test_run_contrasts_pairs_in_cells_of_their_own(reader, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("atman_bench.evaluation.runner.load_configured", lambda config: reader)
    methods = tuple((name, {}) for name in ("atman", "rollout", "uniform"))
    config = RunConfig(dataset="minimal_pairs", data=str(pairs), methods=methods, results=tmp_path / "results")
    summary = runner.evaluate(config, lambda done, total, doing: None)
    assert summary.uids and len(summary.uids) == 2
    assert summary.skipped == {"the foil is not in this model's vocabulary; give another foil": 1}
    assert summary.computed == {Status.OK: 4, Status.SKIPPED: 2}
    atman, rollout, _ = summary.cells
    assert {stored.status for stored in rollout.maps().values()} == {Status.SKIPPED}

    options = {"minimal_pairs": {"contrastive": False}}
    plain = RunConfig(
        dataset="minimal_pairs", data=str(pairs), methods=methods, datasets=options, results=tmp_path / "results"
    )
    other = runner.evaluate(plain, lambda done, total, doing: None).cells[0]
    assert other.identity.fingerprint != atman.identity.fingerprint
    assert other.maps()["pairs-0"].scores != atman.maps()["pairs-0"].scores
    names = [
        {cell.dataset for cell in runner.rows_of_run(c, runner.evaluate(c, lambda *_: None))} for c in (config, plain)
    ]
    assert names == [{"minimal_pairs (contrastive)"}, {"minimal_pairs"}]


def test_a_run_skips_single_spans_of_a_method_that_explains_none(reader, tmp_path, monkeypatch):
    monkeypatch.setattr("atman_bench.evaluation.runner.load_configured", lambda config: reader)
    path = tmp_path / "pairs.csv"
    rows = ["Ada was born in,Bern and,Rome,born", "Ada does live in,Rome,Bern,live"]
    path.write_text("one_prefix_prefix,one_prefix_word_good,one_prefix_word_bad,target\n" + "\n".join(rows) + "\n")
    methods = (("atman", {}), ("chefer", {}))
    config = RunConfig(dataset="minimal_pairs", data=str(path), methods=methods, results=tmp_path / "results")
    atman, chefer = runner.evaluate(config, lambda done, total, doing: None).cells
    assert {uid: stored.status for uid, stored in atman.maps().items()} == dict.fromkeys(
        ("pairs-0", "pairs-1"), Status.OK
    )
    assert {uid: stored.status for uid, stored in chefer.maps().items()} == {
        "pairs-0": Status.SKIPPED,
        "pairs-1": Status.OK,
    }


def test_faithfulness_of_pairs_is_that_of_the_contrast(reader, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("atman_bench.evaluation.runner.load_configured", lambda config: reader)
    found = {}
    for contrastive in (True, False):
        config = RunConfig(
            dataset="minimal_pairs",
            data=str(pairs),
            methods=(("atman", {}),),
            datasets={"minimal_pairs": {"contrastive": contrastive}},
            limit=1,
            results=tmp_path / "results",
        )
        runner.evaluate(config, lambda done, total, doing: None)
        run = runner.prepare(config)
        (row,) = evaluate_faithfulness(run, config, lambda *_: None, (InterventionOptions(),)).rows
        assert (row.status, row.contrast) == (Status.OK, contrastive)
        item = run.selected.samples[0]
        best = np.argmax(run.cells[0].maps()[item.uid].scores)
        masks = np.stack([np.ones(len(item.label), np.bool_), np.arange(len(item.label)) != best])
        full, without = run_bank(reader, item.encoded, masks, InterventionOptions())[:, 0]
        assert row.values["top1_drop"] == pytest.approx(full - without, abs=1e-5)
        found[contrastive] = row.values
    assert found[True]["top1_drop"] != pytest.approx(found[False]["top1_drop"], abs=1e-3)


def test_measures_of_probabilities_take_the_targets_share_of_the_two():
    logprobs = {True: np.log([0.6, 0.3]), False: np.log([0.1, 0.3])}  # target, foil; with the one unit and without

    def contrast(kept: np.ndarray) -> np.ndarray:
        return np.array([logprobs[bool(one[0])] @ [1, -1] for one in kept])

    bank = np.array([[True], [False]])
    of_sample = SampleMaps("a", "a", 1, 0, Intervention.ATTENTION, (), contrast=True)
    values = score_map(np.ones(1), bank, contrast, probability=of_sample.probability)
    assert values["comprehensiveness"] == pytest.approx(0.6 / 0.9 - 0.1 / 0.4)
    assert values["top1_drop"] == pytest.approx(np.log(2) - np.log(1 / 3))


def test_command_line_explains_one_word_rather_than_another(reader, monkeypatch, capsys):
    monkeypatch.setattr(atman_bench, "load_model", lambda name, **_: reader, raising=False)
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "-p", TEXT["prompt"], "-t", " Bern", "--foil", " Rome"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "rather than 'Rome'" in capsys.readouterr().out
