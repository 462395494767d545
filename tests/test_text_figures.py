"""Figures of one text: chunks of a document, losses of a sentence, shifts of steered words."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from atman_bench.report.figures._chunks import ChunkColumn, plot_chunks
from atman_bench.report.figures._losses import LossLine, plot_losses
from atman_bench.report.figures._shifts import Shift, plot_shifts
from atman_bench.report.heatmap import colour

TEXTS = ("One chunk.", " another and", " the last.")


def column(group: str, title: str, scores: list[float], expected: tuple[int, ...] = ()) -> ChunkColumn:
    return ChunkColumn(group, title, np.array(scores), expected, "–")


def boxes(axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_question_that_the_document_does_not_answer_has_the_scale_of_the_others():
    columns = [column("f = 1", "Q1", [4.0, 0.0, 0.0], (0,)), column("f = 1", "Q2", [0.01, 0.0, 0.0])]
    axes, bar = plot_chunks(TEXTS, ["Q1: …"], columns).axes
    filled = [to_hex(box.get_facecolor()) for box in boxes(axes) if box.get_fill()]
    # A four hundredth of the largest score is a twentieth of the colour.
    assert filled[:2] == [colour(1, 1), colour(0.05, 1)]
    assert [text.get_text() for text in bar.get_xticklabels()] == ["0", "1", "4"]


def test_the_chunk_with_the_evidence_is_framed_in_every_column_of_its_question():
    columns = [column(f"f = {f}", "Q1", [1.0, 2.0, 0.0], (1,)) for f in (0.9, 1)]
    axes = plot_chunks(TEXTS, [], columns).axes[0]
    framed = [box for box in boxes(axes) if not box.get_fill()]
    assert len(framed) == 2
    assert len({box.get_y() for box in framed}) == 1


def test_noise_has_no_number():
    axes = plot_chunks(TEXTS, [], [column("f = 1", "Q1", [1.5, 0.0, -0.25])]).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert {"+1.50", "-0.25"} <= set(said)
    assert "+0.00" not in said


def test_each_perturbation_has_its_loss_and_its_suppressed_token_marked():
    lines = [LossLine("Ben eats burgers", "", "", 1.72), LossLine("Ben eats ", "burgers", "", 14.2)]
    axes = plot_losses(lines).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert {"1.72", "14.20", "Ben eats burgers"} <= set(said)
    marks = [(box.get_x(), box.get_width()) for box in boxes(axes) if to_hex(box.get_facecolor()) == "#f6b9b5"]
    assert marks[1] == (len("Ben eats "), len("burgers"))


def test_bars_are_as_long_as_losses_and_the_line_is_at_the_plain_one():
    axes = plot_losses([LossLine("a", "", "", 2.0), LossLine("", "a", "", 8.0)]).axes[0]
    bars = [box for box in boxes(axes) if box.get_height() == pytest.approx(0.6)]
    assert bars[1].get_width() == pytest.approx(4 * bars[0].get_width())
    assert axes.lines[0].get_xdata()[0] == pytest.approx(bars[0].get_x() + bars[0].get_width())


def test_long_texts_are_cut_around_the_suppressed_token():
    axes = plot_losses([LossLine("x" * 500, "", "", 1.0), LossLine("x" * 250, "token", "y" * 250, 2.0)]).axes[0]
    (shown,) = (text.get_text() for text in axes.texts if "xtoken" in text.get_text())
    assert shown.startswith("…x")
    assert shown.endswith("y…")


def test_shifts_are_drawn_by_factor_and_a_factor_of_one_shifts_nothing():
    shifts = [Shift("soccer", f, "soccer", first, first / 2) for f, first in ((2.0, 3.0), (0.1, -1.0))]
    axis = plot_shifts(shifts).axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0.1", "1", "2"]
    assert list(axis.lines[0].get_ydata()) == [-1.0, 0.0, 3.0]
    assert list(axis.lines[1].get_ydata()) == [-0.5, 0.0, 1.5]
