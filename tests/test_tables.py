import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from lines import Line, frame_of_lines
from rich.console import Console

from atman_bench.core.errors import DataError, StoreError, UnknownNameError
from atman_bench.core.records import Status
from atman_bench.metrics._statistics import IQ_25_72, IQ_MEAN, average, bootstrap_interval
from atman_bench.report import machine
from atman_bench.report.render import comparison_markdown, comparison_rich, summary_markdown, summary_rich
from atman_bench.report.selection import on_common_samples
from atman_bench.report.tables import answered_only, compare_to, summarise

METRICS = ("average_precision", "average_recall", "auprc", "precision_at_k", "pointing_game", "degenerate")


def row(method: str, i: int, metric: str = "average_precision", value: float | None = 0.5, **more) -> Line:
    """A row of question i, two questions to a paragraph."""
    fields = {
        "fingerprint": f"{method}-1",
        "dataset": "squad",
        "model": "tiny",
        "variant": "default",
        "sign": "positive",
        "status": Status.OK,
        "answered": i % 2 == 0,
        "seconds": 2.0,
        "forward_tokens": 1000,
    }
    return Line(method=method, uid=f"q{i}", group=f"p{i // 2}", metric=metric, value=value, **fields | more)


def rows(method: str, values, metric: str = "average_precision", **more) -> list[Line]:
    return [row(method, i, metric, value, **more) for i, value in enumerate(values)]


def published(lines: list[Line]) -> list[Line]:
    """The same rows with ids as SQuAD, OpenImages and GQA have them: 24 digits are all three."""
    return [replace(line, uid=f"{int(line.uid[1:]):024}") for line in lines]


def line_of(summary, method: str):
    return summary.set_index("method").loc[method]


def test_summary_averages_each_cell_with_group_intervals():
    values = np.random.default_rng(0).random(12)
    line = line_of(summarise(frame_of_lines(rows("atman", values))), "atman")
    interval = bootstrap_interval(values, np.arange(12) // 2)
    assert line["n"] == 12
    assert line["mAP"] == pytest.approx(100 * values.mean())
    assert (line["mAP_low"], line["mAP_high"]) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert line["mAP_IQ"] == pytest.approx(100 * average(values, IQ_MEAN))
    assert line["mAP_IQ_25_72"] == pytest.approx(100 * average(values, IQ_25_72))
    assert np.isnan(line["mAR"])
    assert (line["seconds"], line["forward_tokens"]) == (2, 1000)


def test_missing_samples_are_counted_by_reason():
    failed = [
        row("atman", 1, value=None, status=Status.OOM),
        row("atman", 1, "auprc", value=None, status=Status.OOM),
        row("atman", 2, value=None, status=Status.ERROR),
        row("atman", 3, value=None, status=Status.SKIPPED),
        row("atman", 4, value=None),
        row("atman", 5, value=0.0),
        row("atman", 5, "degenerate", value=1.0),
    ]
    line = line_of(summarise(frame_of_lines([row("atman", 0), *failed])), "atman")
    assert line[["n", "oom", "error", "skipped", "undefined", "degenerate"]].tolist() == [2, 1, 1, 1, 1, 1]


def test_failure_that_was_repaired_later_is_not_counted():
    frame = frame_of_lines([row("atman", 0, value=None, status=Status.OOM), row("atman", 0)])
    assert line_of(summarise(frame), "atman")[["n", "oom"]].tolist() == [1, 0]


def test_a_method_that_does_not_fit_the_model_is_not_applicable_with_its_reason():
    refused = [
        row("gradcam", i, value=None, status=Status.SKIPPED, error="needs ReLUs", n_units=4, variant="guided")
        for i in range(2)
    ]
    too_long = row("gradcam", 2, value=None, status=Status.SKIPPED, error="too long", variant="guided")
    text = summary_markdown(summarise(frame_of_lines([*rows("atman", [0.5, 0.6]), *refused, too_long])))
    (line,) = (line for line in text.splitlines() if line.startswith("| gradcam:guided"))
    assert "| n/a |" in line
    assert "n/a, gradcam:guided: needs ReLUs." in text


def test_samples_that_a_method_refuses_one_by_one_are_counted():
    refused = row("atman", 1, value=None, status=Status.SKIPPED, error="two pictures", n_units=4)
    text = summary_markdown(summarise(frame_of_lines([row("atman", 0, n_units=4), refused])))
    assert "1 skipped" in text
    assert "n/a" not in text


def test_cell_without_any_value_keeps_its_line():
    frame = frame_of_lines([*rows("atman", [0.5, 0.6]), row("chefer", 0, value=None, status=Status.OOM)])
    line = line_of(summarise(frame), "chefer")
    assert (line["n"], line["oom"]) == (0, 1)
    assert np.isnan(line["mAP"])


def test_methods_come_by_score_and_floors_last():
    frame = frame_of_lines(
        [*rows("random", [0.9]), *rows("rollout", [0.2]), *rows("uniform", [0.1]), *rows("atman", [0.4])]
    )
    assert summarise(frame)["method"].tolist() == ["atman", "rollout", "random", "uniform"]


def test_signs_are_never_mixed():
    frame = frame_of_lines([*rows("atman", [0.4, 0.4]), *rows("atman", [0.2, 0.2], sign="absolute")])
    assert summarise(frame).set_index("sign")["mAP"].to_dict() == pytest.approx({"absolute": 20, "positive": 40})


def test_answered_questions_can_be_tabulated_alone():
    frame = frame_of_lines(rows("atman", [0.8, 0.1, 0.6, 0.1]))
    assert line_of(summarise(answered_only(frame)), "atman")["mAP"] == pytest.approx(70)


def test_table_of_no_answered_questions_is_refused():
    with pytest.raises(DataError, match="answers none"):
        answered_only(frame_of_lines(rows("atman", [0.8], answered=False)))


def test_paper_numbers_stand_beside_squad_only():
    of_paper = {"variant": "shifted-kappa0.7"}
    squad, facts = rows("atman", [0.5], **of_paper), rows("atman", [0.5], dataset="facts", **of_paper)
    paper = summarise(frame_of_lines(published([*squad, *facts]))).set_index("dataset")["paper_mAP"]
    assert paper["squad"] == 73.7
    assert np.isnan(paper["facts"])


def test_paper_numbers_do_not_stand_beside_questions_of_the_users_own():
    own = summarise(frame_of_lines(rows("atman", [0.5], variant="shifted-kappa0.7")))
    assert np.isnan(own["paper_mAP"].iloc[0])


@pytest.mark.parametrize(
    ("dataset", "model", "method", "variant", "expected"),
    [
        ("openimages (cropped)", "magma-6b", "atman", "shifted-kappa0.7", 65.5),
        ("openimages (cropped)", "magma-6b", "atman", "shifted-min-all-kappa0.7", 65.5),
        ("openimages (cropped)", "magma-6b", "atman", "shifted", None),
        ("openimages (cropped)", "magma-6b", "atman", "mask-kappa0.7", None),
        ("openimages (cropped)", "magma-6b", "atman", "log-kappa0.7", None),
        ("openimages (cropped)", "magma-6b", "gradcam", "default", 55.2),
        ("openimages (cropped)", "magma-6b", "gradcam", "guided", None),
        ("openimages (cropped)", "magma-6b", "gradcam", "guided-pixels", 56.7),
        ("openimages (cropped)", "magma-6b", "integrated_gradients", "pixels", 46.1),
        ("openimages (cropped)", "magma-6b", "integrated_gradients", "pixels-pooled", None),
        ("openimages (cropped)", "magma-6b", "rollout", "default", 43.6),
        ("openimages (cropped)", "magma-6b", "rollout", "without-last-1", None),
        ("scenes", "magma-6b", "atman", "shifted-kappa0.7", None),
        ("caltech101", "magma-6b", "atman", "shifted-kappa0.7", None),
        (
            "openimages (cropped)",
            "blip-vqa-capfilt-large",
            "atman",
            "literal-ref-kappa0.1-most150-in-units-f0.95",
            64.6,
        ),
        ("openimages (cropped)", "blip-vqa-capfilt-large", "atman", "literal-kappa0.1-most150-in-units-f0.95", None),
        ("openimages (cropped)", "blip-vqa-capfilt-large", "atman", "shifted-kappa0.7", None),
        ("openimages (cropped)", "model_base_vqa_capfilt_large", "chefer", "objective=answer-loss", 59.7),
        ("openimages (cropped)", "model_base_vqa_capfilt_large", "chefer", "default", None),
        ("openimages (cropped)", "blip-vqa-base", "rollout", "default", None),
        ("openimages (cropped)", "blip2-opt-2.7b", "atman", "shifted-kappa0.7", 65.5),
        ("openimages (uncropped)", "magma-6b", "atman", "shifted-kappa0.7", None),
        ("gqa", "magma-6b", "integrated_gradients", "default", 33.3),
        ("gqa", "magma-6b", "chefer", "default", None),
    ],
)
def test_the_papers_number_is_that_of_the_same_experiment(dataset, model, method, variant, expected):
    frame = frame_of_lines(published(rows(method, [0.5], dataset=dataset, model=model, variant=variant)))
    paper = summarise(frame)["paper_mAP"].iloc[0]
    assert np.isnan(paper) if expected is None else paper == expected


def test_the_note_names_the_table_of_the_paper_for_each_dataset():
    names = ("squad", "openimages (cropped)", "gqa", "facts")
    listed = [published(rows("atman", [0.5], dataset=name, variant="shifted-kappa0.7")) for name in names]
    text = summary_markdown(summarise(frame_of_lines(row for some in listed for row in some)))
    notes = [line.partition("Paper ")[2] for line in text.splitlines() if line.startswith("Metrics")]
    assert notes == [
        "",
        "(A.12, MAGMA 6B): mAP / mAP_IQ / mAR / mAR_IQ.",
        "(Table 1b and A.9, pixels Table 2; MAGMA 6B): mAP / mAP_IQ / mAR / mAR_IQ.",
        "(Table 1a and A.9, a 6B model): mAP / mAP_IQ / mAR / mAR_IQ.",
    ]


def test_two_fingerprints_of_one_cell_are_refused():
    frame = frame_of_lines([row("atman", 0), row("atman", 0, fingerprint="older")])
    with pytest.raises(StoreError, match="atman-1, older"):
        summarise(frame)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="no rows"):
        frame_of_lines([])


def test_comparison_uses_common_samples_only():
    ours, theirs = [0.9, 0.8, 0.7, 0.6, 0.9] * 2, [0.5, 0.6, None, 0.4, 0.7] * 2
    frame = frame_of_lines([*rows("atman", ours), *rows("chefer", theirs)])
    line = line_of(compare_to(frame, "atman"), "chefer")
    assert line["n"] == 8
    assert line["difference"] == pytest.approx(100 * np.mean([-0.4, -0.2, -0.2, -0.2]))
    assert line["low"] <= line["difference"] <= line["high"] < 0


def test_comparison_names_cells_near_a_misspelt_reference():
    with pytest.raises(UnknownNameError, match="did you mean 'atman'"):
        compare_to(frame_of_lines(rows("atman", [0.5])), "atmann")


def test_comparison_of_a_lonely_reference_is_empty():
    assert compare_to(frame_of_lines(rows("atman", [0.5])), "atman").empty


@pytest.fixture
def full_frame():
    rng = np.random.default_rng(0)
    cells = [
        ("atman", "default"),
        ("chefer", "default"),
        ("integrated_gradients", "n_steps=10"),
        ("position", "default"),
    ]
    listed = [
        r
        for method, variant in cells
        for metric in METRICS
        for r in rows(method, rng.random(9), metric, variant=variant)
    ]
    return frame_of_lines(published([*listed, row("atman", 9, value=None, status=Status.OOM)]))


def test_markdown_shows_floors_missing_counts_and_the_paper(full_frame):
    text = summary_markdown(summarise(full_frame))
    assert text.startswith("**squad · tiny · sign positive**\n\n| method | n |")
    assert "*position* (floor)" in text
    assert "1 oom" in text
    assert "72.7 / 77.5 / 96.6 / 100.0" in text
    assert "nan" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1


def test_terminal_tables_fit_120_characters(full_frame):
    console = Console(width=120, record=True, quiet=True)
    comparison = compare_to(full_frame, "atman")
    for table in (*summary_rich(summarise(full_frame)), *comparison_rich(comparison, "atman")):
        assert console.measure(table).maximum <= 120


def test_the_longest_names_and_reasons_fit_120_characters_unabridged():
    cell = {"method": "integrated_gradients", "variant": "pixels-pooled", "dataset": "openimages (cropped)"}
    failed = [
        row(**cell, i=i, value=None, status=status, metric=metric)
        for i, status in enumerate((Status.OOM, Status.ERROR, Status.SKIPPED), start=100)
        for metric in METRICS
    ]
    full = [r for metric in METRICS for r in rows("integrated_gradients", [1.0] * 9, metric, **without(cell, "method"))]
    chefer = [r for metric in METRICS for r in rows("chefer", [1.0] * 9, metric, dataset=cell["dataset"])]
    (table,) = summary_rich(summarise(frame_of_lines(published([*full, *failed, *chefer]))))
    console = Console(width=120, file=io.StringIO())
    assert console.measure(table).maximum <= 120
    console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    for word in (
        "integrated_gradients:",
        "pixels-pooled",
        "1 oom",
        "error",
        "skipped",
        "Table 1b",
        "58.3",
        "100.0 [100.0, 100.0]",
    ):
        assert word in text


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if key != name}


def test_comparison_renders_every_other_cell(full_frame):
    text = comparison_markdown(compare_to(full_frame, "atman"), "atman")
    assert "minus atman" in text
    assert "integrated\\_gradients:n\\_steps=10" in text


def test_report_never_imports_torch():
    code = (
        "import sys; from atman_bench.report import render; from atman_bench.report.figures import FIGURES\n"
        "for name in FIGURES.names: FIGURES.get(name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Machine-readable tables, and which samples tables are made of


def test_records_say_what_tables_say():
    values = np.random.default_rng(0).random(12)
    failed = [row("atman", 20, value=None, status=Status.OOM), row("atman", 21, value=None)]
    frame = frame_of_lines([*rows("atman", values), *failed, *rows("uniform", [0.5])])
    atman, uniform = machine.records(frame)
    line = line_of(summarise(frame), "atman")
    assert (atman["mean"], atman["low"], atman["high"]) == pytest.approx(
        (line["mAP"], line["mAP_low"], line["mAP_high"])
    )
    assert {key: atman[key] for key in ("dataset", "model", "sign", "method", "variant", "metric", "n", "groups")} == {
        "dataset": "squad",
        "model": "tiny",
        "sign": "positive",
        "method": "atman",
        "variant": "default",
        "metric": "average_precision",
        "n": 12,
        "groups": 6,
    }
    assert atman["n_missing"] == {"oom": 1, "error": 0, "skipped": 0, "undefined": 1}
    assert (atman["floor"], uniform["floor"]) == (False, True)
    assert (uniform["mean"], uniform["low"], uniform["high"]) == (50, None, None)  # too few groups for an interval
    assert json.loads(machine.as_json(frame)) == [atman, uniform]
    lines = list(csv.DictReader(io.StringIO(machine.as_csv(frame))))
    assert [float(line["mean"]) for line in lines] == pytest.approx([atman["mean"], 50])
    assert lines[0]["n_missing_oom"] == "1"


def seen(method: str, numbers, **more) -> list[Line]:
    return [row(method, i, value=0.1 * i, n_units=5, **more) for i in numbers]


def test_methods_are_compared_on_the_samples_that_all_were_run_on():
    failed = row("lime", 2, value=None, status=Status.OOM, n_units=5)
    too_long = [row(method, 9, value=None, status=Status.SKIPPED) for method in ("atman", "lime")]
    frame, notes = on_common_samples(
        frame_of_lines([*seen("atman", range(6)), *seen("lime", [0, 1]), failed, *too_long])
    )
    summary = summarise(frame).set_index("method")
    assert summary.loc["atman", ["n", "skipped"]].tolist() == [3, 1]
    assert summary.loc["lime", ["n", "oom", "skipped"]].tolist() == [2, 1, 1]
    assert notes == (
        "squad by tiny: the 3 of 6 samples that all 2 methods were run on; --all-samples shows the others too.",
    )


def test_each_experiment_has_its_own_common_samples_and_no_note_where_nothing_is_taken():
    other = [*seen("atman", range(4), dataset="facts"), *seen("lime", range(4), dataset="facts")]
    frame, notes = on_common_samples(frame_of_lines([*seen("atman", range(6)), *seen("lime", [0, 1]), *other]))
    assert summarise(frame).set_index(["dataset", "method"])["n"].to_dict() == {
        ("facts", "atman"): 4,
        ("facts", "lime"): 4,
        ("squad", "atman"): 2,
        ("squad", "lime"): 2,
    }
    assert len(notes) == 1


def test_without_a_common_sample_each_method_keeps_its_own_and_the_note_says_so():
    frame, (note,) = on_common_samples(frame_of_lines([*seen("atman", [0, 1]), *seen("lime", [2])]))
    assert summarise(frame)["n"].tolist() == [1, 2]
    assert "no sample is common" in note
