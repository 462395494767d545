"""Models whose layers are randomised one after the other from the top, and put back (Adebayo et al. 2018)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from atman_bench.core.errors import NotApplicableError
from atman_bench.models._base import ModelAdapter

STAGES = 4
"""Layers are randomised in so many steps at the most."""


def layers_of(adapter: ModelAdapter) -> list[nn.Module]:
    """The layers whose attention is edited, first to last: what holds one attention module each.

    Raises:
        NotApplicableError: They are no list of modules, or their weights are quantised and cannot be shuffled.
    """
    if any(map(is_traceable_wrapper_subclass, adapter.host.model.parameters())):
        raise NotApplicableError(f"the weights of {adapter.name} are quantised: they cannot be randomised in turn")
    attention = adapter.host.modules
    for modules in adapter.host.model.modules():
        if isinstance(modules, nn.ModuleList):
            held = [next((layer for layer in modules if _holds(layer, module)), None) for module in attention]
            layers = [layer for layer in held if layer is not None]
            if len(set(layers)) == len(attention):
                return layers
    raise NotApplicableError(f"the layers of {adapter.name} are no list of modules: they cannot be randomised in turn")


def stage_counts(n_layers: int) -> tuple[int, ...]:
    """How many layers are randomised at each stage; all of them at the last."""
    stages = min(STAGES, n_layers)
    return tuple(math.ceil((i + 1) * n_layers / stages) for i in range(stages))


@contextmanager
def cascade(layers: list[nn.Module], seed: int) -> Iterator[Callable[[int], None]]:
    """Give a function that randomises so many layers, counted from the top; leaving the block puts all weights back.

    The entries of every parameter are shuffled, so that each keeps its distribution. Weights are put back after errors
    and Ctrl-C too. Copies of those that changed are held on their device.

    Args:
        layers: First to last.
        seed: Of the shuffles.
    """
    saved: dict[nn.Parameter, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(seed)

    def randomise(count: int) -> None:
        for layer in layers[len(layers) - count :]:
            for parameter in layer.parameters():
                if parameter not in saved:
                    saved[parameter] = parameter.detach().clone()
                    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                    parameter.data.copy_(saved[parameter].flatten()[order].view_as(parameter))

    try:
        yield randomise
    finally:
        for parameter, weights in saved.items():
            parameter.data.copy_(weights)


def _holds(layer: nn.Module, module: nn.Module) -> bool:
    return any(part is module for part in layer.modules())
