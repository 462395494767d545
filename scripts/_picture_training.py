"""What the trainings of ``tiny-magma`` and ``photo-magma`` share: tokenizer, decoder, packed texts and their loss."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from atman_bench.models._picture_lm import build_decoder

END = "<|end|>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the training texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=256)


def small_decoder(
    tokenizer: PreTrainedTokenizerFast, width: int, layers: int, adapter: int, dropout: float = 0.0
) -> GPTJForCausalLM:
    """A randomly initialised GPT-J with adapters, four heads a layer."""
    end = tokenizer.convert_tokens_to_ids(END)
    config = GPTJConfig(
        vocab_size=len(tokenizer),
        n_positions=256,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        rotary_dim=width // 8,
        # Wider than the usual 0.02, which suits wide layers.
        initializer_range=0.06,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        tie_word_embeddings=False,
    )
    return build_decoder(config, adapter)


@dataclass(frozen=True)
class Batch:
    """Packed texts of B pictures, N positions behind the picture's.

    Attributes:
        tokens: (B, N), padded with the end token.
        positions: (B, N), restarting behind the picture at every text.
        segments: (B, N), i for text i from 1 on, -1 for padding.
        is_answer: (B, N), whether the token belongs to an answer or ends one.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    is_answer: Tensor

    def mask(self, pictures: int) -> Tensor:
        """(B, 1, S, S), 0 where a position sees another and very negative elsewhere: the picture, and its own text."""
        segments = F.pad(self.segments, (pictures, 0))
        query, key = segments[:, :, None], segments[:, None, :]
        causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
        visible = ((key == 0) | (key == query)) & causal
        return torch.where(visible, 0.0, -1e4)[:, None]


def pack(rows: list[list[tuple[list[int], list[int]]]], pictures: int, pad: int) -> Batch:
    """Pack the (prompt, answer) token ids of every picture's texts."""
    packed = [
        [
            (token, pictures + i, segment, i >= len(prompt))
            for segment, (prompt, answer) in enumerate(row, start=1)
            for i, token in enumerate(prompt + answer)
        ]
        for row in rows
    ]
    longest = max(map(len, packed))
    padded = torch.tensor([row + [(pad, 0, -1, False)] * (longest - len(row)) for row in packed])
    tokens, positions, segments, is_answer = padded.unbind(-1)
    return Batch(tokens, positions, segments, is_answer.bool())


def loss_of(
    decoder: GPTJForCausalLM,
    pictures: Tensor,
    batch: Batch,
    prompt_weight: float,
    picture_positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss to minimise, and the loss of the answers alone (natural logarithm, per token).

    Args:
        decoder: The decoder.
        pictures: Embeddings of the pictures' tokens, (B, K, D).
        batch: Their texts.
        prompt_weight: Weight of the loss on tokens that are no answer's.
        picture_positions: (B, K) where some tokens of the pictures were left out; None numbers them.
    """
    count = pictures.shape[1]
    if picture_positions is None:
        picture_positions = torch.arange(count).expand(len(pictures), -1)
    embeddings = torch.cat([pictures, decoder.get_input_embeddings()(batch.tokens).to(pictures.dtype)], dim=1)
    positions = torch.cat([picture_positions, batch.positions], dim=1)
    hidden = decoder.transformer(
        inputs_embeds=embeddings, attention_mask=batch.mask(count), position_ids=positions, use_cache=False
    ).last_hidden_state[:, count:]
    logits = decoder.lm_head(hidden[:, :-1]).float()
    losses = F.cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    # The first token of a text follows the picture, not its predecessor in the row: it has no loss.
    follows = (batch.segments[:, 1:] == batch.segments[:, :-1]) & (batch.segments[:, 1:] >= 0)
    answer = losses[(batch.is_answer[:, 1:] & follows).flatten()].mean()
    other = losses[(~batch.is_answer[:, 1:] & follows).flatten()].mean()
    return answer + prompt_weight * other, answer


def learning_rate_factor(step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up, a plateau, and in the second half a cosine down to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * max(0.0, 2 * step / steps - 1))
