"""What a vision-language model calls its text decoder with: captured once, cut at any position, handed over again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedModel

from atman_bench.core.errors import ModelError

DECODER_TENSORS = frozenset(
    {"attention_mask", "deepstack_visual_embeds", "inputs_embeds", "position_ids", "visual_pos_masks"}
)
"""Tensors that a decoder may be called with, and that can be cut at a position."""


class DecoderCalled(Exception):
    """Stops a forward pass where the decoder would start; carries its arguments."""

    def __init__(self, arguments: Mapping[str, object]):
        super().__init__()
        self.arguments = arguments


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Call a hook before a module's forward, with its keyword arguments, inside this block."""
    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def tensors_of(arguments: Mapping[str, object], model: PreTrainedModel) -> dict[str, Tensor]:
    """Tensors among a decoder's arguments, each under one name.

    Raises:
        ModelError: One of them cannot be cut at a position, or there are no embeddings.
    """
    flat: dict[str, Tensor] = {}
    for name, value in arguments.items():
        match value:
            case Tensor():
                flat[name] = value
            case Mapping():
                flat |= {f"{name}.{key}": item for key, item in value.items() if isinstance(item, Tensor)}
            case list() | tuple():
                flat |= {f"{name}.{i}": item for i, item in enumerate(value) if isinstance(item, Tensor)}
    unknown = sorted({name.partition(".")[0] for name in flat} - DECODER_TENSORS)
    if unknown or "inputs_embeds" not in flat:
        raise ModelError(
            f"{type(model).__name__} calls its decoder with {', '.join(unknown) or 'no inputs_embeds'}, which "
            "cannot be replayed from a position on; this model is refused"
        )
    return flat


def arguments_of(
    inputs: Mapping[str, Tensor], decoder: PreTrainedModel, start: int, end: int, batch: int
) -> dict[str, Any]:
    """The captured arguments for ``batch`` copies of positions start..end - 1, beside the embeddings.

    Args:
        inputs: From ``tensors_of``, of the whole sample.
        decoder: Whose attention implementation decides how masks are written.
        start: First position.
        end: One past the last.
        batch: Copies.
    """
    arguments: dict[str, Any] = {}
    for name, tensor in inputs.items():
        argument, _, key = name.partition(".")
        cut: Any
        match argument:
            case "inputs_embeds":
                continue
            case "position_ids":  # (1, S), or one row per axis of the image (3, 1, S)
                cut = tensor[..., start:end]
                cut = cut.expand(*cut.shape[:-2], batch, -1)
            case "attention_mask":
                cut = _own_mask(tensor[:, :, start:end, :end], decoder)
            case "visual_pos_masks":
                cut = tensor[:, start:end].expand(batch, -1)
            case _:  # deepstack_visual_embeds: one row per image token
                image = inputs["visual_pos_masks"][0]
                cut = tensor[int(image[:start].sum()) : int(image[:end].sum())].repeat(batch, 1)
        if not key:
            arguments[argument] = cut
        elif key.isdigit():
            arguments.setdefault(argument, []).append(cut)
        else:
            arguments.setdefault(argument, {})[key] = cut
    return arguments


def _own_mask(mask: Bool[Tensor, "1 1 Lq Lk"], decoder: PreTrainedModel) -> Tensor:
    """A mask as the decoder's current attention takes it: eager attention adds it to the scores."""
    if decoder.config._attn_implementation_internal != "eager":
        return mask
    return torch.zeros_like(mask, dtype=decoder.dtype).masked_fill(~mask, torch.finfo(decoder.dtype).min)


def visible_columns(inputs: Mapping[str, Tensor]) -> Bool[Tensor, "S S"] | None:
    """Which columns a row may attend to in any layer; None where the decoder makes its own, causal, mask."""
    masks = [tensor[0, 0] for name, tensor in inputs.items() if name.partition(".")[0] == "attention_mask"]
    return torch.stack(masks).any(0) if masks else None


def restarts_of(visible: Bool[Tensor, "S S"]) -> tuple[int, ...]:
    """For each position the first row that changes once it, or anything after it, is edited.

    That is the first row which sees one of these columns; but rows change their own columns too, so the same holds for
    that row, until nothing earlier sees what changes.
    """
    first_seen = visible.int().argmax(0).tolist()
    restarts: list[int] = []
    for position in reversed(range(len(first_seen))):
        first = min(first_seen[position], position, restarts[-1] if restarts else position)
        restarts.append(first)
    restarts.reverse()
    for position, first in enumerate(restarts):  # earlier positions are final already
        if first < position:
            restarts[position] = restarts[first]
    return tuple(restarts)
