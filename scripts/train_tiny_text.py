"""Train the embedded model ``tiny-text`` from scratch on the training split of ``facts``, on a CPU, in minutes.

Writes tokenizer, configuration and weights in transformers' format. A row of a batch is one paragraph with all its
questions; an attention mask keeps the questions apart, so that each is read as if it were the only one:

    context | Q: ... A: answer <end> | Q: ... A: answer <end> | ...

The loss is next-token prediction on the answers, plus a light one on everything else.
"""

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from atman_bench.datasets._facts_grammar import SHAPES, Shape, Split, write_article
from atman_bench.datasets._squad_format import PAPER_TEMPLATE
from atman_bench.datasets.facts import FactsConfig, load

WEIGHTS = Path(__file__).parents[1] / "atman_bench" / "models" / "weights" / "tiny_text"
END = "<|end|>"
WINDOW = 6
"""Positions that the first two layers see. A value is found by what is said just before it, and a layer that can only
look there learned it within 500 steps; with four full layers 1,250 steps were not enough in our trials."""
CURRICULUM = (
    (Shape(4, 1, 0), Shape(2, 2, 0), Shape(3, 1, 0)),
    (Shape(2, 2, 0), Shape(3, 2, 0), Shape(2, 1, 1), Shape(4, 1, 0)),
    SHAPES,
)
"""Short paragraphs to begin with: reading is learned much sooner where there is little to choose from."""
PROMOTION_LOSS = 0.1
"""The next stage begins when the running loss of the answers falls below this."""


@dataclass(frozen=True)
class Recipe:
    """How to train; ``QUICK`` only shows that the script works.

    Attributes:
        steps: Optimiser steps.
        warm_up: Steps of linear warm-up.
        batch: Paragraphs per step.
        learning_rate: Of AdamW, after the warm-up.
        context_weight: Weight of the loss on tokens that are no answer's.
        vocabulary: Tokens of the tokenizer, few enough that long or rare words take several.
        corpus: Paragraphs that the tokenizer is trained on.
        seed: Of everything.
    """

    steps: int = 1800
    warm_up: int = 60
    batch: int = 32
    learning_rate: float = 3e-3
    context_weight: float = 0.1
    vocabulary: int = 1024
    corpus: int = 4000
    seed: int = 0


QUICK = Recipe(steps=4, warm_up=1, batch=4, corpus=200)


@dataclass(frozen=True)
class Batch:
    """Packed paragraphs: B rows, N positions.

    Attributes:
        tokens: (B, N), padded with the end token.
        positions: (B, N), restarting behind the context at every question.
        segments: (B, N), 0 for the context, i for question i, -1 for padding.
        is_answer: (B, N), whether the token belongs to an answer or ends one.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    is_answer: Tensor

    def masks(self) -> dict[str, Tensor]:
        """(B, 1, N, N) for each kind of layer: a position sees what precedes it in the context and its own question."""
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        causal = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool).tril()
        full = ((key == 0) | (key == query)) & causal
        near = self.positions[:, :, None] - self.positions[:, None, :] < WINDOW
        return {"full_attention": full[:, None], "sliding_attention": (full & near)[:, None]}


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE on text of the training split, small enough that names take several tokens."""
    rng = random.Random(f"tokenizer/{recipe.seed}")
    texts = []
    for _ in range(recipe.corpus):
        paragraph = write_article(rng, Split.TRAIN, rng.choice(SHAPES))["paragraphs"][0]
        texts.append(paragraph["context"] + "".join(f" Q: {qa['question']} A:" for qa in paragraph["qas"]))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=1024)


def build_model(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Qwen2ForCausalLM:
    """A randomly initialised decoder of about a million parameters."""
    torch.manual_seed(recipe.seed)
    end = tokenizer.convert_tokens_to_ids(END)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            layer_types=["sliding_attention", "sliding_attention", "full_attention", "full_attention"],
            use_sliding_window=True,
            sliding_window=WINDOW,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            # Wider than the usual 0.02, which suits wide layers.
            initializer_range=0.06,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def draw_batch(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, shapes: tuple[Shape, ...], recipe: Recipe
) -> Batch:
    """Write new paragraphs and pack them."""
    before, after = PAPER_TEMPLATE.split("{context}")
    texts: list[str] = []
    paragraphs = [write_article(rng, Split.TRAIN, rng.choice(shapes))["paragraphs"][0] for _ in range(recipe.batch)]
    for paragraph in paragraphs:
        texts.append(before + paragraph["context"])
        for qa in paragraph["qas"]:
            texts += [after.replace("{question}", qa["question"]), " " + qa["answers"][0]["text"] + END]
    pieces = iter(tokenizer(texts)["input_ids"])

    rows: list[list[tuple[int, int, int, bool]]] = []
    for paragraph in paragraphs:
        context = next(pieces)
        row = [(token, i, 0, False) for i, token in enumerate(context)]
        for segment, _ in enumerate(paragraph["qas"], start=1):
            question, answer = next(pieces), next(pieces)
            for i, token in enumerate(question + answer):
                row.append((token, len(context) + i, segment, i >= len(question)))
        rows.append(row)
    longest = max(map(len, rows))
    padding = (tokenizer.pad_token_id, 0, -1, False)
    packed = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
    tokens, positions, segments, is_answer = packed.unbind(-1)
    return Batch(tokens, positions, segments, is_answer.bool())


def loss_of(model: Qwen2ForCausalLM, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Loss to minimise, and the loss of the answers alone (natural logarithm, per token)."""
    logits = model(batch.tokens, attention_mask=batch.masks(), position_ids=batch.positions, use_cache=False).logits
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    segments = batch.segments
    # The first token of a question has several predecessors in the row, none of which is the context's last one.
    follows = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0)
    answer = losses[(batch.is_answer[:, 1:] & follows).flatten()].mean()
    other = losses[(~batch.is_answer[:, 1:] & follows).flatten()].mean()
    return answer + recipe.context_weight * other, answer


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """Linear warm-up, a plateau, and in the second half a cosine down to 0."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    return 0.5 + 0.5 * math.cos(math.pi * max(0.0, 2 * step / recipe.steps - 1))


@torch.inference_mode()
def accuracy(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, config: FactsConfig) -> float:
    """Share of questions that greedy decoding answers exactly, end token included."""
    model.eval()
    right = 0
    samples = load(config).samples
    for sample in samples:
        prompt, target = (tokenizer(text)["input_ids"] for text in (sample.prompt, sample.target + END))
        # Greedy decoding gives the target exactly if each of its tokens is the likeliest after the ones before it.
        rows = model(torch.tensor([prompt + target]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        right += rows.argmax(-1).tolist() == target
    model.train()
    return right / len(samples)


def train(recipe: Recipe, folder: Path) -> float:
    """Train, save, and return the accuracy on held-out questions."""
    tokenizer = train_tokenizer(recipe)
    model = build_model(tokenizer, recipe)
    print(f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer)}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(f"training/{recipe.seed}")
    stage, running = 0, 1.0
    start = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(step, recipe)
        batch = draw_batch(rng, tokenizer, CURRICULUM[stage], recipe)
        with torch.autocast("cpu", torch.bfloat16):
            loss, answer_loss = loss_of(model, batch, recipe)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running += 0.05 * (answer_loss.item() - running)
        if step % 50 == 49:
            print(
                f"step {step + 1}, stage {stage}: answers {running:.3f}, {time.monotonic() - start:.0f} s", flush=True
            )
        if running < PROMOTION_LOSS and stage + 1 < len(CURRICULUM):
            stage, running = stage + 1, 1.0
        if step % 400 == 399:
            held_out = accuracy(model, tokenizer, FactsConfig(n=100, seed=1))
            print(f"step {step + 1}: {held_out:.0%} of 100 held-out questions", flush=True)
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return accuracy(model, tokenizer, FactsConfig(n=40 if recipe.steps < 100 else 1000, seed=2))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that the script works")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    share = train(QUICK if arguments.quick else Recipe(), arguments.out)
    print(f"{share:.1%} of held-out questions answered exactly; written to {arguments.out}")


if __name__ == "__main__":
    main()
