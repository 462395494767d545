"""The mask bank: which subsets it has, and what the model says under each, against passes over the whole sequence."""

import numpy as np
import pytest
import tiny_models
import torch

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.patching import Editor
from atman_bench.core.errors import AtmanBenchError, ConfigError
from atman_bench.core.measure import count_tokens
from atman_bench.methods._engine import EngineMode
from atman_bench.methods._perturbation import Baseline
from atman_bench.methods._subsets import Intervention, InterventionOptions, random_subsets, run_bank
from atman_bench.methods.atman import AtManConfig, explain
from atman_bench.metrics.faithfulness import without_first
from atman_bench.models._base import Pass

CHUNKS = [[1, 2], [3], [5, 4], list(range(6, 15)), [20]]
"""Groups of prompt positions; some positions are not explained."""

INTERVENTIONS = pytest.mark.parametrize("intervention", Intervention)


@pytest.fixture(params=["llama", "gpt2", "gptj"])
def model(request):
    return tiny_models.adapter(request.param)


@pytest.fixture
def encoded(model):
    return model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, CHUNKS)


def plain_logprobs(model, encoded, kept: list[bool], options: InterventionOptions) -> torch.Tensor:
    """One pass over the whole sequence with all logits, by the model itself."""
    absent = [position for unit, keeps in zip(CHUNKS, kept, strict=True) if not keeps for position in unit]
    edit, embeddings = None, model.embeddings(encoded).clone()
    if options.intervention is Intervention.EMBEDDING:
        embeddings[:, absent] = 0 if options.baseline is Baseline.ZERO else model.mean_embedding()
    else:
        factors = torch.ones(1, encoded.length)
        factors[:, absent] = 1 - options.f
        edit = AttentionEdit(factors, options.form)
    with torch.inference_mode(), model.host.applied(Editor(edit)):
        logits = model.run(encoded, Pass(embeddings=embeddings))[0]
    rows = logits[encoded.target_rows].log_softmax(-1)
    return rows[torch.arange(len(rows)), encoded.target_ids]


@pytest.mark.parametrize(
    "options",
    [
        InterventionOptions(intervention=Intervention.ATTENTION),
        InterventionOptions(intervention=Intervention.ATTENTION, f=0.5, form=Form.LOG),
        InterventionOptions(intervention=Intervention.EMBEDDING),
        InterventionOptions(intervention=Intervention.EMBEDDING, baseline=Baseline.MEAN),
    ],
    ids=["attention", "half", "embedding", "mean"],
)
def test_the_bank_agrees_with_plain_passes(model, encoded, options):
    masks = random_subsets("q1", len(CHUNKS), 12)
    expected = torch.stack([plain_logprobs(model, encoded, mask.tolist(), options) for mask in masks])
    found = run_bank(model, encoded, masks, options)
    assert found.shape == (12, len(tiny_models.TARGET_IDS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.01


@INTERVENTIONS
def test_engines_and_batches_give_the_same_numbers(intervention):
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    masks = random_subsets("q1", len(tiny_models.PROMPT_IDS), 9)
    expected = run_bank(model, encoded, masks, InterventionOptions(intervention=intervention, batch=1))
    for mode in EngineMode:
        options = InterventionOptions(intervention=intervention, engine=mode)
        np.testing.assert_allclose(run_bank(model, encoded, masks, options), expected, rtol=0, atol=1e-4)


@INTERVENTIONS
def test_equal_masks_and_the_full_one_cost_nothing_more(intervention):
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS, CHUNKS)
    options = InterventionOptions(intervention=intervention)
    full, empty = np.ones((3, len(CHUNKS)), bool), np.zeros((4, len(CHUNKS)), bool)
    with count_tokens(model.model) as counter:
        found = run_bank(model, encoded, np.concatenate([full, empty]), options)
    assert counter.tokens == encoded.length + (encoded.length - CHUNKS[0][0])
    np.testing.assert_allclose(found[0], model.plain(encoded).logprobs, rtol=0, atol=1e-5)
    assert (found[:3] == found[0]).all()
    assert (found[3:] == found[3]).all()


def test_one_absent_unit_is_what_atman_suppresses(model, encoded):
    deltas = explain(model, encoded, AtManConfig(f=1.0), seed=0).per_target
    masks = np.concatenate([np.ones((1, len(CHUNKS)), bool), ~np.eye(len(CHUNKS), dtype=bool)])
    logprobs = run_bank(model, encoded, masks, InterventionOptions())
    np.testing.assert_allclose((logprobs[0] - logprobs[1:]).T, deltas, rtol=0, atol=1e-4)


def test_an_order_of_removal_ends_where_the_empty_input_is(model, encoded):
    order = np.array([3, 0, 4, 1, 2])
    curve = run_bank(model, encoded, without_first(order, range(6)), InterventionOptions())
    empty = plain_logprobs(model, encoded, [False] * 5, InterventionOptions())
    np.testing.assert_allclose(curve[-1], empty, rtol=0, atol=1e-4)
    np.testing.assert_allclose(curve[0], model.plain(encoded).logprobs, rtol=0, atol=1e-5)


@INTERVENTIONS
def test_a_bank_leaves_the_model_as_it_was(model, encoded, intervention):
    before = tiny_models.state_of(model.model)
    run_bank(model, encoded, random_subsets("q", len(CHUNKS), 4), InterventionOptions(intervention=intervention))
    assert tiny_models.state_of(model.model) == before


def test_subsets_depend_on_sample_and_seed_alone_and_keep_half():
    masks = random_subsets("a", 50)
    assert masks.shape == (64, 50)
    np.testing.assert_array_equal(masks, random_subsets("a", 50))
    np.testing.assert_array_equal(masks[:8], random_subsets("a", 50, 8))
    assert 0.45 < masks.mean() < 0.55
    for other in (random_subsets("b", 50), random_subsets("a", 50, seed=1)):
        assert 0.4 < (masks == other).mean() < 0.6
    # The same bits on every machine and in every version: stored banks hold numbers, not masks.
    assert np.packbits(random_subsets("a", 4, 4)).tolist() == [168, 202]


def test_masks_of_other_units_are_refused(model, encoded):
    with pytest.raises(AtmanBenchError, match=r"expected shape \(M, 5\), received \(2, 4\)"):
        run_bank(model, encoded, np.ones((2, 4), bool), InterventionOptions())


@pytest.mark.parametrize(
    ("options", "message"), [({"f": 0}, "takes nothing away"), ({"f": 1.5, "form": Form.LOG}, "expected f <= 1")]
)
def test_impossible_interventions_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        InterventionOptions(**options)
