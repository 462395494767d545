"""Decoders of every family that is hosted, two or three layers with random weights: milliseconds per forward pass."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from atman_bench.models._causal_lm import CausalLM

WINDOW = 8
"""Sliding windows are shorter than the sequences of the tests, so that a store which forgets keys is found out."""

VOCABULARY = 96
PROMPT_IDS = [5, 17, 80, 3, 44, 9, 17, 60, 31, 2, 77, 12, 50, 9, 23, 68, 41, 17, 35, 90, 28]
TARGET_IDS = [13, 66, 7]

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
FALCON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
HEAD_OF_8 = {"head_dim": 8}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}

HOSTED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | HEAD_OF_8),
    "gemma2": (
        "gemma2",
        LLAMA
        | HEAD_OF_8
        | {
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 10.0,
            "query_pre_attn_scalar": 8,
        },
    ),
    "gemma3": (
        "gemma3_text",
        LLAMA
        | HEAD_OF_8
        | {
            "num_hidden_layers": 3,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "gpt2": ("gpt2", GPT2),
    "gpt_neox": ("gpt_neox", {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    "opt": (
        "opt",
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "init_std": 0.3,
        },
    ),
    "phi3": ("phi3", LLAMA | {"pad_token_id": 0}),
    "mistral": ("mistral", LLAMA | {"sliding_window": WINDOW}),
    "olmo": ("olmo", LLAMA),
    "olmo2": ("olmo2", LLAMA),
    "smollm3": ("smollm3", LLAMA),
    "mixtral": ("mixtral", LLAMA | EXPERTS),
    "qwen3_moe": (
        "qwen3_moe",
        LLAMA
        | HEAD_OF_8
        | {
            "num_hidden_layers": 3,
            "moe_intermediate_size": 24,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "mlp_only_layers": [1],
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        LLAMA
        | HEAD_OF_8
        | EXPERTS
        | {
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
    "gptj": ("gptj", GPT2 | {"rotary_dim": 4}),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
        },
    ),
    "bloom": ("bloom", BLOOM),
    "falcon": ("falcon", FALCON | {"multi_query": True, "alibi": False}),
    "falcon-new": ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}),
    "falcon-alibi": ("falcon", FALCON | {"multi_query": False, "alibi": True}),
}
"""Name in the tests -> model type and configuration."""

ODD: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "qwen2_moe": (
        "qwen2_moe",
        LLAMA
        | {
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "mlp_only_layers": [0],
        },
    ),
    "mixtral-window": ("mixtral", LLAMA | EXPERTS | {"sliding_window": WINDOW}),
    "deepseek_v3": (
        "deepseek_v3",
        {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
        | {
            "num_key_value_heads": 4,
            "q_lora_rank": 12,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
            "moe_intermediate_size": 24,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    ),
    "gpt_bigcode": ("gpt_bigcode", GPT2 | {"multi_query": True}),
}
"""Attention and experts that are shaped like no other's: these are compared with transformers' own attention."""

REFUSED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "codegen": ("codegen", GPT2 | {"rotary_dim": 4}),
    "xglm": (
        "xglm",
        {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 64},
    ),
    "mpt": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}),
    "lfm2": ("lfm2", LLAMA | {"layer_types": ["conv", "full_attention"]}),
    "falcon_h1": (
        "falcon_h1",
        LLAMA | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
    ),
    "minimax": ("minimax", LLAMA | EXPERTS | {"layer_types": ["full_attention"] * 2}),
    "doge": ("doge", LLAMA),
}
"""Models without softmax attention, with attention that ignores transformers' interface, with some of each, with Mamba
beside attention, with a cache of their own, and with masks that are no booleans."""


def build(name: str) -> PreTrainedModel:
    """Make a model with the same random weights each time.

    Vectors (biases, norms, sinks) get noise as well: transformers starts them at constants, which would hide a mistake.
    """
    model_type, options = {**HOSTED, **ODD, **REFUSED}[name]
    config = AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, **{"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1, **options}
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@cache
def adapter(name: str) -> CausalLM:
    """The hosted model, shared by all tests: they leave it as it was."""
    return CausalLM(name, build(name), None, name)


def toy_model(family: str = "llama", tokenizer: bool = False) -> CausalLM:
    """A decoder of two or three layers with random weights, ready to be explained.

    Args:
        family: A key of ``HOSTED`` ("llama", "gpt2", "gemma2", ...).
        tokenizer: Give it one of whole words (``WORDS``; every other word is unknown).

    Example:
        >>> from atman_bench import explain
        >>> from atman_bench.testing import toy_model
        >>> explain(toy_model(), prompt_ids=[5, 17, 80], target_ids=[3]).scores.shape
        torch.Size([3])
    """
    return CausalLM(family, build(family), word_tokenizer(), family) if tokenizer else adapter(family)


def digest(tensor: torch.Tensor) -> str:
    """Names the bits of a tensor."""
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def state_of(model: nn.Module) -> dict[str, list[object]]:
    """Everything about a model that an explanation must leave as it was; equal states compare equal."""
    modules, parameters = list(model.modules()), list(model.parameters())
    return {
        "attention": [m.config._attn_implementation_internal for m in modules if isinstance(m, PreTrainedModel)],
        "attributes": [sorted(vars(m)) for m in modules],
        "hooks": [
            [len(h) for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)]
            for m in modules
        ],
        "training": [m.training for m in modules],
        "requires_grad": [p.requires_grad for p in parameters],
        "grad": [None if p.grad is None else digest(p.grad) for p in parameters],
        "weights": [digest(p.detach()) for p in parameters],
    }


WORDS = ["Ada", "was", "born", "in", "Bern", "and", "Rome", ".", "Q:", "Where", "does", "live", "?", "A:"]


def save(name: str, folder: Path) -> None:
    """Write a model without a tokenizer, in silence: transformers would draw a progress bar on stderr."""
    logging.disable_progress_bar()
    try:
        build(name).save_pretrained(folder)
    finally:
        logging.enable_progress_bar()


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer of whole words; every other word is unknown."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer of whole words."""
    word_tokenizer().save_pretrained(folder)
