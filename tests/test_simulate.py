import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import GPTJConfig, LlamaConfig, PreTrainedConfig
from typer.testing import CliRunner

from atman_bench.cli.app import app
from atman_bench.core import device_traits
from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.measure import count_tokens
from atman_bench.core.records import Dtype
from atman_bench.methods import METHODS, adaptive
from atman_bench.methods._engine import EngineMode
from atman_bench.methods.adaptive import ProposalBy
from atman_bench.profiling import calibration
from atman_bench.profiling import fake_run as simulate_module
from atman_bench.profiling import predict as prediction
from atman_bench.profiling.calibration import Rates, calibrate, fitted
from atman_bench.profiling.cell import ScaleCell
from atman_bench.profiling.devices import Device, find_device
from atman_bench.profiling.fake_run import Ledger, Simulation, Work
from atman_bench.profiling.fleet import WholeRun, whole_run
from atman_bench.profiling.predict import plain_job, predict, simulate, simulate_loaded, simulated_cell
from atman_bench.profiling.rounds import even_order
from atman_bench.profiling.rows import ScaleStatus, Source

A100 = find_device("A100-80GB")
TINY_GPTJ = GPTJConfig(
    vocab_size=96, n_positions=64, n_embd=32, n_layer=6, n_head=4, rotary_dim=4, bos_token_id=None, eos_token_id=None
)
LONG_GPTJ = GPTJConfig(
    vocab_size=96, n_positions=512, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, bos_token_id=None, eos_token_id=None
)
TINY_LLAMA = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=2,
    bos_token_id=None,
    eos_token_id=None,
)
ALL_METHODS = (
    "plain:default",
    "plain:lean",
    "atman:default",
    "chefer:default",
    "input_x_gradient:default",
    "input_x_gradient:checkpointed",
    "integrated_gradients:default",
    "integrated_gradients:batched",
    "gradcam:default",
    "rollout:default",
    "atman_gradient:default",
)


def cell(name: str, tokens: int = 12, batch: int | None = 1, model: str = "random:10M") -> ScaleCell:
    method, _, variant = name.partition(":")
    return ScaleCell(model, Dtype.FLOAT32, A100.name, 1, method, variant, tokens, batch)


def simulated(name: str, config: PreTrainedConfig = TINY_GPTJ, **arguments: int | None) -> Simulation:
    return simulate(cell(name, **arguments), config, A100, 1e10)


def ledger_of(function: str, *shapes: tuple[int, ...], **options: bool) -> Ledger:
    with FakeTensorMode():
        tensors = [torch.empty(shape) for shape in shapes]
    with (ledger := Ledger(A100)):
        getattr(torch.nn.functional, function, getattr(torch, function, None))(*tensors, **options)
    return ledger


def test_the_peak_is_what_is_alive_at_once():
    with FakeTensorMode():
        weight = torch.empty(1000, 1000)
    ledger = Ledger(A100)
    ledger.ignore([weight])
    with ledger:
        product = weight @ weight
        kept = product.relu()  # both are alive
        del product
        kept = kept.relu()
    assert ledger.peak_bytes == 2 * 4_000_000


def test_a_product_takes_two_operations_per_element():
    assert ledger_of("matmul", (30, 40), (40, 50)).work.flops == 2 * 30 * 40 * 50


def test_fused_attention_on_the_cpu_is_counted():
    heads = [(1, 4, 128, 64)] * 3
    both = 2 * 2 * 4 * 128 * 128 * 64  # q k^T and weights times values
    assert ledger_of("scaled_dot_product_attention", *heads).work.flops == both
    assert ledger_of("scaled_dot_product_attention", *heads, is_causal=True).work.flops == both // 2


def test_an_operation_with_a_kernel_of_its_own_is_not_taken_apart():
    with FakeTensorMode():
        gradient, inputs = torch.empty(2, 10, 100).unbind()
    with Ledger(A100) as ledger:
        result = torch.ops.aten.silu_backward(gradient, inputs)
    assert ledger.peak_bytes == result.nbytes
    assert ledger.work.launches == 1


def test_views_take_no_time():
    assert ledger_of("transpose", (30, 40), dim0=0, dim1=1).work.launches == 0


def test_an_operation_takes_as_long_as_its_slowest_resource():
    device = Device(name="slow", memory=1e9, bandwidth=10, flops={"float32": 100}, overhead=1)
    assert device.seconds(1000, 20, "float32") == 10
    assert device.seconds(100, 200, "float32") == 20
    assert device.seconds(1, 1, "float32") == 1


def test_a_device_is_read_from_a_file(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("memory: 8e9\nbandwidth: 1e11\nflops: {bfloat16: 5e12}")
    assert find_device(str(path)) == Device(name="mine", memory=8e9, bandwidth=1e11, flops={"bfloat16": 5e12})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory: 8e9", "expected memory, bandwidth and flops"),
        ("{memory: 8e9, bandwidth: 1e11, flops: {}}", "flops are operations per second by dtype"),
        ("{memory: much, bandwidth: 1e11, flops: {float32: 1}}", "memory must be a positive number, received 'much'"),
        ("{memory: 1, bandwidth: 1, flops: {float32: 1}, colour: red}", "received memory, bandwidth, flops, colour"),
    ],
)
def test_a_file_that_describes_no_device_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_device(str(path))


def test_an_unknown_device_lists_the_known():
    with pytest.raises(UnknownNameError, match="A100-80GB"):
        find_device("A100-80")


@pytest.mark.parametrize("config", [TINY_GPTJ, TINY_LLAMA], ids=["patched", "routed"])
@pytest.mark.parametrize("name", ALL_METHODS)
def test_a_deep_model_is_continued_exactly(name: str, config: PreTrainedConfig, monkeypatch: pytest.MonkeyPatch):
    continued = simulated(name, config)
    monkeypatch.setattr(prediction, "DEPTHS", (6, 7))  # as deep as the model: nothing is continued
    whole = simulated(name, config)
    assert continued.peak_bytes == pytest.approx(whole.peak_bytes, rel=0.01)
    assert continued.work.seconds == pytest.approx(whole.work.seconds, rel=0.01)


@pytest.mark.parametrize(
    ("name", "tokens", "batch"),
    [
        ("atman:default", 12, 1),
        ("atman:default", 12, None),
        ("atman:default", 96, None),
        ("adaptive:default", 96, None),
    ],
)
def test_a_few_passes_stand_for_all(name: str, tokens: int, batch: int | None, monkeypatch: pytest.MonkeyPatch):
    few = simulated(name, LONG_GPTJ, tokens=tokens, batch=batch)
    monkeypatch.setattr(simulate_module, "EXECUTED", 100)
    all_of_them = simulated(name, LONG_GPTJ, tokens=tokens, batch=batch)
    assert few.peak_bytes == all_of_them.peak_bytes
    for total in ("seconds", "flops", "moved_bytes", "launches"):
        assert getattr(few.work, total) == pytest.approx(getattr(all_of_them.work, total), rel=0.02)
    assert few.forward_tokens == all_of_them.forward_tokens


@pytest.mark.parametrize("batch", [1, None])
def test_evenly_spaced_units_stand_for_all(batch: int | None, monkeypatch: pytest.MonkeyPatch):
    whole = simulated("atman:default", LONG_GPTJ, tokens=512, batch=batch)
    monkeypatch.setattr(prediction, "MOST_UNITS", 128)
    some = simulated("atman:default", LONG_GPTJ, tokens=512, batch=batch)
    assert some.forward_tokens == pytest.approx(whole.forward_tokens, rel=0.03)
    assert some.peak_bytes == pytest.approx(whole.peak_bytes, rel=0.2)  # fewer rows of factors


def test_a_few_blocks_of_attention_stand_for_all(monkeypatch: pytest.MonkeyPatch):
    job = prediction.method_job("atman", METHODS.get("atman").config(), tokens=128, units=1)
    monkeypatch.setattr(
        device_traits, "CPU", replace(device_traits.CPU, block_elements=1)
    )  # blocks of 16 rows: 8 in both passes
    found = []
    for executed in (2, 8):
        monkeypatch.setattr(simulate_module, "EXECUTED", executed)
        found.append(prediction.simulate_job(job, LONG_GPTJ, torch.float32, A100, 1e10))
    few, whole = found
    assert few.work.flops == pytest.approx(whole.work.flops, rel=0.01)
    assert few.work.launches == pytest.approx(whole.work.launches)
    assert few.peak_bytes == whole.peak_bytes


@pytest.mark.parametrize(
    ("method", "options"),
    [("atman", {}), ("atman", {"batch": 3}), ("occlusion", {}), ("atman", {"engine": EngineMode.LEAN})],
)
def test_planned_positions_are_those_that_go_through_the_layers(method: str, options: dict[str, object]):
    spec, model = METHODS.get(method), tiny_models.adapter("llama")
    config = spec.config(**options)
    encoded = model.encode_ids([i % 50 for i in range(40)], [7, 8, 9])
    with count_tokens(model.model) as counter:
        spec.explain(model, encoded, config, 0)
    units, targets = len(encoded.units), len(encoded.target_ids)
    assert prediction.forward_positions(method, config, encoded.length, units, targets) == counter.tokens


def positions_of_adaptive(options: dict[str, object]) -> tuple[int, int, int]:
    """What adaptive runs on 60 units, a way back counted as two passes; S and U."""
    model, config = tiny_models.adapter("llama"), METHODS.get("adaptive").config(**options)
    encoded = model.encode_ids([i % 50 for i in range(60)], [7, 8, 9])
    with count_tokens(model.model) as counter:
        adaptive.explain(model, encoded, config, 0)
    backward = 2 * encoded.length if config.proposal is ProposalBy.GRADIENT else 0
    return counter.tokens + backward, encoded.length, len(encoded.units)


ADAPTIVE = pytest.mark.parametrize(
    "options", [{}, {"budget": 0.1}, {"budget": 0.6}, {"budget": 12.0}, {"proposal": ProposalBy.ROWS}]
)


@ADAPTIVE
def test_positions_of_adaptive_are_those_that_it_runs_in_an_even_order(options, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        adaptive.Search, "order", lambda self: [i for i in even_order(range(60), 62) if not self.verified[i]]
    )
    counted, length, units = positions_of_adaptive(options)
    config = METHODS.get("adaptive").config(**options)
    assert prediction.forward_positions("adaptive", config, length, units, 3) == counted


@ADAPTIVE
def test_the_order_that_losses_give_changes_the_positions_of_adaptive_by_little(options):
    counted, length, units = positions_of_adaptive(options)
    config = METHODS.get("adaptive").config(**options)
    assert prediction.forward_positions("adaptive", config, length, units, 3) == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("proposal", ["budget0.25", "rows"])
def test_adaptive_is_simulated_with_the_passes_that_it_makes(proposal: str):
    found = simulated(f"adaptive:{proposal}", LONG_GPTJ, tokens=64, batch=None)
    config = cell(f"adaptive:{proposal}", tokens=64).options
    backward = 2 * 64 if config.proposal is ProposalBy.GRADIENT else 0
    counted = prediction.forward_positions("adaptive", config, 64, 64, 1) - backward
    assert found.forward_tokens == counted


def test_a_budget_for_all_units_is_predicted_as_the_exact_sweep():
    config = METHODS.get("adaptive").config(budget=1.0)
    exact = prediction.forward_positions("atman", METHODS.get("atman").config(), 64, 60, 1)
    assert prediction.forward_positions("adaptive", config, 64, 60, 1) == exact


def test_the_peak_of_adaptive_is_that_of_its_backward_pass_where_that_is_the_larger():
    tokens = 64
    exact, quarter, rows = (
        simulated(name, LONG_GPTJ, tokens=tokens, batch=1)
        for name in ("atman:default", "adaptive:budget0.25", "adaptive:rows")
    )
    config = METHODS.get("atman_gradient").config(checkpointing=False)
    job = prediction.method_job("atman_gradient", config, tokens, tokens)
    gradient = prediction.simulate_job(job, LONG_GPTJ, torch.float32, A100, 1e10)
    # The plain pass's keys and values stay for the rounds that follow.
    assert quarter.peak_bytes > gradient.peak_bytes > exact.peak_bytes
    assert rows.peak_bytes > exact.peak_bytes


def test_what_depends_on_data_says_so():
    (row,) = predict([cell("atman:shifted-kappa0.7")], A100)
    assert row.status is ScaleStatus.UNSUPPORTED
    assert "how alike they are" in str(row.error)


def test_several_targets_are_explained_one_gradient_each():
    one, three = (
        prediction.simulate_job(
            prediction.method_job("input_x_gradient", METHODS.get("input_x_gradient").config(), 12, 4, targets),
            TINY_GPTJ,
            torch.float32,
            A100,
            1e10,
        )
        for targets in (1, 3)
    )
    assert one.work.seconds < three.work.seconds < 3.1 * one.work.seconds


def test_one_perturbation_at_a_time_restarts_at_each_token():
    # The plain pass of S positions, then suffixes of 1 to S of them.
    assert simulated("atman:default", tokens=24).forward_tokens == 24 + 24 * 25 / 2


def test_steps_of_integrated_gradients_cost_time_and_no_memory(monkeypatch: pytest.MonkeyPatch):
    one, ten = simulated("input_x_gradient:default"), simulated("integrated_gradients:default")
    assert ten.forward_tokens == 10 * one.forward_tokens
    assert ten.peak_bytes < 1.5 * one.peak_bytes


def test_steps_in_one_batch_cost_the_memory_of_all():
    one, ten = simulated("input_x_gradient:default"), simulated("integrated_gradients:batched")
    assert ten.forward_tokens == 10 * one.forward_tokens
    assert ten.peak_bytes > 8 * one.peak_bytes


def test_a_continued_integral_peaks_where_one_of_all_steps_does(monkeypatch: pytest.MonkeyPatch):
    continued = simulated("integrated_gradients:checkpointed", TINY_LLAMA, tokens=48)
    monkeypatch.setattr(prediction, "STEPS", (10, 11))  # all ten are simulated
    whole = simulated("integrated_gradients:checkpointed", TINY_LLAMA, tokens=48)
    assert continued.peak_bytes == whole.peak_bytes
    assert continued.forward_tokens == whole.forward_tokens


def test_the_paper_pays_for_weight_gradients():
    parameters = sum(p.numel() for p in prediction.fake_model(TINY_GPTJ, torch.float32).parameters())
    assert simulated("chefer:full").peak_bytes >= 4 * parameters


def test_rows_say_that_they_are_simulated_and_what_does_not_fit():
    small = replace(A100, name="small", memory=45e6)
    cells = [simulated_cell(cell(name), small) for name in ("plain:lean", "chefer:full")]
    fits, too_large = predict(cells, small)
    assert fits.source is too_large.source is Source.SIMULATED
    assert (fits.status, too_large.status) == (ScaleStatus.OK, ScaleStatus.OOM)
    assert too_large.error is not None and "needs" in too_large.error


def test_a_sequence_beyond_the_context_window_is_unsupported(tmp_path: Path):
    TINY_GPTJ.save_pretrained(tmp_path)
    (row,) = predict([cell("plain:lean", tokens=65, model=f"hf:{tmp_path}")], A100)
    assert row.status is ScaleStatus.UNSUPPORTED
    assert "65 tokens exceed" in str(row.error)


def test_plan_needs_a_configuration_only(tmp_path: Path):
    TINY_LLAMA.save_pretrained(tmp_path)
    result = CliRunner().invoke(app, ["plan", str(tmp_path), "--tokens", "16", "--methods", "plain:lean,chefer"])
    assert result.exit_code == 0, result.output
    assert "simulated on A100-80GB" in result.output
    assert "chefer" in result.output


def test_plan_says_what_a_whole_run_takes(tmp_path: Path):
    TINY_LLAMA.save_pretrained(tmp_path)
    arguments = ["plan", str(tmp_path), "--tokens", "16", "--methods", "plain:lean,chefer"]
    result = CliRunner().invoke(app, [*arguments, "--dataset-size", "10570", "--workers", "8"])
    assert result.exit_code == 0, result.output
    assert "10,570 inputs of 16 tokens on 8 workers, simulated on A100-80GB" in result.output


def test_a_whole_run_takes_what_its_busiest_worker_does():
    (row,) = predict([cell("plain:lean", tokens=16)], A100)
    row = replace(row, seconds=(36.0,), model_bytes=100, peak_bytes=(50,))
    assert whole_run(row, A100, 1000, 8) == WholeRun(devices=1, device_hours=10.0, hours=1.25)
    assert whole_run(row, A100, 1, 8) == WholeRun(devices=1, device_hours=0.01, hours=0.01)
    assert whole_run(row, replace(A100, memory=60), 1000, 8) == WholeRun(devices=3, device_hours=30.0, hours=1.25)
    assert whole_run(replace(row, peak_bytes=()), A100, 1000, 8) is None


MEASURE = """
import sys
from pathlib import Path
from atman_bench.profiling.predict import compare
from atman_bench.profiling.devices import find_device
from atman_bench.profiling.grid import ScaleConfig, run

if __name__ == "__main__":  # the processes that measure import this file
    methods = "chefer", "chefer:full", "input_x_gradient"
    models = ("random:30M",)
    results = Path(sys.argv[1])
    config = ScaleConfig(
        models=models, methods=methods, tokens=(512,), repeats=1, threads=1, device="cpu", results=results
    )
    print(*(found.ratio for found in compare(run(config).rows, find_device("cpu-24GB"))))
"""


@pytest.mark.slow
def test_simulated_peaks_agree_with_measured_ones(tmp_path: Path):
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(script), str(tmp_path / "results")]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    ratios = [float(ratio) for ratio in printed.split()]
    assert len(ratios) == 3
    assert statistics.median(ratios) == pytest.approx(1, abs=0.1)


def test_rates_are_those_by_which_measured_runs_took_their_time():
    works = [Work(seconds=s, launches=n) for s, n in [(0.002, 200), (0.03, 900), (0.01, 850)]]
    rates = fitted(works, [2e-5 * work.launches + 0.6 * work.seconds for work in works])
    assert rates.per_launch == pytest.approx(2e-5)
    assert rates.per_roofline_second == pytest.approx(0.6)
    assert rates.seconds(Work(seconds=1.0, launches=1000)) == pytest.approx(0.62)


def test_no_rate_is_negative_whatever_was_measured():
    works = [Work(seconds=1.0, launches=100), Work(seconds=2.0, launches=100)]
    # Exactly, a launch would take -0.01 s; without launches (1 - r)^2 + (1 - 2 r / 3)^2 is least at 15/13.
    assert fitted(works, [1.0, 3.0]) == Rates(0.0, pytest.approx(15 / 13))


def test_a_machine_is_measured_by_three_runs_and_by_a_plain_pass_alone_where_that_is_slow(monkeypatch):
    model = tiny_models.adapter("llama")
    monkeypatch.setattr(
        calibration,
        "_seconds",
        lambda adapter, job: Rates(3e-5, 0.4).seconds(simulate_loaded(adapter, job).work),
    )
    rates = calibrate(model, tokens=20, units=16, targets=2)
    assert (rates.per_launch, rates.per_roofline_second) == (pytest.approx(3e-5), pytest.approx(0.4))
    monkeypatch.setattr(calibration, "_seconds", lambda adapter, job: 6.0)
    slow = calibrate(model, tokens=20, units=16, targets=2)
    assert slow.seconds(simulate_loaded(model, plain_job("lean", 20, 2)).work) == pytest.approx(6.0)
