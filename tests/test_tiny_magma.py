"""The shipped picture model: what it can do, and that its explanations depend on what is asked."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import atman_bench
from atman_bench.datasets.scenes import ScenesConfig, Task, load
from atman_bench.metrics._align import unit_labels
from atman_bench.models.photo_magma import WEIGHTS as PHOTO_MAGMA
from atman_bench.models.tiny_magma import WEIGHTS

SHIPPED_BYTES = 8_000_000


@pytest.fixture(scope="module")
def model():
    return atman_bench.load_model("tiny-magma", device="cpu")


@pytest.mark.parametrize("folder", [WEIGHTS, PHOTO_MAGMA], ids=lambda folder: folder.name)
def test_the_shipped_files_are_small(folder):
    assert 0 < sum(path.stat().st_size for path in folder.iterdir()) < SHIPPED_BYTES


def test_its_grid_is_the_papers(model, tmp_path):
    sample = load(ScenesConfig(n=1, data=str(tmp_path))).samples[0]
    assert model.encode(sample).units.grid == (12, 12)


def test_it_names_the_object_that_a_held_out_picture_is_cut_to(model, tmp_path):
    samples = load(ScenesConfig(n=100, seed=9, crop=True, data=str(tmp_path))).samples
    named = [model.plain(model.encode(sample)).answered for sample in samples]
    assert np.mean(named) >= 0.95


def test_it_answers_questions_about_held_out_scenes(model, tmp_path):
    samples = load(ScenesConfig(n=150, seed=9, task=Task.QUESTIONS, data=str(tmp_path))).samples
    answered = {sample.uid: model.plain(model.encode(sample)).answered for sample in samples}
    assert np.mean(list(answered.values())) >= 0.85


def test_two_targets_on_one_picture_have_different_maps(model, tmp_path):
    first, second = load(ScenesConfig(n=2, seed=3, data=str(tmp_path))).samples[:2]
    assert first.picture == second.picture
    assert first.target != second.target
    maps, shares = [], []
    for sample in (first, second):
        scores = atman_bench.explain(
            model, prompt=sample.prompt, target=sample.target, image=sample.picture.path, explained="image"
        ).scores.clamp(min=0)
        maps.append(scores)
    assert spearmanr(*map(torch.Tensor.numpy, maps)).statistic < 0.9
    for sample, own, other in ((first, *maps), (second, *reversed(maps))):
        label = torch.tensor(unit_labels(sample.label, model.encode(sample).units, sample.picture))
        shares.append(((own * label).sum() / own.sum(), (other * label).sum() / other.sum()))
    # Each target's map lies more on its own object than the other target's map does.
    assert all(own > other for own, other in shares)
