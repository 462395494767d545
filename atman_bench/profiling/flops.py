"""Arithmetic and memory traffic of single operations, from the shapes of their tensors."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, is_causal: bool = False) -> int:
    count = sdpa_flop_count(query.shape, key.shape, value.shape)
    return count // 2 if is_causal else count  # the kernel skips blocks above the diagonal


def _fused_attention_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    dropout_p: float,
    is_causal: bool,
) -> int:
    count = sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)
    return count // 2 if is_causal else count


UNREGISTERED: Mapping[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _fused_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward,
}
"""Fused attention on the CPU, which torch's own counter takes for no work at all."""

GATHERS = frozenset({aten.embedding, aten.index, aten.index_select, aten.gather})
"""Operations that read no more of their first tensor than they return."""

ALLOCATES_ONLY = frozenset({aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided})
"""Operations that touch no memory."""


def flops_of(function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Multiplications and additions of one operation; 0 for all but matrix products and fused attention.

    Others are bound by memory on every device, so only what they move is counted (``moved_by``).
    """
    packet = function.overloadpacket
    if (count := UNREGISTERED.get(packet)) is not None:
        return count(*args)  # the schema's keywords are the mask and the scale, which cost nothing here
    if (count := flop_registry.get(packet)) is not None:
        return count(*args, **kwargs, out_val=result)
    return 0


def moved_by(function: OpOverload, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> int:
    """Bytes that one operation reads and writes, each tensor once."""
    packet = function.overloadpacket
    if packet in ALLOCATES_ONLY:
        return 0
    written = sum(map(_bytes, outputs))
    if packet in GATHERS:
        return 2 * written
    return written + sum(map(_bytes, inputs))


def _bytes(tensor: Tensor) -> int:
    """Bytes that a tensor reads: an expanded axis is read once."""
    distinct = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        distinct *= size if stride else 1
    return distinct * tensor.element_size()


@cache
def is_view(function: OpOverload) -> bool:
    """Whether an operation only looks at its argument differently: no kernel, no traffic."""
    if function.overloadpacket is aten._unsafe_view:
        return True
    returns = function._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
