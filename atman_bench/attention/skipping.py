"""What a pass of a decoder need not compute: duplicate rows of the first layer, unused rows of the last.

*Duplicate rows.* The perturbations of a pass are copies of one sample until its first attention has run. What the first
layer computes from its input is therefore computed once: queries, keys and values, and where attention and feed-forward
are parallel (GPT-J) the feed-forward. *Unused rows.* Of the last layer, keys and values are needed at all positions,
and everything behind them only where logits are read; the other rows come out as zeros.

Both hold for modules that treat every token alone, and both are hooks: no model's code is touched.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from atman_bench.core.device_traits import sent

LINEAR = (nn.Linear, Conv1D)

QUERIES = frozenset({"q_proj"})
INPUTS = QUERIES | {"k_proj", "v_proj", "c_attn", "qkv_proj", "query_key_value"}
OUTPUTS = frozenset({"o_proj", "out_proj", "c_proj", "dense"})
"""What families call the projections of an attention module. One with another name does all its work."""


@dataclass(frozen=True)
class TokenWise:
    """The modules of one layer that treat every token alone.

    Attributes:
        queries: Projections that make queries and nothing else.
        inputs: All projections that make queries, keys or values.
        outputs: Projections behind the attention.
        feed_forward: What is made of linear layers, has no other weights and serves no other layer. Experts are left
            out, since how many tokens one of them takes may depend on the others.
    """

    queries: tuple[nn.Module, ...] = ()
    inputs: tuple[nn.Module, ...] = ()
    outputs: tuple[nn.Module, ...] = ()
    feed_forward: tuple[nn.Module, ...] = ()

    @classmethod
    def beside(cls, attention: nn.Module, model: nn.Module) -> Self:
        """The modules of an attention module's layer: the innermost item of a list that holds it. None without one."""
        stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
        holders = [layer for stack in stacks for layer in stack if _holds(layer, attention)]
        if not holders:
            return cls()
        queries, inputs, outputs = (
            tuple(child for name, child in attention.named_children() if name in names and isinstance(child, LINEAR))
            for names in (QUERIES, INPUTS, OUTPUTS)
        )
        named = [module for _, module in model.named_modules(remove_duplicate=False)]
        feed_forward = tuple(
            child
            for child in holders[-1].children()
            if not _holds(child, attention) and _is_dense(child) and sum(module is child for module in named) == 1
        )
        return cls(queries, inputs, outputs, feed_forward)


def _holds(module: nn.Module, wanted: nn.Module) -> bool:
    return any(inner is wanted for inner in module.modules())


def _is_dense(module: nn.Module) -> bool:
    parts = list(module.modules())
    linear = sum(len(list(part.parameters(recurse=False))) for part in parts if isinstance(part, LINEAR))
    return linear == len(list(module.parameters())) > 0 and not any(isinstance(part, nn.ModuleList) for part in parts)


def are_copies(inputs: Tensor) -> bool:
    """Whether the items of a batch are one item, expanded; several views of the same memory and not only equal."""
    return inputs.shape[0] > 1 and inputs.stride(0) == 0


@contextmanager
def one_copy(first: TokenWise) -> Iterator[None]:
    """While a batch of copies runs, compute what the first layer makes of its input for one of them."""
    seen: list[Tensor] = []
    with ExitStack() as hooks:
        for module in first.inputs:
            hooks.enter_context(_hooked(module, _Copies(seen, leads=True)))
        for module in first.feed_forward:
            hooks.enter_context(_hooked(module, _Copies(seen, leads=False)))
        yield


@contextmanager
def only_rows(last: TokenWise, rows: list[int]) -> Iterator[None]:
    """Compute only these rows (positions of the pass) of what stands behind the keys and values of the last layer."""
    with ExitStack() as hooks:
        for module in (*last.queries, *last.outputs, *last.feed_forward):
            hooks.enter_context(_hooked(module, _Rows(rows)))
        yield


def scattered(part: Tensor, rows: list[int], length: int, dim: int) -> Tensor:
    """Zeros, but for some rows of a dimension."""
    shape = list(part.shape)
    shape[dim] = length
    return part.new_zeros(shape).index_copy_(dim, sent(torch.tensor(rows), part.device), part)


@dataclass
class _Copies:
    """Runs a module on the first copy.

    Attributes:
        seen: What the attention's projections were called with. A feed-forward that is called with the same tensor
            does not come after the attention.
        leads: Whether this is one of the projections.
        count: Copies of the current call; 1 where it is left alone.
    """

    seen: list[Tensor]
    leads: bool
    count: int = 1

    def narrow(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.leads:
            self.seen.extend(args)
        shared = len(args) == 1 and any(args[0] is tensor for tensor in self.seen)
        self.count = args[0].shape[0] if shared else 1
        return (args[0][:1],) if shared else args

    def widen(self, output: Tensor) -> Tensor:
        # Not an expanded view: some models go on in place.
        return output if self.count == 1 else output.repeat(self.count, 1, 1)


@dataclass
class _Rows:
    """Runs a module on some rows.

    Attributes:
        rows: Positions of the pass.
        length: Of the current call; None where it is left alone.
    """

    rows: list[int]
    length: int | None = None

    def narrow(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        # OPT flattens (B, S, D) before its feed-forward: all rows, then.
        whole = bool(args) and all(isinstance(value, Tensor) and value.ndim == 3 for value in args)
        self.length = args[0].shape[1] if whole else None
        return tuple(value[:, sent(torch.tensor(self.rows), value.device)] for value in args) if whole else args

    def widen(self, output: Tensor) -> Tensor:
        return output if self.length is None else scattered(output, self.rows, self.length, dim=1)


@contextmanager
def _hooked(module: nn.Module, part: _Copies | _Rows) -> Iterator[None]:
    """Change what a module is called with, and what comes out of it, inside this block."""

    def narrow(
        module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # A call by name is none that we know: all rows and copies, then.
        return part.narrow(() if named else args) or args, named

    before = module.register_forward_pre_hook(narrow, with_kwargs=True)
    after = module.register_forward_hook(lambda module, args, output: part.widen(output))
    try:
        yield
    finally:
        before.remove()
        after.remove()
