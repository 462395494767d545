"""Maps over pictures: what is drawn lies where the patches are, and stored maps find their pictures again."""

import json
import shutil
import sys

import numpy as np
import pytest
import tiny_pictures
from lines import Line, lines_in, lines_of
from PIL import Image

from atman_bench.cli.app import main
from atman_bench.core.errors import DataError
from atman_bench.core.records import PatchUnits
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import evaluate
from atman_bench.evaluation.scoring import grid_facts, grid_of
from atman_bench.evaluation.store import cells
from atman_bench.evaluation.stored import StoredMap
from atman_bench.metrics._signs import Sign
from atman_bench.report._overlay import overlay, pooled, spread
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.figures import FIGURES
from atman_bench.report.figures.maps import plot
from atman_bench.report.picture_maps import frame_of_maps, picture_maps
from atman_bench.report.stored_maps import Selection

GREY = np.full((4, 4, 3), 100, np.uint8)


# Pixels


def test_each_pixel_has_the_score_of_the_patch_that_holds_its_centre():
    units = PatchUnits((2, 2), (1.0, 0.0, 5.0, 4.0), (6, 4))
    nothing = float("nan")
    expected = [[nothing, 0, 0, 1, 1, nothing]] * 2 + [[nothing, 2, 2, 3, 3, nothing]] * 2
    np.testing.assert_array_equal(spread(units, np.arange(4), (4, 6)), expected)


def test_a_picture_of_another_resolution_shows_the_same_patches():
    units = PatchUnits((2, 2), (10.0, 0.0, 50.0, 40.0), (60, 40))
    scores = np.random.default_rng(0).random(4)
    fine, coarse = (spread(units, scores, shape) for shape in ((40, 60), (4, 6)))
    np.testing.assert_array_equal(fine[5::10, 5::10], coarse)


def test_patches_beyond_the_picture_are_cut():
    """A model that pads explains places where there is no picture."""
    units = PatchUnits((1, 2), (-4.0, 0.0, 4.0, 4.0), (4, 4))
    np.testing.assert_array_equal(spread(units, np.array([5.0, 7.0]), (4, 4)), np.full((4, 4), 7.0))


def test_support_is_red_opposition_blue_and_nothing_grey():
    relevance = np.zeros((4, 4))
    relevance[0, 0], relevance[0, 1] = 2, -2
    red, blue, grey = overlay(GREY, relevance, 2)[0, :3].astype(int)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert len(set(grey)) == 1


def test_more_relevance_is_darker_so_that_a_map_can_be_printed_in_black_and_white():
    shown = overlay(np.full((1, 4, 3), 100, np.uint8), np.array([[0, 1, 2, 3.0]]), 3).mean(-1)[0]
    assert (np.diff(shown) < 0).all()


def test_what_is_not_explained_is_paler_than_what_scores_nothing():
    relevance = np.zeros((4, 4))
    relevance[:, 3] = np.nan
    shown = overlay(GREY, relevance, 1)
    assert (shown[:, 3] > shown[:, 0]).all()


def test_a_map_of_zeros_colours_nothing():
    assert np.ptp(overlay(GREY, np.zeros((4, 4)), 0), axis=-1).max() == 0


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (2, 3)])
def test_a_large_map_is_averaged_in_blocks(shape):
    scores = np.random.default_rng(0).random(shape)
    size = -(-max(shape) // 3)
    blocks = [
        [scores[r : r + size, c : c + size].mean() for c in range(0, shape[1], size)] for r in range(0, shape[0], size)
    ]
    np.testing.assert_allclose(pooled(scores, 3), blocks)


# Stored maps


@pytest.mark.parametrize("area", [(0.0, 0.0, 336.0, 336.0), (42 / 213 * 100, -0.125, 170 / 213 * 100, 60.0)])
def test_a_stored_map_says_where_its_patches_are(area):
    units = PatchUnits((12, 10), area, (640, 480))
    found = grid_of(StoredMap("a", "ok", facts=grid_facts(units)), (640, 480))
    assert (found.grid, found.size) == (units.grid, units.size)
    np.testing.assert_allclose(found.area, area, rtol=1e-9)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunConfig:
    """An evaluation of three pictures, each with one white square on noise."""
    folder = tmp_path_factory.mktemp("maps")
    tiny_pictures.save(folder / "model")
    data = folder / "data"
    data.mkdir()
    listed = []
    for index in range(3):
        tiny_pictures.save_noise(data / f"{index}.png", (40, 32), seed=index)
        mask = Image.new("L", (40, 32))
        mask.paste(255, (12 + 4 * index, 8, 20 + 4 * index, 16))
        mask.save(data / f"{index}-mask.png")
        listed.append({"image": f"{index}.png", "mask": f"{index}-mask.png", "class": "cat"})
    (data / "segmented.json").write_text(json.dumps(listed))
    config = RunConfig(
        model=f"magma:{folder / 'model'}",
        dataset="caltech101",
        data=str(data),
        methods=tuple((name, {}) for name in ("atman", "input_x_gradient:pixels", "uniform")),
        device="cpu",
        results=folder / "results",
    )
    evaluate(config, lambda *progress: None)
    return config


def maps_of(run: RunConfig, sign: Sign = Sign.POSITIVE, **selection):
    return picture_maps(run.results, run.dataset_options.data, sign, Selection(**selection))


def test_no_stored_file_says_where_the_machine_keeps_its_pictures(run):
    files = list(run.results.glob("*/*/*/*/maps*.jsonl"))
    assert files
    assert not any(run.dataset_options.data in file.read_text() for file in files)


def test_maps_come_sample_by_sample_without_the_floors(run):
    found = maps_of(run, n=2)
    assert [item.cell.method for item in found] == ["atman", "input_x_gradient"] * 2
    assert len({item.uid for item in found}) == 2
    assert {item.explained for item in found} == {"cat"}


def test_methods_and_samples_come_in_the_order_wanted(run):
    uids = sorted({row.uid for row in lines_in(run.results)})[::-1]
    found = maps_of(run, methods=["uniform", "input-x-gradient:pixels"], uids=uids)
    assert [(item.uid, item.cell.method) for item in found] == [
        (uid, method) for uid in uids for method in ("uniform", "input_x_gradient")
    ]


def test_a_map_has_its_own_grid_on_what_the_model_sees(run):
    patches, pixels = maps_of(run, n=1)
    assert (patches.units.grid, pixels.units.grid) == (tiny_pictures.GRID, (tiny_pictures.SIDE,) * 2)
    # The model reads the central square of a picture of 40 x 32 pixels.
    np.testing.assert_allclose(patches.units.area, (4, 0, 36, 32))
    assert patches.units.size == (40, 32)
    assert len(pixels.scores) == len(pixels.units)


def test_a_map_follows_the_sign_rule_and_scores_what_its_row_does(run):
    positive, signed = (maps_of(run, sign, methods=["atman:shifted"], n=3) for sign in (Sign.POSITIVE, Sign.SIGNED))
    for one, other in zip(positive, signed, strict=True):
        np.testing.assert_array_equal(one.scores, np.maximum(other.scores, 0))
    stored: dict[str, Line] = {
        row.uid: row for row in lines_in(run.results) if (row.method, row.metric) == ("atman", "average_precision")
    }
    lines = lines_of(item.cell for item in positive)
    assert lines == [stored[line.uid] for line in lines]


def test_each_word_of_a_question_has_a_map_of_its_own(run, tmp_path):
    config = RunConfig(
        model=run.model,
        dataset="scenes",
        datasets={"scenes": {"n": 2, "task": "questions", "data": str(tmp_path / "scenes")}},
        methods=(("atman", {}),),
        device="cpu",
        limit=1,
        results=tmp_path / "results",
    )
    evaluate(config, lambda *progress: None)
    (cell,) = cells(config.results)
    (stored,) = cell.maps().values()
    found = picture_maps(config.results, str(tmp_path / "scenes"), Sign.POSITIVE, Selection())
    assert len(found) == len(stored.word_labels)
    assert [item.word for item in found] == list(range(len(found)))
    assert np.nanmean([line.value for line in lines_of(item.cell for item in found)]) == pytest.approx(
        next(row.value for row in lines_in(config.results) if row.metric == "average_precision")
    )


def test_other_data_than_the_maps_were_computed_on_are_refused(run, tmp_path):
    shutil.copytree(run.dataset_options.data, tmp_path / "data")
    (tmp_path / "data" / "segmented.json").write_text("[]  ")
    with pytest.raises(DataError):
        picture_maps(run.results, str(tmp_path / "data"), Sign.POSITIVE, Selection())
    entries = json.loads((run.results.parent / "data" / "segmented.json").read_text())
    (tmp_path / "data" / "segmented.json").write_text(json.dumps(entries[:2]))
    with pytest.raises(DataError, match="other data"):
        picture_maps(run.results, str(tmp_path / "data"), Sign.POSITIVE, Selection())


# The figure


def test_a_row_per_sample_and_a_column_per_method(run):
    figure = plot(frame_of_maps(maps_of(run, n=2)))
    titles = [axis.get_title().replace("\n", "") for axis in figure.axes]
    bars = ["", ""]
    assert titles == ["picture", "atman:shifted", "input_x_gradient:pixels", "", "", "", *bars]
    assert [axis.get_ylabel() for axis in figure.axes] == ["cat", "", "", "cat", "", "", *bars]
    said = [axis.get_xlabel().replace("\n", " ") for axis in figure.axes[-2:]]
    assert said == ["change of the loss, nats", "input x gradient of pixels (own unit)"]


def reds(axis) -> np.ndarray:
    """(h, w) how much redder than grey each pixel of a drawn map is."""
    shown = np.asarray(axis.images[0].get_array()).astype(int)
    return shown[..., 0] - shown[..., 2]


def test_maps_of_one_unit_share_a_colour_scale_over_all_rows(run):
    frame = frame_of_maps(maps_of(run, n=2, methods=["atman:shifted"]))
    loud = np.zeros(len(frame["map"][0]))
    loud[0] = 1.0
    frame = frame.assign(map=[loud, loud / 4], noise=0.0)
    _, first, _, second, bar = plot(frame).axes
    # A quarter of the score is half the colour: the scale is a square root.
    strongest, weaker = reds(first).max(), reds(second).max()
    assert weaker == pytest.approx(strongest / 2, rel=0.05)
    assert [text.get_text() for text in bar.get_xticklabels()] == ["0", "1"]


def test_what_rounding_can_make_is_drawn_as_nothing(run):
    frame = frame_of_maps(maps_of(run, n=1, methods=["atman:shifted"]))
    assert frame["noise"][0] >= 16 * np.finfo(np.float32).eps
    frame = frame.assign(map=[np.full(len(frame["map"][0]), 3.6e-07)])
    _, shown, bar = plot(frame).axes
    assert not reds(shown).any()
    assert [text.get_text() for text in bar.get_xticklabels()] == ["nothing above the noise"]


def test_a_method_without_a_map_of_a_sample_leaves_a_gap(run):
    frame = frame_of_maps(maps_of(run, n=2)).drop(index=1)
    # The first sample lacks its second map.
    gap = [[text.get_text() for text in axis.texts] for axis in plot(frame.sort_values("uid", kind="stable")).axes]
    assert sum(texts == ["no map"] for texts in gap) == 1


def test_the_outline_encloses_the_evidence(run):
    figure = plot(frame_of_maps(maps_of(run, n=1)))
    uid = maps_of(run, n=1)[0].uid
    mask = np.asarray(Image.open(f"{run.dataset_options.data}/{uid.removeprefix('cat/')}-mask.png")) > 0
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    outline = figure.axes[0].collections[-1].get_paths()[0].vertices
    np.testing.assert_allclose(outline.min(0), [columns[0] - 0.5, rows[0] - 0.5])
    np.testing.assert_allclose(outline.max(0), [columns[-1] + 0.5, rows[-1] + 0.5])


def test_the_same_maps_give_the_same_file(run, tmp_path):
    frame = frame_of_maps(maps_of(run, n=1))
    for name in ("a", "b"):
        FIGURES.get("maps").draw(frame, tmp_path / name, [FigureFormat.SVG])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


# The command


def command(monkeypatch, capsys, run: RunConfig, *arguments: str) -> tuple[int, str, str]:
    data = run.dataset_options.data
    monkeypatch.setattr(sys, "argv", ["atman-bench", "maps", str(run.results), "--data", data, *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize(
    ("name", "more", "written"),
    [
        ("figure", (), ["figure.png"]),
        ("figure.svg", (), ["figure.svg"]),
        ("figure.png", ("--figure-format", "png,svg"), ["figure.png", "figure.svg"]),
        ("figure.v1", ("--figure-format", "svg"), ["figure.v1.svg"]),
    ],
)
def test_the_command_writes_the_formats_that_are_wanted(run, monkeypatch, capsys, tmp_path, name, more, written):
    code, said, _ = command(
        monkeypatch, capsys, run, "--out", str(tmp_path / name), "--n", "1", "--methods", "atman:shifted", *more
    )
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert all(name in said.replace("\n", "") for name in written)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "atman:shiftet"), "did you mean 'atman:shifted'"),
        (("--uids", "nowhere"), "unknown sample with a map 'nowhere'"),
        (("--sign", "positiv"), "did you mean 'positive'"),
        (("--dataset", "caltech"), "did you mean 'caltech101'"),
        (("--model", "other"), "unknown model"),
        (("--figure-format", "pgn"), "did you mean 'png'"),
        (("--figure-format", "png,"), "unknown figure format 'png,'"),
    ],
)
def test_what_is_not_in_the_results_is_one_line(run, monkeypatch, capsys, tmp_path, arguments, said):
    code, _, err = command(monkeypatch, capsys, run, "--out", str(tmp_path / "figure"), *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
