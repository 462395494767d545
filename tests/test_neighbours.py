"""Fig. 3a (i): which patches are chosen, and what is drawn of them."""

from pathlib import Path

import numpy as np
import pytest

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import PatchUnits
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Preset
from atman_bench.paper.kinds._base import Request
from atman_bench.paper.kinds.neighbours import NeighbourLosses, NeighbourRun, three
from atman_bench.report.figures._neighbours import SELECTED, Perturbation, plot_neighbours

ALONE, TOGETHER = np.array([0.1, 0.3, 0.0, 0.2]), np.array([0.9, 0.5, -0.1, 2.0])
STRENGTH = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, 0.9], [0, 0, 0.9, 1]])
EVIDENCE = np.array([1.0, 0.6, 0.0, 0.0])


def test_the_patch_of_the_object_that_matters_most_with_its_similar_ones_is_selected_and_one_elsewhere():
    a, b, c = three(ALONE, TOGETHER, STRENGTH, EVIDENCE)
    assert (a.selected, b.selected, c.selected) == (0, 0, 2)
    assert (a.change, a.together) == (0.1, None)
    assert (b.change, b.together) == (0.1, 0.9)
    assert not a.strength.any()
    np.testing.assert_array_equal(c.strength, STRENGTH[2])


def test_without_an_unrelated_patch_there_is_nothing_to_compare_with():
    with pytest.raises(DataError, match="no unrelated one"):
        three(ALONE, TOGETHER, np.ones((4, 4)), EVIDENCE)


def test_bars_stand_on_the_plain_loss_and_the_selected_patch_has_its_colour():
    units = PatchUnits((2, 2), (0, 0, 4, 4), (4, 4))
    shown = Perturbation("B", 1, np.array([1.0, 1.0, 0, 0]), 0.5, 1.25)
    figure = plot_neighbours(np.zeros((4, 4, 3), np.uint8), units, 2.0, [shown])
    _, patches, bars = figure.axes
    np.testing.assert_array_equal(patches.images[0].get_array()[0, 3], SELECTED)
    assert not np.asarray(patches.images[0].get_array())[3].any()
    assert [(bar.get_y(), bar.get_height()) for bar in bars.patches[:3]] == [(0, 2.0), (2.0, 0.5), (2.5, 0.75)]


def test_the_embedded_model_suppresses_similar_patches_with_the_selected_one(tmp_path: Path):
    spec = EXPERIMENTS.get("fig3a")
    found = spec.runs[Preset.TINY].run(Request(Preset.TINY, tmp_path), lambda *_: None)
    assert isinstance(found, NeighbourLosses)
    _, b, c = found.perturbations
    for one in (b, c):
        assert one.strength[one.selected] == pytest.approx(1)
        assert one.strength[one.strength > 0].min() >= 0.7 - 1e-6
    assert b.strength[c.selected] == 0
    assert found.tables(spec)[0].lines[0][2] == f"{found.plain:.3g}"
    assert list(found.draw(spec, tmp_path)) == ["neighbours"]


def test_a_method_without_neighbours_is_refused(tmp_path: Path):
    run = NeighbourRun(
        {"model": "tiny-magma", "dataset": "scenes", "methods": ["chefer"]}, "scenes-held_out-0-00004/diamond"
    )
    with pytest.raises(ConfigError, match="AtMan with a kappa"):
        run.run(Request(Preset.TINY, tmp_path), lambda *_: None)
