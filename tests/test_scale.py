"""Measured costs: one process a cell, what becomes of one that fails, and what is stored and drawn of it."""

import json
from dataclasses import fields, replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
import tiny_models
import torch
from processes import double, end_as_told
from typer.testing import CliRunner

from atman_bench.cli.app import app
from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.core.malloc import freed_memory_kept, separate_pages
from atman_bench.core.records import Dtype
from atman_bench.methods import METHODS
from atman_bench.models._sizes import SIZES, config_of
from atman_bench.models.random import build
from atman_bench.profiling import cell as cell_module
from atman_bench.profiling import grid
from atman_bench.profiling import load as load_module
from atman_bench.profiling import workers as server_module
from atman_bench.profiling.cell import Measured, Request, ScaleCell, measure_cell
from atman_bench.profiling.grid import ScaleConfig, load_scale_config, missing_cells
from atman_bench.profiling.memory import watch_resident
from atman_bench.profiling.repeat import Repeat, resident_peak
from atman_bench.profiling.rows import Agreement, ScaleRow, ScaleStatus, Source
from atman_bench.profiling.workers import Ending, Outcome, Server, Team
from atman_bench.report.costs import agreement_markdown, frame_of, markdown, most_parallel
from atman_bench.report.figures import FIGURES, scaling

MEGABYTE = 1 << 20


def row(**changes: object) -> ScaleRow:
    cell = {
        "fingerprint": "f",
        "model": "random:10M",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "method": "chefer",
        "variant": "default",
        "tokens": 128,
        "batch": None,
        "workers": 1,
        "units": None,
        "status": ScaleStatus.OK,
        "parameters": 10_000_000,
        "seconds": (2.0, 1.0, 9.0),
        "peak_bytes": (30_000_000,),
    }
    return ScaleRow(**{**cell, **changes})


# Processes.


@pytest.fixture(scope="module")
def server() -> Server:
    return Server([grid.__name__])


def test_every_worker_gets_its_number_and_they_wait_for_each_other(server):
    assert sorted(o.result for o in server.run(double, 21, workers=2)) == [42, 43]


@pytest.mark.parametrize(
    ("how", "error"), [("kill", "the process was ended by SIGKILL"), ("exit", "the process ended with exit code 3")]
)
def test_a_process_that_dies_ends_those_that_wait_for_it(server, monkeypatch, how, error):
    monkeypatch.setattr(server_module, "system_oom_kills", lambda: 7)
    assert server.run(end_as_told, how, workers=2) == [Outcome(Ending.CRASHED, error=error)]


def test_a_kill_that_the_system_counts_as_its_own_was_for_memory(server, monkeypatch):
    counts = iter([7, 8])
    monkeypatch.setattr(server_module, "system_oom_kills", lambda: next(counts))
    assert server.run(end_as_told, "kill")[0].ending is Ending.KILLED_FOR_MEMORY


def test_the_time_limit_ends_a_process(server):
    (outcome,) = server.run(end_as_told, "sleep", seconds=0.5)
    assert (outcome.ending, outcome.error) == (Ending.TOO_LATE, "stopped after 0.5 s")


def test_resident_peak_is_what_was_allocated_on_top_even_if_it_is_freed():
    with watch_resident() as peak:
        torch.ones(64 * MEGABYTE // 4)
    assert peak.bytes == pytest.approx(64 * MEGABYTE, rel=0.1)


def test_a_tensor_that_would_lie_in_a_gap_of_the_heap_does_not_count_beside_the_next():
    with freed_memory_kept():
        gap, behind = torch.ones(8 * MEGABYTE // 4), torch.ones(256)
    del gap

    def one_after_the_other() -> None:
        torch.ones(6 * MEGABYTE // 4)
        torch.ones(10 * MEGABYTE // 4)

    assert resident_peak(one_after_the_other) == pytest.approx(10 * MEGABYTE, rel=0.1)
    assert behind.all()


def test_memory_that_is_kept_is_not_handed_out_again():
    def faults() -> int:
        before = getrusage(RUSAGE_SELF).ru_minflt
        for _ in range(8):
            tensors = [torch.ones(8 * MEGABYTE // 4) for _ in range(12)]
            del tensors
        return getrusage(RUSAGE_SELF).ru_minflt - before

    with separate_pages():
        every_time = faults()
    with freed_memory_kept():
        assert faults() < every_time / 4  # once of 8 times, and some slack


# What is measured.


class Alone:
    """A team of one."""

    index, size = 0, 1

    def wait(self) -> None: ...

    def abort(self) -> None: ...

    def any(self, mine: bool) -> bool:
        return mine


@pytest.fixture
def tiny(monkeypatch):
    """Measure a tiny decoder in this process."""
    monkeypatch.setattr(cell_module, "load", lambda name, options: tiny_models.adapter("gptj"))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def cell(**changes: object) -> ScaleCell:
    return replace(ScaleCell("tiny", Dtype.FLOAT32, "cpu", 1, "atman", "default", 12, batch=1, units=12), **changes)


def measured(changed: ScaleCell) -> Measured:
    return measure_cell(Request(changed, repeats=2, repeat_seconds=60, memory_limit=None), Alone())


def test_atman_runs_the_plain_pass_and_every_suffix_once(tiny):
    assert measured(cell()).forward_tokens == 12 + sum(range(1, 13))


def test_some_perturbations_are_spread_evenly_and_shared_by_workers(tiny):
    assert measured(cell(units=3)).forward_tokens == 12 + (12 - 2) + (12 - 6) + (12 - 10)
    halves = [cell_module._share(cell(units=4, workers=2), Team(i, 2, None, None)) for i in (0, 1)]
    assert halves == [[1, 7], [4, 10]]


@pytest.mark.parametrize("variant", ["default", "lean"])
def test_a_plain_pass_reads_every_token_once(tiny, variant):
    found = measured(cell(method="plain", variant=variant, batch=None, units=None))
    assert (found.status, found.forward_tokens, len(found.repeats), len(found.peak_bytes)) == (ScaleStatus.OK, 12, 2, 1)


def test_a_method_that_refuses_is_unsupported_and_the_models_size_is_known(tiny):
    found = measured(cell(tokens=65, units=1))  # its window has 64
    assert (found.status, found.parameters > 0) == (ScaleStatus.UNSUPPORTED, True)
    assert "64" in found.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ScaleStatus.OOM),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ScaleStatus.OOM),
        (RuntimeError("shapes"), ScaleStatus.ERROR),
    ],
)
def test_what_a_method_raises_becomes_a_status(tiny, monkeypatch, error, status):
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setitem(cell_module._PLAIN, "lean", fail)
    found = measured(cell(method="plain", variant="lean", batch=None, units=None))
    assert (found.status, found.error) == (status, str(error))


def test_a_row_of_several_workers_has_the_slowest_ones_time_and_everyones_memory():
    workers = [
        Outcome(Ending.DONE, Measured(ScaleStatus.OK, (Repeat(s, 1.0, None, None, None),), (100,), forward_tokens=5))
        for s in (3.0, 4.0)
    ]
    combined = grid._combine(cell(workers=2), workers)
    assert (combined.seconds, combined.cpu_seconds, combined.peak_bytes) == ((4.0,), (2.0,), (200,))
    assert combined.forward_tokens == 10


def test_the_worker_that_failed_says_why_and_not_the_one_that_waited():
    outcomes = [
        Outcome(Ending.DONE, Measured(ScaleStatus.ERROR, error="another worker failed")),
        Outcome(Ending.DONE, Measured(ScaleStatus.OOM, error="too big")),
    ]
    combined = grid._combine(cell(workers=2), outcomes)
    assert (combined.status, combined.error) == (ScaleStatus.OOM, "too big")


def test_extrapolation_counts_the_plain_pass_among_the_perturbations():
    few = row(method="atman", tokens=100, units=10, batch=1, seconds=(11.0,))
    assert few.extrapolated_seconds == pytest.approx(101.0)
    assert replace(few, units=100).extrapolated_seconds is None


@pytest.mark.parametrize("method", ["chefer", "input_x_gradient", "integrated_gradients"])
@pytest.mark.parametrize("family", ["llama", "gptj"])
def test_checkpointing_changes_no_number_and_leaves_the_model_as_it_was(method, family):
    model, spec = tiny_models.adapter(family), METHODS.get(method)
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    before = tiny_models.state_of(model.model)
    plain, checkpointed = (
        spec.explain(model, encoded, spec.config(checkpointing=on), 0).per_target for on in (False, True)
    )
    torch.testing.assert_close(checkpointed, plain)
    assert tiny_models.state_of(model.model) == before


def test_checkpointing_runs_the_layers_again():
    model, spec = tiny_models.adapter("gptj"), METHODS.get("input_x_gradient")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS[:1])
    calls = []
    handle = model.model.transformer.h[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        spec.explain(model, encoded, spec.config(checkpointing=True), 0)
    finally:
        handle.remove()
    assert len(calls) == 2


# Models with random weights.

PARAMETERS = {"10M": 0.01, "30M": 0.03, "90M": 0.09, "350M": 0.35, "0.9B": 0.9, "6.0B": 6.0, "30B": 30, "34B": 34}


@pytest.mark.parametrize(("name", "billions"), PARAMETERS.items())
def test_a_size_has_the_parameters_that_it_is_named_after(name, billions):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, rel=0.06)


def test_random_weights_are_the_same_each_time_and_of_the_asked_type():
    first, again = (build(config_of("10M"), torch.bfloat16, torch.device("cpu")) for _ in range(2))
    for (name, one), other in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.dtype is torch.bfloat16
    assert not first.training


def test_a_misspelt_size_lists_the_sizes():
    with pytest.raises(UnknownNameError, match="90M"):
        config_of("9M")
    assert set(PARAMETERS) <= set(SIZES)


# The grid, resuming, the command.


def test_batches_and_workers_multiply_only_methods_that_perturb():
    config = ScaleConfig(
        methods=("plain:lean", "atman", "chefer"), tokens=(64,), batches=(1, None), workers=(1, 2), threads=2
    )
    assert [(c.method, c.batch, c.workers, c.threads) for c in config.cells] == [
        ("plain", None, 1, 2),
        ("atman", 1, 1, 2),
        ("atman", 1, 2, 1),
        ("atman", None, 1, 2),
        ("atman", None, 2, 1),
        ("chefer", None, 1, 2),
    ]


@pytest.mark.parametrize(
    ("flags", "error", "match"),
    [
        ({"methods": ["atmn"]}, UnknownNameError, "atman"),
        ({"methods": ["plain:leen"]}, UnknownNameError, "lean"),
        ({"models": ["rnadom:10M"]}, UnknownNameError, "random"),
        ({"tokens": [0]}, ConfigError, "tokens must be positive, received 0"),
        ({"workers": [None]}, ConfigError, "workers"),
        ({"models": []}, ConfigError, "models must name at least one"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(flags, error, match):
    with pytest.raises(error, match=match):
        load_scale_config(None, flags)


def test_methods_for_images_explain_144_tokens_at_every_length():
    config = ScaleConfig(methods=("gradcam", "chefer"), tokens=(128, 256))
    assert [(c.method, c.tokens) for c in config.cells] == [("gradcam", 144), ("chefer", 128), ("chefer", 256)]


def test_gradcam_runs_on_a_decoder_whose_tokens_stand_for_patches(tiny):
    found = measured(cell(method="gradcam", tokens=12, batch=None, units=None))
    assert (found.status, found.forward_tokens) == (ScaleStatus.OK, 12)


@pytest.mark.parametrize("preset", sorted(path.stem for path in grid.SCALE_PRESETS.glob("*.yaml")))
def test_presets_are_valid(preset):
    assert load_scale_config(preset, {"device": "cpu"}).cells


def test_the_presets_of_this_repository_measure_at_most_forty_cells():
    assert sum(len(load_scale_config(preset, {"device": "cpu"}).cells) for preset in ("smollm2", "sizes")) <= 40


def test_a_resumed_run_tries_again_what_other_limits_could_change():
    config = ScaleConfig(methods=("chefer",), tokens=(64,), time_limit=5, device="cpu")
    (only,) = config.cells
    stored = row(fingerprint=only.fingerprint, time_limit=5)
    for status, limit, again in (
        (ScaleStatus.OK, 1, False),
        (ScaleStatus.UNSUPPORTED, 5, False),
        (ScaleStatus.TIMEOUT, 5, False),
        (ScaleStatus.TIMEOUT, 1, True),
        (ScaleStatus.OOM, 5, False),
        (ScaleStatus.ERROR, 5, True),
    ):
        missing = missing_cells(config, [replace(stored, status=status, time_limit=limit)])
        assert bool(missing) is again, (status, limit)


def test_rows_survive_the_disk_and_a_torn_line(tmp_path):
    whole, worse = row(), row(status=ScaleStatus.ERROR, seconds=())
    text = "".join(json.dumps(r.to_json()) + "\n" for r in (whole, worse))
    (tmp_path / "scale-a.jsonl").write_text(text + '{"torn')
    assert grid.read_scale_rows(tmp_path) == [whole]


@pytest.mark.parametrize("folder", ["scale", "scale-simulated"])
def test_stored_costs_keep_their_fingerprints(folder):
    rows = grid.read_scale_rows(Path(__file__).parents[1] / "results" / folder)
    cells = [ScaleCell(**{f.name: getattr(r, f.name) for f in fields(ScaleCell)}) for r in rows]
    assert rows
    assert [str(cell) for cell, r in zip(cells, rows, strict=True) if cell.fingerprint != r.fingerprint] == []


def test_rows_of_before_loads_were_stored_are_read(tmp_path):
    content = row().to_json()
    del content["load"], content["spread"]
    (tmp_path / "scale-a.jsonl").write_text(json.dumps(content) + "\n")
    (found,) = grid.read_scale_rows(tmp_path)
    assert (found, found.load) == (row(), None)


@pytest.mark.parametrize(
    ("changes", "disturbances"),
    [
        ({"load": 0.1, "seconds": (1.0, 1.1)}, ()),
        ({"load": 1.26, "seconds": (1.0, 1.1)}, ("load 1.3",)),
        ({"load": None, "seconds": (2.0, 1.0, 3.0)}, ("spread 100.0%",)),
        ({"load": 2.0, "seconds": (1.0,)}, ("load 2.0",)),
        ({"load": 0.0, "seconds": (1.0,)}, ()),
    ],
)
def test_a_row_is_not_quiet_when_its_load_or_spread_says_so(changes, disturbances):
    assert row(**changes).disturbances == disturbances


def test_the_load_is_what_runs_beside_the_reader(tmp_path, monkeypatch):
    source = tmp_path / "loadavg"
    monkeypatch.setattr(load_module, "_LOADAVG", source)
    monkeypatch.setattr(load_module, "_SECONDS_BETWEEN", 0)
    for text, load in (("9.20 0.18 0.12 3/80 11206", 2.0), ("0.00 0.00 0.00 0/0 0", None), ("nothing", None)):
        source.write_text(text)
        assert load_module.other_load() == load


def test_the_command_stores_load_and_spread_and_warns_in_one_line(tmp_path, monkeypatch):
    loads = iter([0.0, 1.5])
    monkeypatch.setattr(grid, "other_load", lambda: next(loads))
    arguments = ["scale", "--tokens", "16,32", "--methods", "plain:lean", "--threads", "1", "--repeats", "1"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--results", str(tmp_path)])
    assert "not quiet: 1 of 2 cells" in result.output
    stored = [json.loads(line) for line in next(tmp_path.glob("scale-*.jsonl")).read_text().splitlines()]
    assert [(line["load"], line["spread"]) for line in stored] == [(0.0, None), (1.5, None)]
    assert "ok, not quiet (load 1.5)" in (tmp_path / "table.md").read_text()


def test_the_command_measures_stores_resumes_and_says_what_did_not_fit(tmp_path):
    arguments = ["scale", "--tokens", "16,32", "--methods", "atman", "--atman-tokens", "4", "--extrapolate"]
    arguments += ["--threads", "1", "--repeats", "1", "--device", "cpu", "--results", str(tmp_path)]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "2 cells done" in first.output
    table = (tmp_path / "table.md").read_text()
    assert "| atman, batch 1 |" in table
    assert "≈ extrapolated" in table
    assert (tmp_path / "figures" / "scaling.png").exists()
    again = CliRunner().invoke(app, arguments)
    assert "0 cells done" in again.output
    small = CliRunner().invoke(app, [*arguments, "--memory-limit", "0.02", "--models", "random:30M", "--tokens", "16"])
    assert "oom: random:30M, atman:default, 16 tokens" in small.output


# Tables and figures.


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
