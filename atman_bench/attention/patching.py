"""How an edit, or a recorder of attention weights, gets into a model and out again.

Two kinds of models are hosted. *Routed* ones call transformers' ``AttentionInterface``; ours is registered there,
together with a mask function (an attention without one silently loses the causal mask). *Patched* ones compute
attention themselves (GPT-J, BLOOM, ...): ``families.py`` binds a replacement to their attention modules. Modelling
files are never forked, and classes never patched.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from atman_bench.attention.edit import (
    AttentionEdit,
    AttentionInputs,
    Visibility,
    attend,
    attention_weights,
    mix,
)
from atman_bench.attention.families import PATCHES
from atman_bench.attention.flex import attend_fused
from atman_bench.attention.masks import Masks
from atman_bench.attention.skipping import TokenWise, one_copy, only_rows, scattered
from atman_bench.core.errors import AtmanBenchError, ModelError, one_line
from atman_bench.core.memory import is_out_of_memory

IMPLEMENTATION = "atman_bench"
"""Our name in transformers' attention and mask registries."""

NOT_HOSTED = "cannot be run as AtMan needs it, so this model is refused"
"""What is said of a class whose code fails when it is run with our attention."""

HARMLESS_ARGUMENTS = frozenset(
    {
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "position_ids",
        "sliding_window",
        "use_cache",
    }
)
"""Arguments of an attention call that do not change what it computes, or that the mask already contains."""


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


@contextmanager
def foreign_code(fails: str, described: Callable[[Exception], str] = _described) -> Iterator[None]:
    """Run code of others, a model's or a loader's: what it raises is a reason to refuse the model, in one line.

    Args:
        fails: What is said then, before the error.
        described: What is said of the error.

    Raises:
        ModelError: It raised anything but our own errors, or for want of memory.
    """
    try:
        yield
    except AtmanBenchError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{fails}: {described(error)}") from error


class Processor(Protocol):
    """What is done at one attention call."""

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, Tensor | None]:
        """Return the mixed values (B, H, Lq, Dv) and, if recorded, the weights (B, H, Lq, Lk)."""


@dataclass(frozen=True)
class Editor:
    """Attention under an edit, or plain attention (None) on the same code path."""

    edit: AttentionEdit | None

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, None]:
        """Edit the layers that the edit applies to."""
        edit = self.edit if self.edit and self.edit.applies_to(layer) else None
        mixed = attend_fused(inputs, edit)
        return attend(inputs, edit) if mixed is None else mixed, None


@dataclass(frozen=True)
class Recorder:
    """Plain attention that keeps the weights of every layer, (B, H, Lq, Lk), in the autograd graph.

    Attributes:
        first_is_leaf: Start the graph at the first layer's weights, so that gradients flow with all parameters frozen.
        weights: One tensor per layer, in call order.
    """

    first_is_leaf: bool = False
    weights: list[Tensor] = field(default_factory=list)

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Append this layer's weights; layers are called in order, and again where the backward pass recomputes."""
        weights = attention_weights(inputs, None).to(inputs.value.dtype)
        if self.first_is_leaf and layer == 0:
            weights = weights.detach().requires_grad_()
        if layer == len(self.weights):
            self.weights.append(weights)
        return mix(weights, inputs.value), weights


@dataclass
class Session:
    """Forward passes under one processor.

    Attributes:
        processor: What is done at each attention call.
        layers: Numbers the hosted attention modules in call order; others (a vision tower) run plainly.
        discovering: Number every module that is met, instead of refusing unknown ones.
        calls: The layers that were called so far.
        read: Rows that the last layer computes, or None for all; see ``AttentionHost.skipping``.
        masks: What is known of the masks from other passes over the same sequence; None reads them.
    """

    processor: Processor
    layers: dict[nn.Module, int]
    discovering: bool = False
    calls: list[int] = field(default_factory=list)
    read: list[int] | None = None
    masks: Masks | None = None
    _read: dict[int, tuple[Tensor, Visibility]] = field(default_factory=dict)
    _no_masks: dict[tuple[int, int], Visibility] = field(default_factory=dict)

    def layer_of(self, module: nn.Module) -> int | None:
        """The number of an attention module, or None for one that is not hosted."""
        if self.discovering:
            self.layers.setdefault(module, len(self.layers))
        return self.layers.get(module)

    def visibility(self, layer: int | None, mask: Tensor | None, query: Tensor, key: Tensor) -> Visibility:
        """Read a mask once: all layers of a pass share one or two of them."""
        if mask is None:
            shape = query.shape[2], key.shape[2]
            if shape not in self._no_masks:
                self._no_masks[shape] = Visibility.everything(*shape, query.device)
            seen = self._no_masks[shape]
        else:
            if id(mask) not in self._read:
                if mask.dtype is not torch.bool:
                    raise ModelError(
                        f"the model's own code makes its mask of {str(mask.dtype).removeprefix('torch.')} numbers, "
                        "where transformers' masks are booleans: what each row sees is not known, so this model is "
                        "refused"
                    )
                if self.masks is None or layer is None:
                    visibility = Visibility.of_mask(mask)
                else:
                    visibility = self.masks.read(layer, mask)
                self._read[id(mask)] = (mask, visibility)  # holding the mask keeps its id from being reused
            seen = self._read[id(mask)][1]
        if seen.visible.device != query.device:  # a dispatched model has layers on several devices
            return seen.to(query.device)
        return seen


_SESSION: ContextVar[Session | None] = ContextVar("atman_bench_session", default=None)


def process(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    *,
    softcap: float | None = None,
    bias: Tensor | None = None,
    sinks: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Run one attention call of a hosted model under the current session's processor."""
    session = _SESSION.get()
    if session is None:
        raise ModelError(f"{type(module).__name__} was called with our attention outside of AttentionHost.applied()")
    layer = session.layer_of(module)
    visibility = session.visibility(layer, mask, query, key)
    inputs = AttentionInputs(query, key, value, visibility, scaling, softcap, bias, sinks)
    if layer is None:
        return attend(inputs, None), None
    session.calls.append(layer)
    if session.read is None or layer < len(session.layers) - 1:
        return session.processor(layer, inputs)
    mixed, weights = session.processor(layer, inputs.at(session.read))
    return scattered(mixed, session.read, query.shape[2], dim=2), weights


def _routed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **arguments: Any,  # the interface of transformers: what it passes differs by model, so unknown ones are refused
) -> tuple[Tensor, Tensor | None]:
    unknown = sorted(k for k, v in arguments.items() if v is not None and k not in HARMLESS_ARGUMENTS)
    if unknown:
        raise ModelError(
            f"{type(module).__name__} passes {', '.join(unknown)} to its attention, which AtMan's edit does not know; "
            "this model cannot be edited exactly and is refused"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    output, weights = process(module, query, key, value, attention_mask, scaling, softcap=softcap, sinks=s_aux)
    return output.transpose(1, 2).contiguous(), weights


def _boolean_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Transformers' boolean mask (True = visible), always materialised and never per sample: there is no padding."""
    arguments = dict(kwargs, batch_size=1, allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
    return sdpa_mask(*args, **arguments)


AttentionInterface.register(IMPLEMENTATION, _routed_attention)
AttentionMaskInterface.register(IMPLEMENTATION, _boolean_mask)


class AttentionHost:
    """Installs processors in one model and always restores it.

    Args:
        model: A transformers model, or the tower of one whose attention is edited. Its attention modules are found by
            running it once; parts that this does not reach (the vision tower of a decoder) keep their own attention.
        run: Runs the model once; None runs two tokens.

    Raises:
        ModelError: The model has no attention that can be reached; the message says why.
    """

    def __init__(self, model: PreTrainedModel, run: Callable[[], object] | None = None):
        self.model = model
        self._patch = PATCHES.get(model.config.get_text_config().model_type)
        self._patched = [m for m in model.modules() if self._patch and type(m).__name__ in self._patch.classes]
        self._configs = self._configs_of(model.modules())
        self._layers = self._find_layers(run or self._run_two_tokens)
        self._configs = self._configs_of(self._layers)
        self._ends = [TokenWise.beside(list(self._layers)[i], model) for i in (0, -1)]

    @property
    def path(self) -> str:
        """How edits get in: ``routed`` or ``patched``."""
        return "patched" if self._patch else "routed"

    @property
    def n_layers(self) -> int:
        """How many softmax-attention layers can be edited."""
        return len(self._layers)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The attention module of each layer."""
        return tuple(self._layers)

    @cached_property
    def feed_forwards(self) -> tuple[nn.Module, ...]:
        """Feed-forward modules of all layers that treat every token alone."""
        return tuple(module for layer in self._layers for module in TokenWise.beside(layer, self.model).feed_forward)

    @contextmanager
    def applied(self, processor: Processor, masks: Masks | None = None) -> Iterator[Session]:
        """Run forward passes inside this block under a processor; the model is restored on leaving it, however.

        Args:
            processor: What is done at each attention call.
            masks: Of all passes over one sequence, the only one that is run in this block; None reads every pass's.
        """
        with self._hosting(Session(processor, self._layers, masks=masks)) as session:
            yield session

    @contextmanager
    def skipping(self, rows: list[int], copies: bool) -> Iterator[None]:
        """Leave out duplicate and unused rows of a decoder's pass (``skipping.py``), with the same numbers.

        Args:
            rows: Positions of the pass whose logits are read, ascending and each once. The attention of a session is
                cut to them too.
            copies: Whether all items of the batch are called with the same input.
        """
        first, last = self._ends
        session = _SESSION.get()
        with ExitStack() as restore:
            if copies:
                restore.enter_context(one_copy(first))
            restore.enter_context(only_rows(last, rows))
            if session is not None:
                restore.callback(setattr, session, "read", session.read)
                session.read = rows
            yield

    @contextmanager
    def _hosting(self, session: Session) -> Iterator[Session]:
        implementations = [config._attn_implementation_internal for config in self._configs]
        token = _SESSION.set(session)
        with ExitStack() as restore:
            restore.callback(_SESSION.reset, token)
            for config, implementation in zip(self._configs, implementations, strict=True):
                restore.callback(setattr, config, "_attn_implementation_internal", implementation)
                config._attn_implementation_internal = IMPLEMENTATION
            for module in self._patched:
                restore.enter_context(self._patch.applied(module, process))  # type: ignore[union-attr]  # has modules
            yield session

    def _configs_of(self, needed: Iterable[nn.Module]) -> list[PreTrainedConfig]:
        """The configurations of the models that hold one of these modules.

        Modules share them, so by identity: ours is set on each, and each is restored.
        """
        wanted = set(needed)
        holders = [m for m in self.model.modules() if isinstance(m, PreTrainedModel) and wanted & set(m.modules())]
        return list({id(m.config): m.config for m in holders}.values())

    def _run_two_tokens(self) -> object:
        ids = torch.zeros(1, 2, dtype=torch.long, device=self.model.device)
        return self.model(input_ids=ids, use_cache=False)

    @torch.no_grad()
    def _find_layers(self, run: Callable[[], object]) -> dict[nn.Module, int]:
        """Run the model to see which modules a forward pass calls, and in which order."""
        name = type(self.model).__name__
        with (
            self._hosting(Session(Editor(None), {}, discovering=True)) as session,
            foreign_code(f"{name} {NOT_HOSTED}"),
        ):
            run()
        expected = self.model.config.get_text_config().num_hidden_layers
        if not session.layers:
            raise ModelError(
                f"{name} made no attention call that AtMan can edit: it has no softmax attention, or computes it in "
                "its own code; use a model that transformers routes through its attention interface, or one of "
                f"{', '.join(sorted(PATCHES))}"
            )
        if len(session.layers) != expected:
            raise ModelError(
                f"{name} has {expected} layers but only {len(session.layers)} with softmax attention: AtMan cannot "
                "suppress a token in the others, so this model is refused"
            )
        return session.layers
