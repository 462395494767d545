"""Named model sizes with random weights: what costs are measured and simulated on without any checkpoint.

The paper names its models by total parameters, image encoder and adapters included. Its larger ones are GPT-J's stack
with more layers of the same width (Fig. 5 and 7), so the language part is what is built here: 6.0B is GPT-J itself,
and 20 more layers add the 4.2 billion parameters that lie between two of the paper's names.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import GPTJConfig, LlamaConfig, PreTrainedConfig

from atman_bench.core.errors import UnknownNameError

POSITIONS = 2048
"""Context window of GPT-J. Rotary tables are copied in every layer, so a longer one than needed would cost memory."""


@dataclass(frozen=True)
class Size:
    """Shape of a decoder.

    Attributes:
        layers: L.
        width: Hidden size.
        heads: H.
        vocabulary: V; the small sizes have a small one, or they would be nothing but embeddings.
        key_value_heads: None builds GPT-J's layer; a number builds Llama's, with so many key-value heads.
        feed_forward: Hidden size of the feed-forward block; 4 x width in GPT-J.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int = 50_400
    key_value_heads: int | None = None
    feed_forward: int | None = None


SIZES: Mapping[str, Size] = {
    "10M": Size(8, 256, 4, 8192),
    "30M": Size(7, 512, 8, 8192),
    "90M": Size(11, 768, 12, 8192),
    "350M": Size(26, 1024, 16, 8192),
    "0.9B": Size(26, 1536, 16),
    "6.0B": Size(28, 4096, 16),
    "8.9B": Size(40, 4096, 16),
    "13.1B": Size(60, 4096, 16),
    "17.3B": Size(80, 4096, 16),
    "30B": Size(140, 4096, 16),
    "34B": Size(160, 4096, 16),
    "70B": Size(80, 8192, 64, 128_256, key_value_heads=8, feed_forward=28_672),
}


def config_of(name: str, length: int = 0) -> PreTrainedConfig:
    """The configuration of a named size.

    Args:
        name: Key of ``SIZES``.
        length: Positions that have to fit; a rotary embedding has no weights that could be missing.

    Raises:
        UnknownNameError: No such size.
    """
    if name not in SIZES:
        raise UnknownNameError("model size", name, SIZES)
    size, positions = SIZES[name], max(length, POSITIONS)
    if size.key_value_heads is None:
        return GPTJConfig(
            vocab_size=size.vocabulary,
            n_positions=positions,
            n_embd=size.width,
            n_layer=size.layers,
            n_head=size.heads,
            n_inner=size.feed_forward,
            # A quarter of a head, as in GPT-J.
            rotary_dim=size.width // size.heads // 4,
            bos_token_id=None,
            eos_token_id=None,
        )
    return LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
    )
