"""Models that compute attention in their own code: what is replaced on their attention modules, family by family."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Process = Callable[..., tuple[Tensor, Tensor | None]]
"""``patching.process``, as an argument since imports go downward."""


@dataclass(frozen=True)
class Patch:
    """How one family is hosted.

    Attributes:
        classes: Names of its attention classes.
        method: The method that is replaced on each instance: the smallest one that contains the softmax.
        bind: ``(module, process) -> replacement``.
    """

    classes: frozenset[str]
    method: str
    bind: Callable[[Any, Process], Callable[..., Any]]

    @contextmanager
    def applied(self, module: nn.Module, process: Process) -> Iterator[None]:
        """Replace the method on one module, and put back what its instance had (accelerate sets ``forward`` there)."""
        before = module.__dict__.get(self.method)
        setattr(module, self.method, self.bind(module, process))
        try:
            yield
        finally:
            delattr(module, self.method)
            if before is not None:
                setattr(module, self.method, before)


def _bind_gptj(module: nn.Module, process: Process) -> Callable[..., Any]:
    scaling = 1.0 / float(module.scale_attn)  # type: ignore[arg-type]  # a tensor buffer

    def attn(
        query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        # As the original: scores in float32 whatever the weights' type.
        return process(module, query.float(), key.float(), value, attention_mask, scaling)

    return attn


def _bind_gpt_neo(module: Any, process: Process) -> Callable[..., Any]:
    def attn(
        query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        # Its local layers keep their sliding window in a buffer; the model does not scale by 1/sqrt(d).
        window = module.bias[:, :, key.shape[2] - query.shape[2] : key.shape[2], : key.shape[2]]
        return process(module, query.float(), key.float(), value, window, 1.0)

    return attn


def _bind_bloom(module: Any, process: Process) -> Callable[..., Any]:
    def forward(
        hidden_states: Tensor,
        residual: Tensor,
        alibi: Tensor,
        attention_mask: Tensor,
        layer_past: Any = None,
        use_cache: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        query, key, value = module._reshape(module.query_key_value(hidden_states))
        if layer_past is not None:
            key, value = layer_past.update(key, value, module.layer_idx)
        bias = alibi.view(query.shape[0], module.num_heads, 1, -1)
        mixed, weights = process(module, query, key, value, attention_mask, module.inv_norm_factor, bias=bias)
        return module.dense(mixed.transpose(1, 2).flatten(2)) + residual, weights

    return forward


def _bind_falcon(module: Any, process: Process) -> Callable[..., Any]:
    # The package's rotary function; imported here because loading one family must not load them all.
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    def forward(
        hidden_states: Tensor,
        alibi: Tensor | None,
        attention_mask: Tensor,
        position_ids: Tensor | None = None,
        layer_past: Any = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        query, key, value = (x.transpose(1, 2) for x in module._split_heads(module.query_key_value(hidden_states)))
        bias = None
        if alibi is None:
            if position_embeddings is None:
                raise ValueError("Falcon without ALiBi needs position_embeddings")
            query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        else:
            bias = alibi.view(query.shape[0], module.num_heads, 1, -1) * module.inv_norm_factor
            # Falcon has added its ALiBi to a float mask by now; hidden columns are the very negative ones.
            attention_mask = attention_mask[:1, :1] > torch.finfo(attention_mask.dtype).min / 2
        if layer_past is not None:
            key, value = layer_past.update(key, value, module.layer_idx)
        mixed, weights = process(module, query, key, value, attention_mask, module.inv_norm_factor, bias=bias)
        return module.dense(mixed.transpose(1, 2).flatten(2)), weights

    return forward


def _bind_blip(module: Any, process: Process) -> Callable[..., Any]:
    def forward(hidden_states: Tensor) -> tuple[Tensor, Tensor | None]:
        # One projection makes queries, keys and values; every position of the image sees every other.
        joined = module.qkv(hidden_states).unflatten(-1, (3, module.num_heads, module.head_dim))
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        mixed, weights = process(module, query, key, value, None, module.scale)
        return module.projection(mixed.transpose(1, 2).flatten(2)), weights

    return forward


PATCHES: Mapping[str, Patch] = {
    "gptj": Patch(frozenset({"GPTJAttention"}), "_attn", _bind_gptj),
    "gpt_neo": Patch(frozenset({"GPTNeoSelfAttention"}), "_attn", _bind_gpt_neo),
    "bloom": Patch(frozenset({"BloomAttention"}), "forward", _bind_bloom),
    "falcon": Patch(frozenset({"FalconAttention"}), "forward", _bind_falcon),
    "blip_vision_model": Patch(frozenset({"BlipAttention"}), "forward", _bind_blip),
}
"""``config.model_type`` of the hosted decoder or encoder -> its patch."""
