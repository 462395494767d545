"""Evaluations of pictures from end to end: tiny folders, a tiny model, the methods' own labels in the rows."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
from lines import Line, lines_in
from PIL import Image

from atman_bench.core.records import Boxes, PatchUnits, Picture, RegionMask, Status
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.dry_run import plan
from atman_bench.evaluation.runner import RunSummary, evaluate, rows_of_run
from atman_bench.evaluation.store import cells
from atman_bench.evaluation.stored import StoredMap
from atman_bench.metrics._align import unit_labels
from atman_bench.metrics._signs import Sign
from atman_bench.metrics.average_precision import average_precision

METRICS = ("average_precision", "average_recall")
METHODS = ("atman", "uniform")
SIZE = (40, 32)
"""Of every picture; the model reads the central 32 x 32 of them."""


@pytest.fixture
def config(tmp_path) -> RunConfig:
    """Names the garment in each picture of a folder in the layout of CCP."""
    tiny_pictures.save(tmp_path / "model")
    for part in ("images", "masks"):
        (tmp_path / "ccp" / part).mkdir(parents=True)
    (tmp_path / "ccp" / "labels.json").write_text('["null", "dress", "hair"]')
    for index in range(3):
        add_garment(tmp_path / "ccp", f"{index:04}", (12, 4 + 6 * index, 24, 10 + 6 * index))
    return RunConfig(
        model=f"magma:{tmp_path / 'model'}",
        dataset="ccp",
        data=str(tmp_path / "ccp"),
        methods=tuple((name, {}) for name in METHODS),
        metrics=METRICS,
        device="cpu",
        results=tmp_path / "results",
    )


def add_garment(folder: Path, name: str, box: tuple[int, int, int, int]) -> None:
    """A picture with a dress (mask value 1) in a box."""
    tiny_pictures.save_noise(folder / "images" / f"{name}.png", SIZE, seed=int(name))
    mask = Image.new("L", SIZE)
    mask.paste(1, box)
    mask.save(folder / "masks" / f"{name}.png")
    listed = folder / "pixel_level_areas.json"
    areas = json.loads(listed.read_text()) if listed.exists() else {}
    listed.write_text(json.dumps(areas | {name: {"dress": 0.1}}))


def run(config: RunConfig, **options: bool) -> RunSummary:
    return evaluate(config, lambda done, total, doing: None, **options)


def row_of(config: RunConfig, uid: str, method: str = "atman", variant: str | None = None) -> Line:
    """The average precision of one picture by a method, of which the run had one variant unless it is named."""
    (found,) = (
        row
        for row in lines_in(config.results)
        if (row.uid, row.method, row.metric) == (uid, method, METRICS[0]) and variant in (None, row.variant)
    )
    return found


def map_of(config: RunConfig, uid: str, method: str = "atman", variant: str | None = None) -> StoredMap:
    (found,) = (
        cell.maps()[uid]
        for cell in cells(config.results)
        if cell.identity.method == method and variant in (None, cell.variant)
    )
    return found


def test_each_picture_gives_a_row_per_method_and_metric(config):
    summary = run(config)
    rows = lines_in(config.results)
    assert summary.computed == {Status.OK: 6}
    assert Counter((r.method, r.metric) for r in rows) == {(m, metric): 3 for m in METHODS for metric in METRICS}
    assert {(r.dataset, r.model, r.n_units) for r in rows} == {("ccp", "model", 16)}
    assert {(r.uid, r.group) for r in rows} == {(f"{name}/dress", name) for name in ("0000", "0001", "0002")}


def test_a_uniform_map_scores_the_share_of_what_the_model_sees(config):
    run(config)
    # The crop to 32 x 32 is the whole height and columns 4 to 36; the dress covers 12 x 6 pixels of it.
    row = row_of(config, "0000/dress", "uniform")
    assert row.value == pytest.approx(12 * 6 / 32**2, abs=1e-5)
    assert row.n_positive == pytest.approx(12 * 6 / 8**2, abs=1e-5)


def test_the_stored_label_is_that_of_the_mask_on_the_models_patches(config):
    run(config)
    folder = Path(config.data)
    label = RegionMask((folder / "masks" / "0001.png",), value=1)
    units = PatchUnits(tiny_pictures.GRID, (4, 0, 36, 32), SIZE)
    expected = unit_labels(label, units, Picture(folder / "images" / "0001.png"))
    stored = map_of(config, "0001/dress")
    np.testing.assert_allclose(stored.label, expected, atol=1e-6)
    value = average_precision(np.maximum(stored.scores, 0), np.array(stored.label))
    assert row_of(config, "0001/dress").value == pytest.approx(value)


def test_every_method_of_pictures_runs_unless_some_are_named(config):
    summary = run(replace(config, methods=(), limit=1))
    assert summary.computed == {Status.OK: len(summary.cells)}
    assert {c.identity.method for c in summary.cells} >= {"atman", "gradcam", "centre", "local_contrast", "occlusion"}


PIXELS = tuple((f"input_x_gradient{variant}", {}) for variant in ("", ":pixels", ":pixels-pooled"))


def test_maps_of_pixels_have_a_label_and_a_number_of_units_of_their_own(config):
    run(replace(config, methods=PIXELS))
    default, pixels, pooled = (
        row_of(config, "0002/dress", "input_x_gradient", variant) for variant in ("default", "pixels", "pixels-pooled")
    )
    assert [r.n_units for r in (default, pixels, pooled)] == [16, tiny_pictures.SIDE**2, 16]
    # The same area, counted in patches of 8 x 8 and in pixels of 2 x 2 of the picture.
    assert pixels.n_positive == pytest.approx(16 * default.n_positive)
    assert pooled.n_positive == default.n_positive


def test_pictures_that_cannot_be_used_are_counted_and_the_run_goes_on(config):
    folder = Path(config.data)
    truncated = folder / "images" / "0000.png"
    truncated.write_bytes(truncated.read_bytes()[:200])
    mask = folder / "masks" / "0001.png"
    mask.write_bytes(b"no picture")
    add_garment(folder, "0003", (0, 0, 3, 32))
    summary = run(config)
    assert summary.computed == {Status.OK: 2}
    assert summary.skipped == {
        "picture file is truncated or no picture": 2,
        "no explained patch holds evidence: it lies outside of what the model sees": 1,
    }
    rows = [r for r in lines_in(config.results) if r.method == "atman" and r.metric == METRICS[0]]
    assert {r.uid: r.status for r in rows} == {
        "0000/dress": Status.SKIPPED,
        "0001/dress": Status.SKIPPED,
        "0002/dress": Status.OK,
        "0003/dress": Status.SKIPPED,
    }
    assert all((r.value is None) == (r.status is Status.SKIPPED) for r in rows)


def test_a_second_run_computes_only_what_is_missing(config):
    run(replace(config, limit=2))
    summary = run(config)
    assert (summary.reused, summary.n_computed) == (4, 2)
    before = lines_in(config.results)
    again = run(config)
    assert (again.reused, again.n_computed) == (6, 0)
    assert lines_in(config.results) == before


def test_a_dry_run_says_what_is_left(config):
    run(replace(config, limit=1, methods=(("atman", {}),)))
    found = {cell.method: (cell.stored, cell.missing, cell.forwards) for cell in plan(config).cells}
    assert found == {"atman": (1, 2, 2 * 17), "uniform": (0, 3, 0)}


# Words with evidence of their own (GQA, A.12)

CAT, OWL = (6.0, 2.0, 14.0, 12.0), (22.0, 16.0, 34.0, 30.0)


@pytest.fixture
def words(config, tmp_path) -> RunConfig:
    """Asks about a cat and an owl, each with a box."""
    folder = tmp_path / "gqa"
    for part in ("questions", "scene_graphs", "images"):
        (folder / part).mkdir(parents=True)
    objects = {
        str(index): {"name": name, "x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}
        for index, (name, (x0, y0, x1, y1)) in enumerate({"cat": CAT, "owl": OWL}.items())
    }
    question = {
        "question": "is the cat near a tall owl",
        "answer": "yes",
        "imageId": "img",
        "isBalanced": True,
        "annotations": {"question": {"2": "0", "5:7": "1"}, "answer": {}, "fullAnswer": {}},
        "types": {"structural": "verify"},
    }
    graph = {"img": {"width": SIZE[0], "height": SIZE[1], "objects": objects}}
    (folder / "questions" / "val_questions.json").write_text(json.dumps({"q": question}))
    (folder / "scene_graphs" / "val_sceneGraphs.json").write_text(json.dumps(graph))
    tiny_pictures.save_noise(folder / "images" / "img.png", SIZE)
    return replace(config, dataset="gqa", data=str(folder))


@pytest.mark.parametrize("sign", [Sign.POSITIVE, Sign.RELEASE_DECODER])
def test_a_question_scores_the_mean_over_its_words_each_against_its_own_box(words, sign):
    run(replace(words, sign=sign))
    stored = map_of(words, "q")
    assert stored.word_of_target == (0, 1, 1)  # cat | tall owl
    picture = Picture(Path(words.data) / "images" / "img.png")
    values = []
    for tokens, box in ((stored.per_target[:1], CAT), (stored.per_target[1:], OWL)):
        relevance = np.array(tokens)
        map_ = np.maximum(relevance.mean(0), 0) if sign is Sign.POSITIVE else np.square(relevance).sum(0)
        label = unit_labels(Boxes((box,)), PatchUnits(tiny_pictures.GRID, (4, 0, 36, 32), SIZE), picture)
        values.append(average_precision(map_, label))
    assert row_of(words, "q").value == pytest.approx(np.mean(values), abs=1e-5)
    assert abs(values[0] - values[1]) > 1e-3


def test_a_uniform_map_scores_the_mean_of_the_words_shares(words):
    run(words)
    shares = [(x1 - x0) * (y1 - y0) / 32**2 for x0, y0, x1, y1 in (CAT, OWL)]
    assert row_of(words, "q", "uniform").value == pytest.approx(np.mean(shares), abs=1e-5)
    assert row_of(words, "q", "uniform").n_positive == pytest.approx(sum(shares) * 16, abs=1e-4)


def test_a_word_that_the_model_does_not_see_is_counted_by_name_and_the_others_are_kept(words):
    file = Path(words.data) / "scene_graphs" / "val_sceneGraphs.json"
    graph = json.loads(file.read_text())
    graph["img"]["objects"]["1"] |= {"x": 0, "w": 3}  # cut off before the model looks
    file.write_text(json.dumps(graph))
    summary = run(words)
    assert summary.skipped == {
        "word 'tall owl': no explained patch holds evidence: it lies outside of what the model sees": 1
    }
    stored = map_of(words, "q")
    picture = Picture(Path(words.data) / "images" / "img.png")
    (label,) = stored.word_labels
    assert label == pytest.approx(
        unit_labels(Boxes((CAT,)), PatchUnits(tiny_pictures.GRID, (4, 0, 36, 32), SIZE), picture), abs=1e-6
    )
    assert set(stored.word_of_target) == {0}


def test_maps_of_pixels_have_words_labels_of_their_own_size(words):
    run(replace(words, methods=PIXELS))
    stored = map_of(words, "q", "input_x_gradient", "pixels")
    assert [len(label) for label in (stored.label, *stored.word_labels)] == [tiny_pictures.SIDE**2] * 3
    assert stored.per_target is None


# Crops (Table 1b)


@pytest.fixture
def openimages(config, tmp_path) -> RunConfig:
    """Names the cat in a picture of 40 x 32 pixels; its box and mask are the left half."""
    folder = tmp_path / "openimages"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    (folder / "class-descriptions-boxable.csv").write_text("/m/01yrx,Cat\n")
    (folder / "train-annotations-object-segmentation.csv").write_text(
        "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU\n"
        "img_m01yrx_0.png,img,/m/01yrx,0,0.0,0.5,0.0,1.0,0.9\n"
    )
    tiny_pictures.save_noise(folder / "images" / "img.png", SIZE)
    mask = Image.new("L", SIZE)
    mask.paste(255, (0, 0, 20, 32))
    mask.save(folder / "masks" / "img_m01yrx_0.png")
    options = {"openimages": {"min_side": 1, "min_aspect": 0.1, "max_aspect": 10}}
    return replace(config, dataset="openimages", data=str(folder), datasets=options)


def test_rows_say_whether_pictures_were_cropped_and_their_cells_are_apart(openimages):
    uncropped = {"openimages": {**openimages.datasets["openimages"], "crop": False}}
    run(openimages)
    summary = run(other := replace(openimages, datasets=uncropped))
    values = {
        r.dataset: r.value for r in lines_in(openimages.results) if (r.method, r.metric) == ("uniform", METRICS[0])
    }
    # Uncropped, the model sees columns 4 to 36; cropped, the central 20 x 20 of the cat.
    assert values == {
        "openimages (uncropped)": pytest.approx(16 / 32, abs=1e-5),
        "openimages (cropped)": pytest.approx(1),
    }
    assert {cell.dataset for cell in rows_of_run(other, summary)} == {"openimages (uncropped)"}
