"""What a callable costs: wall time, positions that went through the model, and peak device memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from atman_bench.core.records import Cost

Result = TypeVar("Result")


@dataclass
class TokenCounter:
    """Positions (batch x length) that went through a model's layers, over all forward passes."""

    tokens: int = 0


@contextmanager
def count_tokens(model: nn.Module) -> Iterator[TokenCounter]:
    """Count positions while this block runs, whoever calls the model."""
    counter = TokenCounter()

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = next((kwargs[k] for k in ("input_ids", "inputs_embeds") if kwargs.get(k) is not None), None)
        inputs = args[0] if inputs is None else inputs
        counter.tokens += inputs.shape[0] * inputs.shape[1]

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counter
    finally:
        handle.remove()


def measure(function: Callable[[], Result], model: nn.Module, device: torch.device) -> tuple[Result, Cost]:
    """Run a function once and measure it.

    Peak memory is the CUDA allocator's, above what was allocated before; the CPU has no such counter here (None).
    """
    on_cuda = device.type == "cuda"
    before = 0
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with count_tokens(model) as counter:
        started = time.perf_counter()
        result = function()
        if on_cuda:
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated(device) - before if on_cuda else None
    return result, Cost(seconds, counter.tokens, peak)
