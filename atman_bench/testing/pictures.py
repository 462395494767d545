"""A decoder with an image prefix, random weights and a tokenizer of whole words: milliseconds per explanation."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPTJConfig, PreTrainedTokenizerFast

from atman_bench.core.records import Picture
from atman_bench.models._image_prefix import ConvConfig, ImagePrefix, PrefixConfig
from atman_bench.models._magma_checkpoint import save_picture_lm
from atman_bench.models._picture_lm import PictureLM, build_decoder

SIDE = 16
"""Pixels along each side of what the encoder reads."""

GRID = (4, 4)
WORDS = (
    "This",
    "is",
    "a",
    "an",
    "picture",
    "of",
    "cat",
    "owl",
    "dress",
    "hair",
    "Q:",
    "the",
    "tall",
    "near",
    "A:",
    "yes",
)


def build() -> PictureLM:
    """Make the model, with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPTJConfig(
            vocab_size=len(WORDS) + 1,
            n_positions=48,
            n_embd=32,
            n_layer=2,
            n_head=4,
            rotary_dim=4,
            bos_token_id=None,
            eos_token_id=None,
            initializer_range=0.3,
        )
        decoder = build_decoder(config, adapter_size=8)
        prefix = ImagePrefix(PrefixConfig(ConvConfig((8, 16), 1, kernel=4), SIDE), 32)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    return PictureLM("tiny-pictures", decoder, prefix, tokenizer, "hash")


@cache
def adapter() -> PictureLM:
    """The model, shared by all tests: they leave it as it was."""
    return build()


def save(folder: Path) -> None:
    """Write the model as ``magma:FOLDER`` reads it."""
    model = adapter()
    save_picture_lm(folder, model.model, model.prefix, model.tokenizer)


def save_noise(path: Path, size: tuple[int, int] = (40, 32), seed: int = 0) -> Picture:
    """Write a picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return Picture(path)
