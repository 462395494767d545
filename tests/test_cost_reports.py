"""Tables and figures of costs."""

from pathlib import Path

import pytest
from scale_rows import row
from typer.testing import CliRunner

from atman_bench.cli.app import app
from atman_bench.core.errors import DataError
from atman_bench.paper.experiments._runs import SIMULATED_MARKS
from atman_bench.profiling.grid import read_scale_rows
from atman_bench.profiling.rows import Agreement, ScaleRow, ScaleStatus, Source
from atman_bench.report.costs import agreement_markdown, frame_of, markdown, most_parallel
from atman_bench.report.figures import FIGURES, scaling


def frame():
    rows = [
        row(method=m, variant=v, tokens=t, seconds=(s * t,), peak_bytes=(t * 1000,), units=u, batch=b, **model)
        for model in (
            {"model": "random:10M", "model_bytes": 100_000_000},
            {"model": "random:90M", "model_bytes": 800_000_000, "parameters": 90_000_000},
        )
        for t in (128, 512)
        for m, v, s, u, b in (
            ("plain", "lean", 1, None, None),
            ("atman", "default", 9, 16, 1),
            ("chefer", "default", 3, None, None),
        )
    ]
    oom = row(tokens=1024, status=ScaleStatus.OOM, seconds=(), peak_bytes=())
    return frame_of([*rows, oom], extrapolate=True)


def test_ratios_are_to_the_lean_plain_pass_of_the_same_length():
    chefer = frame().query("method == 'chefer' and status == 'ok'")
    assert (chefer["time_ratio"] == 3).all()
    assert (chefer["peak_ratio"] == 1).all()


def test_without_asking_nothing_is_extrapolated():
    partial = frame_of([row(method="atman", units=4, batch=1)])
    assert partial["time"].isna().all()
    assert "≈" not in markdown(partial)


def panels(figure) -> dict[str, object]:
    """Left axes of the scaling figure by their titles; each is followed by its right one."""
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def right_of(axis):
    return next(other for other in axis.figure.axes if other is not axis and other.bbox.bounds == axis.bbox.bounds)


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(axis, style: str) -> list[tuple[float, ...]]:
    return [tuple(line.get_ydata()) for line in axis.lines if line.get_linestyle() == style]


def test_the_figure_has_a_panel_for_each_method_with_weights_and_a_green_baseline(tmp_path):
    figure = FIGURES.get("scaling").plot(frame())
    assert list(panels(figure)) == ["atman, batch 1, time ≈", "chefer"]
    chefer = panels(figure)["chefer"]
    baseline, short, long = drawn(chefer, "-")[-3:]
    assert short == pytest.approx((0.100128, 0.800128))  # two models, weights and peak
    assert long == baseline == pytest.approx((0.100512, 0.800512))
    assert drawn(right_of(chefer), "--")[1] == (384.0, 384.0)
    assert legend_of(figure)[-3:] == ["plain:lean, 512 tokens", "peak memory (left)", "time (right)"]
    FIGURES.get("scaling").draw(frame(), tmp_path / "scaling")
    assert (tmp_path / "scaling.png").exists()


def test_the_figure_marks_what_did_not_fit_above_everything_else():
    figure = FIGURES.get("scaling").plot(frame())
    chefer = panels(figure)["chefer"]
    (mark,) = [line for line in chefer.lines if line.get_transform() == chefer.get_xaxis_transform()]
    highest = max(max(values) for values in drawn(chefer, "-"))
    assert highest / chefer.get_ylim()[1] < 1 - scaling._BAND < mark.get_ydata()[0] < 1
    assert "lightning: out of memory; ≈: extrapolated" in figure._supxlabel.get_text()


def test_one_model_is_drawn_over_the_lengths():
    one = frame().query("model == 'random:10M'")
    axis = panels(FIGURES.get("scaling").plot(one))["chefer"]
    assert axis.get_xlabel() == "tokens"
    assert drawn(axis, "-")[-1] == pytest.approx((0.100128, 0.100512))


def test_speed_up_and_efficiency_are_over_one_worker_with_one_perturbation_a_pass():
    rows = [
        row(method="atman", units=128, batch=b, workers=w, threads=2 // w, seconds=(s,))
        for b, w, s in ((1, 1, 12.0), (4, 1, 6.0), (1, 2, 6.0), (4, 2, 3.0))
    ]
    found = most_parallel(frame_of(rows))
    assert found[["workers", "batch", "speed_up", "efficiency"]].to_numpy().tolist() == [
        [1, 1, 1, 1],
        [1, 4, 2, 0.5],
        [2, 1, 2, 1],
        [2, 4, 4, 0.5],
    ]
    assert "| 4 per pass, 2 workers | 3 | 4.00 | 0.50 |" in markdown(frame_of(rows))
    figure = FIGURES.get("parallel").plot(found)
    assert "fastest: 4 per pass, 2 workers: 4.00 times as fast, efficiency 0.50" in figure._supxlabel.get_text()


def at_paper_size(method: str, variant: str, tokens: int, **changes: object) -> ScaleRow:
    perturbs = {"batch": 1, "units": tokens} if method == "atman" else {}
    cell = {"model": "random:17.3B", "method": method, "variant": variant, "tokens": tokens}
    return row(**cell, **perturbs, source=Source.SIMULATED, model_bytes=34 * 10**9, peak_bytes=(10**9,), **changes)


def test_the_paper_s_readings_stand_beside_our_cells():
    rows = [
        at_paper_size("atman", "default", 1024, seconds=(100.0,)),
        at_paper_size("chefer", "full", 1024, seconds=(1.0,), status=ScaleStatus.OOM),
        at_paper_size("chefer", "default", 1024, seconds=(1.0,)),
    ]
    shown = [
        line for line in markdown(frame_of(rows)).partition("Beside the paper")[2].splitlines() if "random" in line
    ]
    shown = [line for line in shown if line.endswith("ok (simulated) |") or "chefer:full |" in line]
    assert len(shown) == 2  # the paper shows only Chefer with gradients of all weights
    assert "| atman, batch 1 | 100 | 343.5 | 35.0 | 38.7 | ok (simulated) |" in shown[0]
    assert "| chefer:full | 1 | oom | 35.0 | oom | oom (simulated) |" in shown[1]
    assert "Beside the paper" not in markdown(frame())


def test_the_figure_marks_the_paper_s_readings():
    rows = [at_paper_size("atman", "default", tokens, seconds=(9.0,)) for tokens in (512, 1024)]
    figure = FIGURES.get("scaling").plot(frame_of([*rows, at_paper_size("chefer", "full", 512, seconds=(1.0,))]))
    atman = panels(figure)["atman, batch 1"]
    found = {
        mark: [line.get_ydata()[0] for line in axis.lines if line.get_marker() == mark]
        for axis, mark in ((atman, "+"), (right_of(atman), "x"))
    }
    assert found == {"+": [36.5, 38.7], "x": [79.0, 343.5]}  # memory with weights
    assert legend_of(figure)[-3:] == ["memory in the paper", "time in the paper", "did not fit in the paper"]


def test_the_paper_s_lightnings_are_compared_mark_by_mark():
    rows = [
        at_paper_size("chefer", "full", 512, status=ScaleStatus.OOM),
        at_paper_size("chefer", "full", 1024),
        at_paper_size("chefer", "default", 1024),
        at_paper_size("chefer", "full", 256, status=ScaleStatus.OOM),  # where the paper has none
    ]
    text = markdown(frame_of(rows)).partition("out-of-memory marks")[2]
    assert "| 512 | out of memory | out of memory (simulated) | 35.0 | – | – |" in text
    assert "| 1024 | out of memory | fits (simulated) | 35.0 | fits (simulated) | 35.0 |" in text
    assert "chefer:full: 1 of the paper's 2 marks come out, and 1 where it has none (1 cells)" in text
    assert "chefer: 0 of the paper's 1 marks come out" in text


def test_gradients_stand_beside_a_plain_pass_of_the_greatest_length():
    rows = [
        row(method=m, variant=v, tokens=t, model_bytes=100, peak_bytes=(p,), status=s)
        for m, v, t, p, s in (
            ("plain", "default", 1024, 100, ScaleStatus.OK),
            ("input_x_gradient", "default", 1024, 300, ScaleStatus.OK),
            ("integrated_gradients", "batched", 512, 300, ScaleStatus.OK),
            ("integrated_gradients", "batched", 1024, 900, ScaleStatus.OOM),
            ("gradcam", "default", 144, 110, ScaleStatus.OK),
        )
    ]
    text = markdown(frame_of(rows)).partition("Memory beside a plain pass")[2]
    assert "| 4e-07 (+100%) | 1e-06 (+400%, oom) | 2.1e-07 (+5%) |" in text
    assert "out of memory in 1 of 2 sizes and lengths" in text


def test_agreement_is_told_cell_by_cell_and_by_method():
    pairs = [Agreement(row(peak_bytes=(measured * 10**6,)), row(peak_bytes=(110 * 10**6,))) for measured in (100, 220)]
    text = agreement_markdown([*pairs, Agreement(row(method="rollout"), row(method="rollout"))])
    assert "| chefer | 2 | 0.80 | 0.50 to 1.10 |" in text
    assert "| all | 3 | 1.00 | 0.50 to 1.10 |" in text
    assert "| random:10M | 128 | chefer | 220 | 110 | 0.50 |" in text


def test_agreement_without_large_cells_is_refused(tmp_path):
    arguments = ["scale", "--tokens", "16", "--methods", "plain:lean", "--threads", "1", "--repeats", "1"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--agreement", "--results", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    assert "above 100 MB" in str(result.exception)


def test_figures_of_costs_leave_evaluations_alone():
    assert FIGURES.get("parallel").lacks(frame_of([row()])) == ("costs of several sizes",)


def test_reports_of_costs_do_without_torch():
    import subprocess
    import sys

    code = "import sys, atman_bench.report.costs; from atman_bench.report.figures import scaling; print(*sys.modules)"
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert "torch" not in result.stdout.split()


def test_measured_and_simulated_cells_of_one_method_are_two_panels():
    measured = [row(method="chefer", tokens=tokens) for tokens in (128, 256)]
    simulated = [row(method="chefer", tokens=tokens, source=Source.SIMULATED) for tokens in (128, 256)]
    spec = FIGURES.get("scaling")
    assert list(panels(spec.plot(spec.select(frame_of([*measured, *simulated]))))) == ["chefer", "chefer (simulated)"]
    assert list(panels(spec.plot(spec.select(frame_of(simulated))))) == ["chefer"]


def test_what_experiments_say_of_the_paper_s_marks_is_what_the_stored_simulation_says():
    frame = frame_of(read_scale_rows(Path(__file__).parents[1] / "results" / "scale-simulated"))
    lines = markdown(frame).partition("out-of-memory marks")[2].partition("Memory beside")[0].splitlines()
    marks = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| random")]
    assert len(marks) == 5
    assert all(line[3] == line[5] == "fits (simulated)" for line in marks)
    full, minimal = ([float(line[i]) for line in marks] for i in (4, 6))
    for numbers in (full, minimal):
        assert f"{min(numbers):.0f} to {max(numbers):.0f} GB" in SIMULATED_MARKS
