"""Contrastive explanations: why one token rather than another."""

import sys
from pathlib import Path

import pytest
import tiny_models
import tiny_pictures
import torch

import atman_bench
from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, NotApplicableError, SampleError
from atman_bench.core.records import Modality, Status
from atman_bench.evaluation import runner
from atman_bench.evaluation.config import RunConfig
from atman_bench.methods import METHODS
from atman_bench.methods._subsets import InterventionOptions, random_subsets, run_bank
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._reading import against

TARGET, FOIL, DIFFERENCE = 13, 66, 95
PROMPT = tiny_models.PROMPT_IDS
TEXT = {"prompt": "Ada was born in", "target": " Bern"}
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
    if METHODS.get(method).contrastive:
        assert torch.isfinite(scores(model, TARGET, FOIL, method=method)).all()
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


def test_faithfulness_is_measured_by_the_target_alone(model):
    encoded = model.encode_ids(PROMPT, [TARGET])
    contrasted = against(encoded, model.encode_ids(PROMPT, [FOIL]), "", "")
    masks = random_subsets("a", len(PROMPT), 4)
    found = [run_bank(model, one, masks, InterventionOptions()) for one in (encoded, contrasted)]
    assert (found[0] == found[1]).all()


def test_foil_is_given_as_text_and_named_in_the_explanation(reader):
    explained = atman_bench.explain(reader, **TEXT, foil=" Rome")
    ids = [reader.tokenizer.convert_tokens_to_ids(text.strip()) for text in (TEXT["target"], " Rome")]
    prompt = reader.tokenizer(TEXT["prompt"])["input_ids"]
    of_ids = atman_bench.explain(reader, prompt_ids=prompt, target_ids=ids[:1], foil=ids[1])
    torch.testing.assert_close(explained.scores, of_ids.scores)
    assert explained.foil == "Rome"
    assert atman_bench.explain(reader, **TEXT).foil is None


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({**TEXT, "foil": " Rome and"}, SampleError, "the foil is no token of this model's vocabulary, but 2"),
        ({**TEXT, "foil": " Zebra"}, SampleError, "the foil is not in this model's vocabulary"),
        ({**TEXT, "foil": " Bern"}, SampleError, "target and foil are the same token"),
        ({**TEXT, "foil": ""}, SampleError, "the target is empty"),
        ({**TEXT, "target": " Bern and", "foil": " Rome"}, SampleError, "the target is 2 tokens"),
        ({**TEXT, "foil": 3}, ConfigError, "foil is a token id: give text"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": " Rome"}, ConfigError, "foil is text: give a token id"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": 96}, SampleError, "token id 96 is outside the vocabulary"),
        ({"prompt_ids": PROMPT, "target_ids": [1], "foil": -1}, SampleError, "token id -1 is outside the vocabulary"),
    ],
)
def test_foil_that_is_no_token_is_one_clear_line(reader, arguments, error, said):
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
    assert summary.skipped == {"the foil is not in this model's vocabulary; give a foil of one token": 1}
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


def test_command_line_explains_one_word_rather_than_another(reader, monkeypatch, capsys):
    monkeypatch.setattr(atman_bench, "load_model", lambda name, **_: reader, raising=False)
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "-p", TEXT["prompt"], "-t", " Bern", "--foil", " Rome"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "rather than 'Rome'" in capsys.readouterr().out
