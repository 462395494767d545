"""What a GPU does otherwise than a CPU, with the same numbers; on the CPU where there is none."""

from copy import deepcopy
from dataclasses import replace

import pytest
import tiny_models
import torch
from attention_inputs import ARCHITECTURES, FORMS, long_call, some_factors, suppressed
from torch import Tensor
from torch.nn.attention import flex_attention

from atman_bench.attention import flex
from atman_bench.attention.edit import AttentionEdit, AttentionInputs, attend
from atman_bench.attention.flex import CHOICE, Kernel, attend_fused, mixed_values
from atman_bench.attention.masks import Masks
from atman_bench.core import device_traits
from atman_bench.core.device_traits import CUDA, sent, traits_of
from atman_bench.core.memory import free_bytes
from atman_bench.methods import METHODS, _engine
from atman_bench.methods._engine import EngineMode, EngineOptions, end_of, plain_pass, planned_tokens, sweep
from atman_bench.models._causal_lm import CausalLM

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KERNEL: Kernel = flex._compiled() if DEVICE.type == "cuda" else mixed_values
"""Where there is a GPU the kernel is compiled; ``test_flex.py`` compiles one for the CPU."""

pytestmark = pytest.mark.gpu


def there(inputs: AttentionInputs, dtype: torch.dtype) -> AttentionInputs:
    """The same call on the device, in another type."""
    tensors = {
        name: tensor.to(DEVICE, dtype)
        for name in ("query", "key", "value", "bias", "sinks")
        if (tensor := getattr(inputs, name)) is not None
    }
    return replace(inputs, visibility=inputs.visibility.to(DEVICE), **tensors)


def model_there(name: str) -> CausalLM:
    return CausalLM(name, deepcopy(tiny_models.adapter(name).model).to(DEVICE), None, name)


def suppress(length: int) -> AttentionEdit:
    factors = torch.ones(6, length)
    factors[range(6), [0, 3, 8, 12, 19, 20]] = 0.1
    return AttentionEdit(factors)


@pytest.mark.parametrize(("form", "row_min"), FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_in_blocks_has_the_numbers_of_the_cpu(architecture, form, row_min):
    inputs, edit = ARCHITECTURES[architecture], AttentionEdit(some_factors(), form, row_min)
    found = attend(there(inputs, torch.float32), edit.to(DEVICE))
    torch.testing.assert_close(found.double().cpu(), attend(inputs, edit), rtol=0, atol=2e-5)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-5), (torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize(("form", "row_min"), FORMS)
def test_the_fused_kernel_has_the_numbers_of_the_blocks(monkeypatch, form, row_min, dtype, atol, softcap):
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", DEVICE.type == "cpu")
    inputs = replace(there(long_call(2, 150, 200), dtype), softcap=softcap, sinks=torch.zeros(4, device=DEVICE))
    edit = suppressed(2, 200, form, row_min).to(DEVICE)
    token = CHOICE.set(lambda inputs: KERNEL)
    try:
        with torch.inference_mode():
            found = attend_fused(inputs, edit)
    finally:
        CHOICE.reset(token)
    assert found is not None, flex._refused
    expected = attend(there(inputs, torch.float64), edit)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "gptj", "bloom"])
@pytest.mark.parametrize("mode", EngineMode)
def test_sweeps_have_the_losses_of_the_cpu(name, mode):
    cpu = tiny_models.adapter(name)
    encoded = cpu.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    edit = suppress(encoded.length)
    expected = sweep(cpu, encoded, edit, EngineOptions(EngineMode.NAIVE, batch=1))
    found = sweep(model_there(name), encoded, edit, EngineOptions(mode, batch=4))
    assert found.losses.device.type == "cpu"
    torch.testing.assert_close(found.losses, expected.losses, rtol=0, atol=2e-4)


@pytest.mark.parametrize("method", ["atman", "atman_gradient", "adaptive", "chefer", "input_x_gradient", "occlusion"])
def test_methods_have_the_scores_of_the_cpu(method):
    spec, cpu = METHODS.get(method), tiny_models.adapter("llama")
    encoded = cpu.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    expected, found = (spec.explain(model, encoded, spec.config(), 0).scores for model in (cpu, model_there("llama")))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_a_sweep_waits_for_its_device_once(monkeypatch: pytest.MonkeyPatch):
    """CUDA itself raises where the host would wait; ``test_masks.py`` finds out without a GPU."""
    model = model_there("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    plain, gather = plain_pass(model, encoded, EngineOptions()), _engine._gathered

    def quietly(mode: str) -> None:
        if DEVICE.type == "cuda":
            torch.cuda.set_sync_debug_mode(mode)

    def gathered(parts: list[Tensor]) -> list[Tensor]:
        quietly("default")
        return gather(parts)

    monkeypatch.setattr(_engine, "_gathered", gathered)
    quietly("error")
    try:
        found = sweep(model, encoded, suppress(encoded.length), EngineOptions(batch=2, memory_bytes=10**9), plain)
    finally:
        quietly("default")
    assert found.losses.isfinite().all()


def test_a_batch_that_does_not_fit_is_halved_and_counts_once(monkeypatch: pytest.MonkeyPatch):
    model = model_there("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    edit = suppress(encoded.length)
    expected = sweep(model, encoded, edit, EngineOptions(batch=1)).losses
    run = model.run

    def failing(encoded, what):
        if what.batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(encoded, what)

    monkeypatch.setattr(model, "run", failing)
    found = sweep(model, encoded, edit, EngineOptions(batch=6)).losses
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_free_memory_is_known():
    assert free_bytes(DEVICE) > 0


def test_sending_a_tensor_keeps_it():
    assert sent(torch.arange(5), DEVICE).tolist() == [0, 1, 2, 3, 4]
    assert sent(torch.arange(5).expand(2, 5), DEVICE).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_a_gpu_has_larger_blocks_and_batches_and_plans_stay_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch):
    assert traits_of(torch.device("cuda:1")) is CUDA
    assert traits_of(torch.device("cpu")) is device_traits.CPU
    model = tiny_models.adapter("llama")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    starts = list(range(encoded.length))
    planned, run = planned_tokens(starts, encoded.length, end_of(encoded)), model.run
    batches, losses = [], []
    monkeypatch.setattr(model, "run", lambda encoded, what: batches[-1].append(what.batch) or run(encoded, what))
    factors = 1 - 0.9 * torch.eye(encoded.length)
    for traits in (device_traits.CPU, CUDA):
        batches.append([])
        monkeypatch.setattr(_engine, "traits_of", lambda device, traits=traits: traits)
        losses.append(sweep(model, encoded, AttentionEdit(factors), EngineOptions(memory_bytes=10**9)).losses)
        assert planned_tokens(starts, encoded.length, end_of(encoded)) == planned
    assert batches == [[1, 16, 7], [1, 23]]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=2e-4)


def test_the_masks_of_a_sweep_are_checked(monkeypatch: pytest.MonkeyPatch):
    checked = []
    monkeypatch.setattr(Masks, "check", lambda masks: checked.append(masks))
    model = tiny_models.adapter("gemma2")
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    sweep(model, encoded, suppress(encoded.length), EngineOptions())
    assert len(checked) == 1
