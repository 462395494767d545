"""Whether gradient rules cover a whole forward pass: half a correction looks right and is wrong.

The autograd graph of a pass says what was really computed, whatever the model's code looks like. Under complete rules
all of it is linear in what carries gradient, except inside the parts that the rules leave alone on purpose.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from re import sub
from typing import Any

import torch
from torch import Tensor, nn

from atman_bench.attention.edit import AttentionInputs
from atman_bench.core.errors import NotApplicableError
from atman_bench.methods._rules import Rules, activations, attend, experts

RULES = frozenset({"AccumulateGrad", "Halved", "Surrogate"})
SHAPES = frozenset({"Alias", "Clone", "Expand", "Flip", "Permute", "Repeat", "Reshape", "ReshapeAlias", "Roll"})
VIEWS = frozenset({"AsStrided", "Squeeze", "T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View"})
PIECES = frozenset({"Cat", "Select", "Slice", "Split", "SplitWithSizes", "Stack", "Unbind", "Unfold", "UnsafeSplit"})
CHOICES = frozenset({"Gather", "Index", "IndexAdd", "IndexPut", "IndexSelect", "MaskedFill", "Where"})
SUMS = frozenset({"Add", "Mean", "Neg", "Sub", "Sum"})
LINEAR = RULES | SHAPES | VIEWS | PIECES | CHOICES | SUMS
"""Operations that are linear in all of their inputs together."""

PRODUCTS = frozenset({"Addmm", "Addmv", "Baddbmm", "Bmm", "Div", "Linear", "Matmul", "Mm", "Mul", "Mv"})
"""Operations that are linear as long as one of their factors carries no gradient."""

ADDITIVE = frozenset({"Addmm", "Addmv", "Baddbmm"})
"""Products whose first input is added."""

ELEMENTWISE = frozenset({"Gelu", "Relu", "Silu", "Tanh"})
"""Activations, covered where the rule is their derivative."""


@dataclass(frozen=True)
class Span:
    """The nodes, by their sequence numbers, that a part of the model made."""

    first: int
    end: int
    name: str
    known: bool


@dataclass
class Trace:
    """Which part of a model made which node of the autograd graph.

    Attributes:
        model: Whose parts are followed.
        rules: What the pass runs under.
        spans: One for each call of a part, inner ones before outer ones.
    """

    model: nn.Module
    rules: Rules
    spans: list[Span] = field(default_factory=list)

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, None]:
        """Attention under the rules, as the attention host calls it."""
        first = _next_number()
        mixed = attend(inputs, self.rules)
        self.spans.append(Span(first, _next_number(), f"attention of layer {layer}", True))
        return mixed, None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the parts of the model through the forward passes of this block."""
        known = {router for block in _blocks_of_experts(self.model) for router in block}
        if not self.rules.ratios:
            known |= set(activations(self.model))
        started: list[int] = []

        def enter(*_: object) -> None:
            started.append(_next_number())

        def leave(name: str, module: nn.Module, *_: object) -> None:
            label = f"{name} ({type(module).__name__})" if name else type(module).__name__
            self.spans.append(Span(started.pop(), _next_number(), label, module in known))

        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(partial(leave, name)).remove)
            yield

    def require_rules(self, output: Tensor, method: str) -> None:
        """Check the graph of an output of the model.

        Raises:
            NotApplicableError: A part is neither linear nor covered by a rule; the message names it.
        """
        root: Any = output.grad_fn
        todo, seen = [(root, False)], set()
        while todo:
            node, halved = todo.pop()
            if not self._covered(node, halved):
                raise NotApplicableError(
                    f"{method} knows no rule for the {_operation(node)} in {self._part(node)} of "
                    f"{type(self.model).__name__}: half a correction would look right and be wrong; choose another "
                    "method (input_x_gradient) or another model"
                )
            if node not in seen:
                seen.add(node)
                todo += [(child, _operation(node) == "Halved") for child in _inputs(node)]

    def _covered(self, node: Any, halved: bool) -> bool:
        operation = _operation(node)
        if operation in PRODUCTS:
            factors = node.next_functions[operation in ADDITIVE :]
            carrying = [child is not None for child, _ in factors]
            if operation == "Div" and carrying[1]:
                return self._is_known(node)
            # A product of two parts is halved once and directly behind it, and nothing else is.
            if (sum(carrying) > 1) == halved:
                return True
        elif not halved and (operation in LINEAR or (operation in ELEMENTWISE and not self.rules.ratios)):
            return True
        return self._is_known(node)

    def _is_known(self, node: Any) -> bool:
        return any(span.known for span in self._around(node))

    def _around(self, node: Any) -> list[Span]:
        return [span for span in self.spans if span.first <= node._sequence_nr() < span.end]

    def _part(self, node: Any) -> str:
        around = self._around(node)
        return around[0].name if around else "the code around its parts"


def _blocks_of_experts(model: nn.Module) -> list[list[nn.Module]]:
    """The routers, with all that they contain, beside each mixture of experts that is known."""
    mixtures = set(experts(model))
    return [
        list(router.modules())
        for module in model.modules()
        if mixtures & set(module.children())
        for name, router in module.named_children()
        if name in ("gate", "router")
    ]


def _operation(node: Any) -> str:
    return sub(r"Backward\d*$", "", node.name().removeprefix("torch::autograd::"))


def _inputs(node: Any) -> list[Any]:
    return [child for child, _ in node.next_functions if child is not None]


def _next_number() -> int:
    number: int = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]  # private, like nodes'
    return number
