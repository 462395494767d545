"""Measured costs: one process a cell, what becomes of one that fails, and what is stored of it."""

import json
from dataclasses import fields, replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
import tiny_models
import torch
from processes import double, end_as_told
from scale_rows import MEGABYTE, row
from typer.testing import CliRunner

from atman_bench.cli.app import app
from atman_bench.core.errors import ConfigError, UnknownNameError
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
from atman_bench.profiling.rows import ScaleStatus
from atman_bench.profiling.workers import Ending, Outcome, Server, Team

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
