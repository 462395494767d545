from types import SimpleNamespace

import pytest
import torch

from atman_bench.core.records import Cost, Explained, JointUnits, PatchUnits, TextUnits
from atman_bench.core.tensors import Explanation
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.config import resolve
from atman_bench.paper.kinds import _example_maps
from atman_bench.paper.kinds._example_maps import explain_examples
from atman_bench.paper.kinds.examples import Example

UNITS = JointUnits((PatchUnits((2, 2), (0, 0, 192, 192), (192, 192)), TextUnits(("Q", ":"), ((0, 1), (1, 2)))))
WORDS = (" a", " red", " star")


@pytest.fixture
def read(monkeypatch) -> list[tuple]:
    """What the adapter was given to encode."""
    given = []

    def explain(adapter, encoded, method, options, seed) -> Explanation:
        scores = torch.tensor([0.0, 3.0, 0.0, -9.0, 1.0, 0.0])
        per_target = torch.arange(18.0).reshape(3, 6)
        return Explanation("x", method, "v", scores, per_target, UNITS, WORDS, (-0.1,) * 3, True, Cost(1.0, 1))

    monkeypatch.setattr(_example_maps, "explain_encoded", explain)
    return given


def explained(read, tmp_path, **example):
    options = {"datasets": {"scenes": {"n": 1, "data": str(tmp_path)}}}
    config = resolve(options, {"dataset": "scenes", "methods": ["atman"]}, ())
    (sample,) = DATASETS.get("scenes").load(config.dataset_options).samples
    adapter = SimpleNamespace(
        name="m",
        dtype_name="float32",
        complete=lambda prompt, n, picture: "".join(WORDS),
        encode_text=lambda prompt, target, units, picture, part: read.append((prompt, target, part)),
    )
    (found,) = explain_examples(adapter, config, [Example(sample.uid, **example)])
    return sample, found


def test_the_models_own_words_are_explained_by_picture_and_prompt_together(read, tmp_path):
    _, found = explained(read, tmp_path, prompt="Q:", generated=True)
    assert read == [("Q:", " a red star", Explained.BOTH)]
    assert found.title == "Q: → a red star"


def test_a_sample_is_explained_as_the_dataset_has_it_unless_an_example_says_otherwise(read, tmp_path):
    sample, _ = explained(read, tmp_path)
    explained(read, tmp_path, target=" ring", explained=Explained.IMAGE)
    assert read == [(sample.prompt, sample.target, Explained.BOTH), (sample.prompt, " ring", Explained.IMAGE)]


def test_phrases_that_the_model_does_not_say_are_left_out(read, tmp_path):
    _, found = explained(read, tmp_path, prompt="Q:", generated=True, phrases=("red star", "blue"))
    ((phrase, scores),) = found.heat.phrase_maps()
    assert phrase.text == "red star"
    assert scores.tolist() == [9, 10, 11, 12, 13, 14]


def test_only_positive_relevance_is_shared_between_picture_and_words(read, tmp_path):
    _, found = explained(read, tmp_path)
    assert found.share_on_picture == 0.75
    assert found.highest(3) == [("(0, 1)", 3.0), ("Q", 1.0)]
