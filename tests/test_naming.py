"""The names that a model finds likeliest, against scoring every name."""

import pytest
import tiny_pictures

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Picture
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.dry_run import plan
from atman_bench.models._label_ranking import likeliest_names

NAMES = [
    ("This is a picture of a", " cat"),
    ("This is a picture of a", " tall cat"),
    ("This is a picture of an", " owl"),
    ("This is a picture of", " hair"),
    ("This is a picture of a", " tall dress"),
]
COMMON = "This is a picture of"


@pytest.fixture(scope="module")
def model():
    return tiny_pictures.adapter()


@pytest.fixture
def picture(tmp_path):
    tiny_pictures.save_noise(tmp_path / "noise.png", (16, 16), seed=5)
    return Picture(tmp_path / "noise.png")


@pytest.mark.parametrize("most", [1, 3, 5])
def test_the_likeliest_names_are_those_of_the_highest_log_probability(model, picture, most):
    scores = {
        (prompt, target): sum(
            model.plain(model.encode_text(COMMON, prompt[len(COMMON) :] + target, picture=picture)).logprobs
        )
        for prompt, target in NAMES
    }
    expected = sorted(NAMES, key=lambda name: -scores[name])[:most]
    assert likeliest_names(model, picture, NAMES, most) == expected


def test_names_cannot_be_asked_of_a_dataset_that_has_none(tmp_path):
    with pytest.raises(ConfigError, match="does not ask for names"):
        plan(RunConfig(dataset="facts", named=1, results=tmp_path))
