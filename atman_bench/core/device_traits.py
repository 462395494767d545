"""How work is cut for a device: sizes that follow its caches and what starting an operation costs there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DeviceTraits:
    """Sizes for one kind of device; they change costs, and values by no more than rounding.

    Attributes:
        block_elements: Scores that blocked attention holds at once, in float32.
        pass_tokens: Positions per forward pass beyond which larger matrix products are no faster.
        most_rows: Perturbations per pass at the most: near the end, where suffixes are short, more rows only recompute
            each other's.
        fused_from: Scores of an attention call from which on a fused kernel is compiled for it; None has no kernel.
    """

    block_elements: int
    pass_tokens: int
    most_rows: int
    fused_from: int | None


CPU = DeviceTraits(block_elements=1 << 19, pass_tokens=512, most_rows=16, fused_from=None)
"""Measured (``docs/performance.md``): a block of 2 MB stays in the cores' caches while it is edited."""

CUDA = DeviceTraits(block_elements=1 << 25, pass_tokens=4096, most_rows=64, fused_from=1 << 24)
"""Reckoned from data sheets, not measured yet. A block's scores take 128 MB, so that operations on them run for far
longer than the 5 microseconds that starting one takes. A pass of 4,096 positions does more than ten times the
arithmetic that reading half-precision weights leaves time for. Compiling takes seconds, which fewer scores would not
earn back."""


def traits_of(device: torch.device) -> DeviceTraits:
    """The sizes for a device; one that is not known is taken for a CPU."""
    return CUDA if device.type == "cuda" else CPU


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without the host waiting for the device.

    Copies from ordinary host memory make it wait, so they go through pinned memory. To the host there is no such way:
    what is read there has to be finished.
    """
    if tensor.device.type != "cpu" or device.type in ("cpu", "mps"):  # Apple's would read memory that is gone by then
        return tensor.to(device)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
