"""What ``gpu.py`` measures: shapes of models, lengths, and what is run on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedConfig

from atman_bench.models._sizes import config_of


@dataclass(frozen=True)
class Shape:
    """A model that is measured.

    Attributes:
        name: As the table has it.
        config: Of the decoder.
        dtype: Of its weights.
        paper: What the paper's figure calls it; None for a model that is not there.
    """

    name: str
    config: PreTrainedConfig
    dtype: torch.dtype
    paper: str | None = None


def llama(**shape: int) -> LlamaConfig:
    """A decoder of Llama's kind."""
    return LlamaConfig(bos_token_id=None, eos_token_id=None, max_position_embeddings=2048, **shape)


LLAMA_8B = llama(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)
LLAMA_TINY = llama(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def gptj_tiny() -> PreTrainedConfig:
    """Two narrow layers of GPT-J."""
    config = config_of("10M")
    config.n_embd, config.n_layer, config.n_head, config.rotary_dim, config.vocab_size = 64, 2, 4, 4, 512
    return config


SHAPES = (
    Shape("GPT-J-6B", config_of("6.0B"), torch.float16, "random:6.0B"),
    Shape("Llama-8B", LLAMA_8B, torch.bfloat16),
)
TINY = (Shape("tiny GPT-J", gptj_tiny(), torch.float32), Shape("tiny Llama", LLAMA_TINY, torch.bfloat16))

LENGTHS, TINY_LENGTHS = (1024, 512, 256), (32, 16)
"""Tokens; the longest first, since it is what the goals are about."""


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    Attributes:
        name: What is run.
        method: ``plain``, or a method.
        options: The method's, or of a plain pass its variant.
        passes_each: What a forward pass and its way back cost in forward passes; None where they are of several kinds.
        by_unit: Whether it perturbs one unit after the other, so that some tell what all cost.
        blocks: Attention in blocks even where a fused kernel would pay.
        paper: Method and variant in the paper's figure.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    passes_each: float | None = 1
    by_unit: bool = False
    blocks: bool = False
    paper: tuple[str, str] | None = None


CELLS = (
    Cell("plain, default", "plain", {"variant": "default"}, paper=("plain", "default")),
    Cell("plain, lean", "plain", {"variant": "lean"}),
    Cell("AtMan fast", "atman", by_unit=True, paper=("atman", "default")),
    Cell("AtMan lean", "atman", {"engine": "lean"}, by_unit=True),
    Cell("AtMan fast, attention in blocks", "atman", by_unit=True, blocks=True),
    Cell("AtMan naive", "atman", {"engine": "naive"}, by_unit=True),
    Cell("AtMan gradient", "atman_gradient", passes_each=3),  # layers run again on the way back, which is one pass more
    Cell("adaptive, budget 0.25", "adaptive", passes_each=None),
    Cell("Chefer, full", "chefer", {"backward": "full"}, passes_each=3, paper=("chefer", "full")),
    Cell("Chefer, minimal", "chefer", passes_each=2),
    Cell("input x gradient", "input_x_gradient", passes_each=2),
    Cell("integrated gradients", "integrated_gradients", passes_each=2),
)
