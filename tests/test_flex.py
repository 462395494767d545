"""Fused attention beside the blocks that it stands for: every form and architecture, in both of the kernel's forms."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import tiny_models
import torch
from attention_inputs import ARCHITECTURES, BATCH, FORMS, long_call, some_factors, suppressed
from torch import Tensor
from torch.nn.attention import flex_attention

from atman_bench.attention import flex
from atman_bench.attention.edit import AttentionEdit, AttentionInputs, Form, RowMin, attend
from atman_bench.attention.flex import CHOICE, Kernel, attend_fused, kernel_that_pays, mixed_values, row_minima
from atman_bench.core import device_traits
from atman_bench.core.device_traits import CUDA
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep

ATOL = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 5e-2}
"""Of mixed values of about 4: float32 rounds in another order; bfloat16 keeps 8 bits of values, weights and scores."""


@contextmanager
def chosen(kernel: Kernel | None) -> Iterator[None]:
    """Attention by a kernel, wherever it runs."""
    token = CHOICE.set(lambda inputs: kernel)
    try:
        yield
    finally:
        CHOICE.reset(token)


def typed(inputs: AttentionInputs, dtype: torch.dtype) -> AttentionInputs:
    """The same call in another type; biases and sinks are of the weights' type too."""
    tensors = {
        name: tensor.to(dtype)
        for name in ("query", "key", "value", "bias", "sinks")
        if (tensor := getattr(inputs, name)) is not None
    }
    return replace(inputs, **tensors)


def fused(inputs: AttentionInputs, edit: AttentionEdit | None, kernel: Kernel = mixed_values) -> Tensor:
    with chosen(kernel):
        found = attend_fused(inputs, edit)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is not compiled runs operation by operation; one that failed is tried again in the next test."""
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "_refused", [])


@pytest.mark.parametrize("dtype", ATOL)
@pytest.mark.parametrize(("form", "row_min"), FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_fused_kernel_gives_the_numbers_of_the_blocks(architecture, form, row_min, dtype):
    inputs, edit = typed(ARCHITECTURES[architecture], dtype), AttentionEdit(some_factors(), form, row_min)
    expected = attend(typed(inputs, torch.float64), edit)
    torch.testing.assert_close(fused(inputs, edit).double(), expected, rtol=0, atol=ATOL[dtype])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_that_is_not_edited_is_fused_too(architecture):
    inputs = ARCHITECTURES[architecture]
    torch.testing.assert_close(fused(inputs, None), attend(inputs, None), rtol=0, atol=1e-12)


def test_one_edit_serves_all_copies():
    inputs, factors = ARCHITECTURES["everything"], some_factors()
    once, thrice = AttentionEdit(factors[:1]), AttentionEdit(factors[:1].expand(BATCH, -1))
    assert fused(inputs, once).equal(fused(inputs, thrice))


@pytest.mark.parametrize("row_min", RowMin)
def test_row_minima_are_float32_however_coarse_the_inputs_are(row_min):
    inputs = typed(ARCHITECTURES["softcap"], torch.bfloat16)
    edit = AttentionEdit(some_factors(), row_min=row_min)
    minima, exact = row_minima(inputs, edit), row_minima(typed(inputs, torch.float64), edit)
    assert minima.dtype is torch.float32
    torch.testing.assert_close(minima.double(), exact, rtol=0, atol=1e-5)


def test_queries_of_gptj_go_back_to_the_type_of_the_values():
    """It hands over half-precision queries and keys as float32; kernels take one type."""
    coarse = typed(ARCHITECTURES["plain"], torch.bfloat16)
    widened = replace(coarse, query=coarse.query.float(), key=coarse.key.float())
    edit = AttentionEdit(some_factors())
    assert fused(widened, edit).equal(fused(coarse, edit))


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral", "gpt_oss", "bloom", "gptj"])
@pytest.mark.parametrize("form", Form)
def test_sweeps_agree_with_blocks_in_every_architecture(name, form):
    """Restarts, grouped heads, softcap, sliding windows, sinks, position bias, and a patched family."""
    model = tiny_models.adapter(name)
    encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    factors = torch.ones(5, encoded.length)
    factors[range(5), [0, 3, 8, 19, 20]] = 0.1
    edit, options = AttentionEdit(factors, form), EngineOptions(EngineMode.FAST, batch=2)
    expected = sweep(model, encoded, edit, options)
    with chosen(mixed_values):
        found = sweep(model, encoded, edit, options)
    torch.testing.assert_close(found.losses, expected.losses, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.plain, expected.plain, rtol=0, atol=1e-4)


def failing(*arguments: object) -> tuple[Tensor, None]:
    raise RuntimeError("no such\ninstruction")


def test_a_kernel_that_does_not_compile_is_replaced_by_blocks_and_a_warning(caplog):
    with chosen(failing), caplog.at_level(logging.WARNING, "atman_bench.attention.flex"):
        assert attend_fused(ARCHITECTURES["plain"], None) is None
    (message,) = caplog.messages
    assert message.startswith("no fused attention here, blocks of rows instead: RuntimeError: no such")
    assert "\n" not in message


def test_a_refused_kernel_is_not_tried_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_traits, "CPU", replace(CUDA, fused_from=1))
    call = long_call(2, 150, 200)
    assert kernel_that_pays(call) is not None
    monkeypatch.setattr(flex, "_refused", ["why"])
    assert kernel_that_pays(call) is None


def test_out_of_memory_in_the_kernel_is_no_reason_to_give_it_up():
    def full(*arguments: object) -> tuple[Tensor, None]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with chosen(full), pytest.raises(torch.OutOfMemoryError):
        attend_fused(ARCHITECTURES["plain"], None)
    assert not flex._refused


def test_calls_of_another_kind_are_left_to_blocks(monkeypatch: pytest.MonkeyPatch):
    call = long_call(2, 150, 200)
    assert kernel_that_pays(call) is None  # a CPU has none
    monkeypatch.setattr(device_traits, "CPU", replace(CUDA, fused_from=2 * 4 * 150 * 200))
    assert kernel_that_pays(call) is not None
    assert kernel_that_pays(long_call(2, 149, 200)) is None  # too few scores
    assert kernel_that_pays(long_call(9, 128, 200)) is None  # too few rows
    assert kernel_that_pays(typed(call, torch.float64)) is None
    monkeypatch.setattr(flex, "HEAD_SIZES", range(17, 257))
    assert kernel_that_pays(call) is None


def test_gradients_are_left_to_blocks():
    inputs = ARCHITECTURES["plain"]
    with chosen(mixed_values):
        assert attend_fused(replace(inputs, query=inputs.query.clone().requires_grad_()), None) is None


WITH_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, g++")


@WITH_COMPILER
@pytest.mark.slow
def test_the_compiled_kernel_has_the_numbers_of_the_blocks_at_all_lengths():
    """``literal``, since PyTorch's CPU kernels for lengths as symbols do not compile with more that is captured."""
    kernel = flex._compiled()
    for copies, length, columns in ((2, 200, 200), (3, 150, 200), (5, 133, 330)):
        inputs, edit = long_call(copies, length, columns), suppressed(copies, columns, Form.LITERAL)
        with torch._dynamo.config.patch(error_on_recompile=length != 200), torch.inference_mode():
            found = fused(inputs, edit, kernel)
        torch.testing.assert_close(found, attend(inputs, edit), rtol=0, atol=ATOL[torch.float32])


@WITH_COMPILER
@pytest.mark.skipif("ATMAN_BENCH_COMPILED" not in os.environ, reason="ATMAN_BENCH_COMPILED=1 compiles for a minute")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("form", "row_min"), FORMS)
def test_each_form_compiled_has_the_numbers_of_the_blocks(form, row_min, dtype):
    inputs, edit = typed(long_call(2, 150, 200), dtype), suppressed(2, 200, form, row_min)
    torch._dynamo.reset()  # each function may be compiled so many times only
    kernel, exact = torch.compile(mixed_values, fullgraph=True, dynamic=False), typed(inputs, torch.float64)
    for softcap in (None, 3.0):
        with torch.inference_mode():
            found = fused(replace(inputs, softcap=softcap), edit, kernel)
        expected = attend(replace(exact, softcap=softcap), edit)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=ATOL[dtype])
