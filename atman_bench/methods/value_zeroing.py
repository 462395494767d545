"""Value zeroing (Mohebbi et al. 2023): how a layer's output moves without one position's value, rolled out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atman_bench.attention.edit import AttentionInputs, attend
from atman_bench.attention.patching import Editor
from atman_bench.core.device_traits import traits_of
from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._flow import enclosing_layers
from atman_bench.methods._perturbation import COSTS_ONLY
from atman_bench.models._base import ModelAdapter, Pass

LEAST = 1e-5
"""Distances below it are rounding errors, and count as none."""


@dataclass(frozen=True, kw_only=True)
class ValueZeroingConfig:
    """Options of value zeroing.

    Attributes:
        batch: Positions zeroed per pass at the most; null fills a pass: 512 positions on a CPU.
    """

    batch: int | None = field(default=None, metadata=COSTS_ONLY)

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, received {self.batch}")


def explain(model: ModelAdapter, encoded: Encoded, config: ValueZeroingConfig, seed: int) -> Attribution:
    """The rollout's rows that predict the targets."""
    rolled = roll(distances(model, encoded, config.batch))[-1]
    return Attribution.mean_of(encoded.pool(rolled[encoded.rows_read]))


def roll(layers: Float[Tensor, "L S S"]) -> Float[Tensor, "L S S"]:
    """C_l C_(l-1) .. C_1 for each l; no identity is added and nothing normalised again."""
    rolled = [layers[0]]
    for layer in layers[1:]:
        rolled.append(layer @ rolled[-1])
    return torch.stack(rolled)


@torch.no_grad()
def distances(model: ModelAdapter, encoded: Encoded, batch: int | None = None) -> Float[Tensor, "L S S"]:
    """For each layer how far row i moves without the value of position t: 1 - cosine, rows with any add up to 1.

    A layer alone runs again, on its unchanged input. The last one's output is looked at behind the final norm.

    Raises:
        NotApplicableError: The model is no decoder of layers in a list.
    """
    if encoded.reading_rows is not None:
        raise NotApplicableError(
            f"value_zeroing is defined for decoders; {model.name} attends to its image in an encoder"
        )
    blocks = enclosing_layers(model, "value_zeroing")
    calls: dict[nn.Module, _Call] = {}
    with model.host.applied(Editor(None)), _watching(model.model, blocks, calls) as norms:
        model.run(encoded, Pass(rows=encoded.target_rows.tolist()[-1:]))
    final = next((norm for norm, read in norms if read is calls[blocks[-1]].output), None)
    found = []
    for layer, block in enumerate(blocks):
        behind = final if final is not None and block is blocks[-1] else nn.Identity()
        found.append(_layer_distances(model, layer, block, calls[block], behind, batch))
    return torch.stack(found)


def _layer_distances(
    model: ModelAdapter, layer: int, block: nn.Module, call: "_Call", behind: nn.Module, batch: int | None
) -> Float[Tensor, "S S"]:
    length = call.hidden.shape[1]
    plain = behind(call.output)[0].float()
    columns = []
    for positions in torch.arange(length).split(batch or max(1, traits_of(model.device).pass_tokens // length)):
        with model.host.applied(_Zeroing(layer, positions)):
            moved = behind(call.again(block, len(positions))).float()
        columns.append(1 - torch.nn.functional.cosine_similarity(moved, plain[None], dim=-1).cpu())
    distance = torch.cat(columns).T
    distance = torch.where(distance < LEAST, 0, distance)
    return distance / distance.sum(-1, keepdim=True).clamp(min=LEAST)


@dataclass
class _Call:
    """What a layer was called with, and what it gave."""

    args: tuple[Any, ...]
    arguments: dict[str, Any]
    output: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def hidden(self) -> Tensor:
        """The residual stream before the layer."""
        hidden: Tensor = self.args[0] if self.args else self.arguments["hidden_states"]
        return hidden

    def again(self, block: nn.Module, copies: int) -> Tensor:
        """Run the layer on copies of its input."""
        hidden, arguments = self.hidden.expand(copies, -1, -1), self.arguments
        if (alibi := arguments.get("alibi")) is not None:  # one bias for each head of each item
            arguments = arguments | {"alibi": torch.cat([alibi] * copies)}
        if self.args:
            return _first(block(hidden, *self.args[1:], **arguments))
        return _first(block(**arguments | {"hidden_states": hidden}))


def _first(output: Any) -> Tensor:
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden


@contextmanager
def _watching(
    model: nn.Module, blocks: tuple[nn.Module, ...], calls: dict[nn.Module, _Call]
) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Keep the calls of layers, and what norms between the last of them and the head read."""
    inside = {module for block in blocks for module in block.modules()}
    norms: list[tuple[nn.Module, Tensor]] = []

    def enter(block: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        calls[block] = _Call(args, arguments)

    def leave(block: nn.Module, args: object, output: Any) -> None:
        calls[block].output = _first(output)

    handles = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    handles += [block.register_forward_hook(leave) for block in blocks]
    handles += [
        module.register_forward_pre_hook(lambda norm, args: norms.append((norm, args[0])))
        for module in model.modules()
        if module not in inside and "norm" in type(module).__name__.lower()
    ]
    try:
        yield norms
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Zeroing:
    """Attention in which item b of a layer's batch has no value at the b-th position."""

    layer: int
    positions: Tensor

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, None]:
        """Only the layer in question is called."""
        value = inputs.value.clone()
        value[torch.arange(len(self.positions)), :, self.positions] = 0
        return attend(replace(inputs, value=value), None), None


SPEC = MethodSpec(
    summary="Value zeroing: how each layer's output moves without one position's value, rolled out",
    version=1,
    config=ValueZeroingConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + n_units,
    default=False,
)
