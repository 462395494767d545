"""Gradient rules: context managers in which a backward pass follows rules of relevance instead of derivatives.

Each patches instances by hooks and puts back what was there; they compose, and no value of the forward pass changes.
What they do not know keeps its derivative, so a pass under them has to be checked: see ``_rules_check.py``.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atman_bench.attention.edit import AttentionInputs

EPSILON = 1e-10
"""Added to an activation's input before it divides."""


@dataclass(frozen=True)
class Rules:
    """What a backward pass does at the parts of a decoder that are not linear. Norms are divided by constants in all.

    Attributes:
        constant_gates: Attention weights, gates and routing weights are constants. Otherwise a product of two parts of
            the input passes half of its gradient to each.
        ratios: An activation passes its gradient times output / input; otherwise times its derivative.
        temperature: Of the attention's softmax on the way back; 1 is its derivative.
    """

    constant_gates: bool = False
    ratios: bool = True
    temperature: float = 1.0


class Halved(torch.autograd.Function):
    """A product of two parts of the input; the gradient of each is halved."""

    @staticmethod
    def forward(ctx: Any, product: Tensor) -> Tensor:
        """The product."""
        return product.view_as(product)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Half of the gradient."""
        return gradient / 2


class Surrogate(torch.autograd.Function):
    """The value of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:
        """The value; a copy, since models overwrite what norms and activations return."""
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient goes to the surrogate."""
        return gradient, None


class TemperedSoftmax(torch.autograd.Function):
    """Softmax whose backward pass is that of a softmax at a temperature, without the factor 1 / temperature."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, temperature: float) -> Tensor:
        """Plain softmax over the last axis."""
        ctx.save_for_backward(scores)
        ctx.temperature = temperature
        return scores.softmax(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient p (g - sum p g), p the softmax at the temperature."""
        (scores,) = ctx.saved_tensors
        p = (scores / ctx.temperature).softmax(-1)
        return p * (gradient - (p * gradient).sum(-1, keepdim=True)), None


def wide(x: Tensor) -> Tensor:
    """Float32 at least."""
    return x if x.dtype is torch.float64 else x.float()


def as_ratio(z: Tensor, value: Tensor) -> Tensor:
    """The value of an elementwise function of z, whose gradient is multiplied by value / z."""
    value = value.detach()
    ratio = wide(value) / (wide(z.detach()) + EPSILON)
    return Surrogate.apply(z * ratio.to(z.dtype), value)


def attend(inputs: AttentionInputs, rules: Rules) -> Tensor:
    """Attention (B, H, Lq, Dv) under rules; it holds all scores at once, as every backward pass through them does.

    With halved products that is a quarter of the gradient for queries and keys, and half of it for values.
    """
    shared = inputs.query.shape[1] // inputs.key.shape[1]
    key, value = (x.repeat_interleave(shared, dim=1) for x in (inputs.key, inputs.value))
    if rules.constant_gates:
        with torch.no_grad():
            weights = _attention_weights(inputs, key, rules).to(value.dtype)
        return weights @ value
    return Halved.apply(_attention_weights(inputs, key, rules).to(value.dtype) @ value)


def _attention_weights(inputs: AttentionInputs, key: Tensor, rules: Rules) -> Tensor:
    scores = wide(Halved.apply(inputs.query @ key.transpose(-1, -2)) * inputs.scaling)
    if inputs.softcap is not None:
        capped = inputs.softcap * torch.tanh(scores / inputs.softcap)
        scores = as_ratio(scores, capped) if rules.ratios else capped
    if inputs.bias is not None:
        scores = scores + inputs.bias
    columns = scores.shape[-1]
    scores = scores.masked_fill(~inputs.visibility.visible, torch.finfo(scores.dtype).min)
    if inputs.sinks is not None:
        sinks = inputs.sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(-1) if rules.temperature == 1 else TemperedSoftmax.apply(scores, rules.temperature)
    return weights[..., :columns]


@contextmanager
def applied(model: nn.Module, rules: Rules) -> Iterator[None]:
    """All rules but those of attention, which is no module of its own: ``attend`` has them."""
    with ExitStack() as stack:
        stack.enter_context(frozen_norms(model))
        if rules.ratios:
            stack.enter_context(activation_ratios(model))
        stack.enter_context(constant_gates(model) if rules.constant_gates else halved_gates(model))
        stack.enter_context(routed_experts(model, rules.constant_gates))
        yield


@dataclass(frozen=True)
class FrozenNorm:
    """A norm as a linear function of its input: what it divides by is a constant.

    Attributes:
        module: The norm.
        centred: Whether it subtracts the mean, and divides by the deviation instead of the root mean square.
        offset: Added to its weights (Gemma's are what is added to 1).
    """

    module: nn.Module
    centred: bool
    offset: float

    @property
    def gain(self) -> Tensor | None:
        """What each channel is multiplied by, if by anything."""
        weight = getattr(self.module, "weight", None)
        return None if weight is None else wide(weight) + self.offset

    def scale(self, x: Tensor) -> Tensor:
        """What each position is multiplied by, (..., 1)."""
        epsilon = getattr(self.module, "variance_epsilon", getattr(self.module, "eps", None))
        x = wide(x.detach())
        square = x.var(-1, correction=0, keepdim=True) if self.centred else x.pow(2).mean(-1, keepdim=True)
        return torch.rsqrt(square + (1e-5 if epsilon is None else epsilon))

    def __call__(self, x: Tensor) -> Tensor:
        """The norm's value."""
        y = wide(x)
        if self.centred:
            y = y - y.mean(-1, keepdim=True)
        y = y * self.scale(x)
        if self.gain is not None:
            y = y * self.gain
        if (bias := getattr(self.module, "bias", None)) is not None:
            y = y + wide(bias)
        return y.to(x.dtype)


@contextmanager
def frozen_norms(model: nn.Module) -> Iterator[None]:
    """What norms divide by is a constant: the root mean square, or the deviation (the mean keeps its gradient)."""
    with ExitStack() as stack:
        for module in model.modules():
            if frozen := frozen_norm(module):

                def hook(_: nn.Module, args: tuple[Tensor, ...], out: Tensor, frozen: FrozenNorm = frozen) -> Tensor:
                    return Surrogate.apply(frozen(args[0]), out.detach())

                stack.callback(module.register_forward_hook(hook).remove)
        yield


@torch.no_grad()
def frozen_norm(module: nn.Module) -> FrozenNorm | None:
    """Find out which norm a module is by trying it; None for everything else."""
    if "norm" not in type(module).__name__.lower() or list(module.children()):
        return None
    weight = getattr(module, "weight", None)
    shape = getattr(module, "normalized_shape", ()) if weight is None else weight.shape
    like: dict[str, Any] = {} if weight is None else {"dtype": weight.dtype, "device": weight.device}
    # Off centre, so that means count, and once so small that the number added under the root counts.
    x = torch.sin(torch.arange(2 * torch.Size(shape).numel(), **like)).view(2, *shape) + 0.5
    x[1] *= 1e-3
    tolerance = 1e-5 if x.dtype.itemsize >= 4 else 3e-2
    with suppress(TypeError, ValueError, RuntimeError, AttributeError):  # it takes something else: no norm that we know
        own = module(x)
        for centred in (False, True):
            for offset in (0.0, 1.0):
                frozen = FrozenNorm(module, centred, offset)
                if torch.allclose(frozen(x), own, rtol=tolerance, atol=tolerance):
                    return frozen
    return None


@contextmanager
def activation_ratios(model: nn.Module) -> Iterator[None]:
    """Activations multiply the gradient by output / input."""
    with ExitStack() as stack:
        for module in activations(model):
            stack.callback(module.register_forward_hook(lambda _, args, out: as_ratio(args[0], out)).remove)
        yield


@torch.no_grad()
def activations(model: nn.Module) -> list[nn.Module]:
    """The modules of elementwise functions with f(0) = 0."""
    found = []
    for module in model.modules():
        name = type(module).__name__.lower()
        known = type(module).__module__ in ("transformers.activations", "torch.nn.modules.activation")
        if not (known or "gelu" in name) or next(module.parameters(), None) is not None or list(module.children()):
            continue
        zeros = torch.zeros(2)
        with suppress(TypeError, ValueError, RuntimeError):
            if torch.equal(module(zeros), zeros):
                found.append(module)
    return found


def gated_mlps(model: nn.Module) -> list[nn.Module]:
    """Feed-forward modules ``down(activation(gate(x)) * up(x))``, by the names of their projections."""

    def has(module: nn.Module, *names: str) -> bool:
        return all(isinstance(getattr(module, name, None), nn.Module) for name in names)

    return [
        module
        for module in model.modules()
        if has(module, "gate_proj", "up_proj", "down_proj") or has(module, "gate_up_proj", "down_proj")
    ]


def experts(model: nn.Module) -> list[nn.Module]:
    """Mixtures of gated experts whose weights are joined, if they compute what ``_run_experts`` does."""

    def joined(module: nn.Module) -> bool:
        names = ("gate_up_proj", "down_proj")
        return all(getattr(getattr(module, name, None), "ndim", 0) == 3 for name in names) and hasattr(module, "act_fn")

    return [module for module in model.modules() if joined(module) and _are_known(module)]


@torch.no_grad()
def _are_known(module: nn.Module) -> bool:
    weight: Any = module.gate_up_proj
    count, _, width = weight.shape
    x = torch.sin(torch.arange(2 * width, device=weight.device, dtype=weight.dtype)).view(2, width)
    index = torch.tensor([[0, count - 1], [count - 1, 0]], device=weight.device)
    routing = torch.tensor([[0.75, 0.25], [0.5, 0.125]], device=weight.device, dtype=weight.dtype)
    tolerance = 1e-4 if x.dtype.itemsize >= 4 else 3e-2
    with suppress(TypeError, ValueError, RuntimeError):  # it is called, or laid out, in another way
        own = module(x, index, routing)
        return torch.allclose(_run_experts(module, False, x, index, routing), own, rtol=tolerance, atol=tolerance)
    return False


def _run_experts(module: Any, constant_gates: bool, x: Tensor, index: Tensor, routing: Tensor) -> Tensor:
    """Experts (N, D) under the rules: a product inside each, and the product with its routing weight."""
    output = torch.zeros_like(x)
    for expert in index.unique().tolist():
        token, place = torch.where(index == expert)
        gate, up = nn.functional.linear(x[token], module.gate_up_proj[expert]).chunk(2, dim=-1)
        product = module.act_fn(gate) * up
        weight = routing[token, place, None]
        if not constant_gates:
            product = Halved.apply(product)
        result = nn.functional.linear(product, module.down_proj[expert])
        result = result * weight.detach() if constant_gates else Halved.apply(result * weight)
        output = output.index_add(0, token, result.to(output.dtype))
    return output


@contextmanager
def halved_gates(model: nn.Module) -> Iterator[None]:
    """Gate and up each get half of the gradient of their product."""
    with ExitStack() as stack:
        for module in gated_mlps(model):
            down: Any = module.down_proj
            stack.callback(down.register_forward_pre_hook(lambda _, args: (Halved.apply(args[0]),)).remove)
        yield


@contextmanager
def constant_gates(model: nn.Module) -> Iterator[None]:
    """Gates are constants, so that up gets all of the gradient."""
    with ExitStack() as stack:
        for module in (*gated_mlps(model), *experts(model)):
            for activation in activations(module):
                stack.callback(activation.register_forward_hook(lambda _, args, out: out.detach()).remove)
        yield


@contextmanager
def routed_experts(model: nn.Module, constant: bool) -> Iterator[None]:
    """Experts under the rules; the router's softmax, choice and normalisation keep their derivatives."""
    with ExitStack() as stack:
        for module in experts(model):
            stack.callback(_restore, module, "forward", module.__dict__.get("forward"))
            module.forward = partial(_run_experts, module, constant)
        yield


def _restore(module: nn.Module, name: str, before: object | None) -> None:
    delattr(module, name)
    if before is not None:  # accelerate sets one on the instance
        setattr(module, name, before)
