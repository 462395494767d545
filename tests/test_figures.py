from dataclasses import fields, replace

import numpy as np
import pytest
from lines import Line, frame_of_lines

from atman_bench.core.errors import DataError, StoreError
from atman_bench.core.records import PatchUnits, Status
from atman_bench.methods import METHODS
from atman_bench.methods.floors import FLOORS
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.figures import FIGURES, draw_all
from atman_bench.report.figures._base import main_cells, wrap
from atman_bench.report.figures._styles import style_of
from atman_bench.report.figures.phrases import MOST_PHRASES, phrases_of, word_starts
from atman_bench.report.heatmap import Grid, HeatMap, Phrase


def rows(method: str, n: int, variant: str = "default", dataset: str = "squad") -> list[Line]:
    rng = np.random.default_rng(n)
    return [
        Line(
            fingerprint=method,
            dataset=dataset,
            model="tiny",
            method=method,
            variant=variant,
            uid=f"q{i}",
            metric=metric,
            sign="positive",
            value=rng.random(),
            status=Status.OK,
            group=f"p{i // 2}",
            n_units=8,
            n_positive=1 + i % 4,
        )
        for i in range(n)
        for metric in ("average_precision", "average_recall")
    ]


DRAWN = [
    name
    for name in FIGURES.names
    if {f.name for f in fields(Line)}.issuperset(FIGURES.get(name).columns)
    and {"average_precision", "average_recall"}.issuperset(FIGURES.get(name).metrics)
    and not FIGURES.get(name).methods
]
"""Figures of rows alone; those that need more have tests of their own."""


EXPLAINING = [name for name in METHODS.names if name not in FLOORS]


@pytest.fixture
def frame():
    frame = frame_of_lines(
        [*rows("atman", 12), *rows("atman", 6, "mask"), *rows("lime", 3, "n=9"), *rows("random", 12)]
    )
    return frame.assign(n_questions=frame["group"].str[1:].astype(int) + 1)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_written_in_the_formats_wanted_and_name_their_data(name, frame, tmp_path):
    FIGURES.get(name).draw(frame, tmp_path / "new" / "run.v1")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.v1.png"]
    FIGURES.get(name).draw(frame, tmp_path / "new" / "run.v1", list(FigureFormat))
    svg = (tmp_path / "new" / "run.v1.svg").read_text()
    assert "squad · tiny · n = 12 in 6 groups · sign positive" in svg
    assert (tmp_path / "new" / "run.v1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", DRAWN)
def test_same_rows_give_the_same_file(name, frame, tmp_path):
    FIGURES.get(name).draw(frame, tmp_path / "a", [FigureFormat.SVG])
    FIGURES.get(name).draw(frame, tmp_path / "b", [FigureFormat.SVG])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", DRAWN)
def test_one_method_with_one_sample_can_be_drawn(name, tmp_path):
    FIGURES.get(name).draw(frame_of_lines(rows("atman", 1)).assign(n_questions=1), tmp_path / "one")


def test_figure_says_what_the_rows_lack(frame, tmp_path):
    without = frame[frame["metric"] != "average_recall"].drop(columns="n_questions")
    assert FIGURES.get("methods_bar").lacks(without) == ("average_recall",)
    with pytest.raises(DataError, match="needs n_questions"):
        FIGURES.get("map_by_questions").draw(without, tmp_path / "figure")


def test_every_figure_is_drawn_that_the_rows_allow(frame, tmp_path):
    (tmp_path / "box.svg").write_text("of an earlier run")
    draw_all(frame.drop(columns="n_questions"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in {*DRAWN} - {"map_by_questions"}}


def test_the_points_of_a_sweep_are_drawn_by_figures_of_grids_alone(frame):
    of_sweep = frame.assign(point="f=0.9", **{"grid.f": "0.9"})
    assert FIGURES.get("methods_bar").lacks(of_sweep)
    assert not FIGURES.get("sweep_heatmap").lacks(of_sweep)


def test_two_experiments_in_one_figure_are_refused(tmp_path):
    both = frame_of_lines([*rows("atman", 2), *rows("atman", 2, dataset="facts")])
    with pytest.raises(DataError, match="facts, tiny, positive"):
        FIGURES.get("box").draw(both, tmp_path / "figure")


def test_unwritable_folder_is_one_clear_line(frame, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write the figure"):
        FIGURES.get("target_lengths").draw(frame, tmp_path / "file" / "figure")


def test_main_variant_is_the_one_with_most_samples(frame):
    assert set(main_cells(frame, "average_precision")) == {("atman", "default"), ("lime", "n=9"), ("random", "default")}


def test_coverage_is_the_share_of_a_samples_units_that_is_evidence(frame):
    axis = FIGURES.get("coverage").plot(frame).axes[0]
    assert sum(bar.get_height() for bar in axis.patches) == 12
    # A quarter of the samples each has 1, 2, 3 and 4 of 8 units.
    filled = {round(bar.get_x() + bar.get_width() / 2, 1) for bar in axis.patches if bar.get_height()}
    assert filled == {12.5, 27.5, 37.5, 52.5}
    assert "mean 31.2" in axis.get_xlabel()


def test_an_empty_bin_of_question_counts_moves_no_point():
    # Six quantiles of four samples: the third and the fifth bin are empty.
    frame = frame_of_lines(rows("atman", 4)).assign(n_questions=lambda frame: frame["uid"].str[1:].astype(int) + 1)
    axis = FIGURES.get("map_by_questions").plot(frame).axes[0]
    labels = {
        int(tick): text.get_text().partition("\n")[0]
        for tick, text in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    }
    (line,) = (line for line in axis.lines if line.get_label() == "atman")
    of_precision = frame[frame["metric"] == "average_precision"].set_index("n_questions")["value"]
    shown = {labels[round(x)]: y for x, y in zip(*line.get_data(), strict=True)}
    assert shown == pytest.approx({str(count): 100 * value for count, value in of_precision.items()})


def test_every_floor_has_a_line_of_its_own(monkeypatch):
    monkeypatch.setitem(FLOORS.__dict__, "_own", frozenset({*FLOORS.names, "one", "two", "three"}))
    assert len({style_of(floor).line for floor in FLOORS.names}) == len(FLOORS.names)


# Figures of single examples


def example(per_target: np.ndarray | None = None) -> HeatMap:
    """Four patches above three words, the second with negative relevance."""
    return HeatMap(
        caption="tiny",
        texts=("(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)", "What", " is", " red"),
        scores=np.array([0.0, 0.5, 0.0, 0.0, 0.1, -1.0, 0.2], np.float32),
        target_texts=(" a", " star") if per_target is not None else (" star",),
        per_target=per_target,
        prompt="What is red",
        spans=(None, None, None, None, (0, 4), (4, 7), (7, 11)),
        grids=(Grid(0, PatchUnits((2, 2), (0, 0, 8, 8), (8, 8))),),
        picture=np.full((8, 8, 3), 90, np.uint8),
    )


def examples(*heats: HeatMap):
    records = [row for i in range(len(heats)) for row in rows(f"method{i}", 1)[:1]]
    return frame_of_lines(records).assign(example="What is red → star", heat=list(heats))


@pytest.mark.parametrize(("name", "panels"), [("examples", 3), ("phrases", 6)])
def test_examples_show_the_picture_and_a_map_for_each_method_or_token(name, panels, tmp_path):
    frame = examples(example(np.eye(2, 7, dtype=np.float32)), example(np.eye(2, 7, dtype=np.float32)))
    axis = FIGURES.get(name).plot(frame).axes[0]
    assert len(axis.images) == panels
    FIGURES.get(name).draw(frame, tmp_path / "figure", [FigureFormat.SVG])
    assert "squad · tiny · n = 1 in 1 groups" in (tmp_path / "figure.svg").read_text()


def test_examples_leave_evidence_against_the_target_white():
    axis = FIGURES.get("examples").plot(examples(example())).axes[0]
    assert [patch.get_facecolor()[:3] == (1, 1, 1) for patch in axis.patches] == [False, True, False]


def test_methods_that_explain_no_single_token_are_left_out_of_phrases():
    frame = examples(example(), example(np.eye(2, 7, dtype=np.float32)))
    assert len(FIGURES.get("phrases").plot(frame).axes[0].images) == 3


def test_phrases_that_are_named_replace_tokens():
    heat = replace(example(np.eye(2, 7, dtype=np.float32)), phrases=(Phrase("a star", (0, 2)),))
    (panel,) = phrases_of(heat, heat.per_target, "nats")
    assert panel.title == "“a star”"
    assert panel.scores[:2].tolist() == [0.5, 0.5]


def test_long_generations_are_cut_into_runs_of_words():
    long = HeatMap(
        "m", ("a",), np.ones(1), tuple(f"w{i} " for i in range(14)), np.arange(14.0)[:, None], "a", ((0, 1),)
    )
    panels = phrases_of(long, long.per_target, "nats")
    assert len(panels) == MOST_PHRASES
    assert panels[0].title == "“w0 w1”"
    assert [float(panel.scores[0]) for panel in panels] == [0.5, 3.0, 5.5, 7.5, 10.0, 12.5]


@pytest.mark.parametrize(
    ("texts", "starts"),
    [
        ((" ", "um", "brel", "la"), [0]),
        ((" a", " bea", "ver", " swims"), [0, 1, 3]),
        (("w0 ", "w1 "), [0, 1]),
        (("one", "two"), [0, 1]),
    ],
)
def test_pieces_of_a_word_are_one_phrase(texts, starts):
    assert word_starts(texts) == starts


def test_panels_of_one_unit_share_a_colour_scale():
    quiet, loud = (replace(example(), scores=scale * example().scores) for scale in (1, 100))
    figure = FIGURES.get("examples").plot(examples(quiet, loud).assign(method="atman", example=["a", "b"]))
    words = [np.array(patch.get_facecolor()[:3]) for patch in figure.axes[0].patches]
    first, second = np.split(np.array(words), 2)
    # A hundredth of the score is a tenth of the colour.
    np.testing.assert_allclose((1 - first).max(), (1 - second).max() / 10, atol=0.01)
    assert len(figure.axes) == 2
    assert figure.axes[1].get_xlabel() == "change of the loss, nats"


def test_each_group_of_question_counts_says_how_many_samples_it_has(frame):
    axis = FIGURES.get("map_by_questions").plot(frame).axes[0]
    said = [text.get_text().rpartition("n = ")[2] for text in axis.get_xticklabels()]
    assert len(said) > 1
    assert sum(map(int, said)) == frame["uid"].nunique()


@pytest.mark.parametrize("looks", ["colour", "marker"])
def test_every_method_has_a_colour_and_a_marker_of_its_own(looks):
    found = [getattr(style_of(method), looks) for method in EXPLAINING]
    assert len(set(found)) == len(found)


def test_floors_are_told_apart_from_methods_and_from_one_another():
    assert len({style_of(name).marker for name in METHODS.names}) == len(METHODS.names)
    greys = {style_of(floor).colour for floor in FLOORS.names}
    assert not greys & {style_of(method).colour for method in EXPLAINING}


def test_a_method_of_another_package_can_be_drawn(tmp_path):
    assert style_of("of_somebody").marker not in {style_of(method).marker for method in METHODS.names}
    FIGURES.get("box").draw(frame_of_lines(rows("of_somebody", 3)), tmp_path / "figure")


def test_a_long_title_is_broken_between_its_parts():
    assert wrap("measured · cpu · two threads", 16) == "measured · cpu\ntwo threads"
    assert wrap("one long part", 4) == "one long part"
