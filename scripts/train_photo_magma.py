"""Train ``photo-magma``: a pretrained vision transformer, frozen, and a small decoder that learns to name photographs.

Needs the encoder (``atman-bench models pull vit-s14-saliency``) and photographs that are not shipped:

    DATA/caltech101/images/CLASS/*.jpg                          one name each
    DATA/ccp/images_tagged/ID.jpg, image_level_tags.json        several names each

Features of all photographs are computed once and kept beside the encoder. Only the projection and the decoder are
trained and written; half of a photograph's tokens are left out in every step, so that no few of them suffice. The
photographs of ``caltech101/segmented.json`` and ``ccp/images`` are never trained on.
"""

import argparse
import hashlib
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from _picture_training import END, learning_rate_factor, loss_of, pack, small_decoder, train_tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPTJForCausalLM, PreTrainedTokenizerFast

from atman_bench.core.images import open_picture
from atman_bench.core.records import Picture
from atman_bench.datasets._class_prompts import class_name, naming_prompt
from atman_bench.models._image_prefix import Dinov2EncoderConfig, ImagePrefix, PrefixConfig, Resize
from atman_bench.models._magma_checkpoint import save_picture_lm
from atman_bench.models._pull import PulledKind, pulled_folder
from atman_bench.models.photo_magma import ENCODER, IMAGENET_MEAN, IMAGENET_STD, RESOLUTION, WEIGHTS, encoder_tensors


@dataclass(frozen=True)
class Recipe:
    """How to train; ``QUICK`` only shows that the script works.

    Attributes:
        steps: Optimiser steps.
        warm_up: Steps of linear warm-up.
        batch: Photographs per step.
        tokens: Picture tokens kept in a step, of 144.
        names: Names per photograph and step, where it has several.
        learning_rate: Of AdamW, after the warm-up.
        weight_decay: Of AdamW.
        dropout: In the decoder.
        pooled_weight: Weight of a second loss: the mean token has to name the photograph through a linear layer that is
            thrown away. It teaches the projection what tells classes apart before the decoder can read it.
        prompt_weight: Weight of the loss on tokens that are no name's.
        held_back: One training photograph in this many is for watching only.
        limit: Photographs at the most; None takes all.
        seed: Of everything.
    """

    steps: int = 2400
    warm_up: int = 100
    batch: int = 32
    tokens: int = 72
    names: int = 4
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    pooled_weight: float = 0.5
    prompt_weight: float = 0.1
    held_back: int = 20
    limit: int | None = None
    seed: int = 0


QUICK = Recipe(steps=4, warm_up=1, batch=4, limit=24)


@dataclass(frozen=True)
class Photo:
    """A photograph and its names."""

    path: Path
    names: tuple[str, ...]


def photographs(data: Path, recipe: Recipe) -> list[Photo]:
    """All training photographs, in a seeded order."""
    caltech = data / "caltech101"
    held_out = {
        entry["image"].removeprefix("seg_images/") for entry in json.loads((caltech / "segmented.json").read_text())
    }
    photos = [
        Photo(path, (class_name(path.parent.name),))
        for path in sorted((caltech / "images").glob("*/*.jpg"))
        if path.relative_to(caltech / "images").as_posix() not in held_out
    ]
    tags = json.loads((data / "ccp" / "image_level_tags.json").read_text())
    for path in sorted((data / "ccp" / "images_tagged").glob("*.jpg")):
        names = tuple(name for name in tags[path.stem] if name != "null")
        if names:
            photos.append(Photo(path, names))
    random.Random(recipe.seed).shuffle(photos)
    return photos[: recipe.limit]


@torch.inference_mode()
def features_of(prefix: ImagePrefix, photos: list[Photo], folder: Path) -> Tensor:
    """The encoder's tokens of every photograph, (M, 144, C) in half precision; computed once and kept."""
    key = hashlib.sha256("\n".join(str(photo.path) for photo in photos).encode()).hexdigest()[:12]
    kept = folder / f"features-{key}.pt"
    if kept.is_file():
        return torch.load(kept, weights_only=True)
    started, found = time.monotonic(), []
    for first in range(0, len(photos), 16):
        pixels = [prefix.preprocess(open_picture(Picture(photo.path)))[0] for photo in photos[first : first + 16]]
        with torch.autocast("cpu", torch.bfloat16):
            found.append(prefix.features(torch.cat(pixels)).half())
        if first % 320 == 0:
            print(f"features of {first} photographs, {time.monotonic() - started:.0f} s", flush=True)
    features = torch.cat(found)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(features, kept)
    return features


@torch.inference_mode()
def accuracy(
    decoder: GPTJForCausalLM,
    prefix: ImagePrefix,
    tokenizer: PreTrainedTokenizerFast,
    photos: list[Photo],
    tokens: Tensor,
) -> float:
    """Share of photographs with one name that greedy decoding names exactly."""
    right = []
    for photo, features in zip(photos, tokens, strict=True):
        if len(photo.names) == 1:
            (name,) = photo.names
            prompt, target = (tokenizer(text)["input_ids"] for text in (naming_prompt(name), f" {name}{END}"))
            embedded = decoder.get_input_embeddings()(torch.tensor([prompt + target]))
            picture = prefix.project(features[None].float())
            logits = decoder(inputs_embeds=torch.cat([picture, embedded], 1), use_cache=False).logits[0]
            right.append(logits[picture.shape[1] + len(prompt) - 1 : -1].argmax(-1).tolist() == target)
    return sum(right) / max(1, len(right))


def train(recipe: Recipe, data: Path, folder: Path) -> float:
    """Train, save, and return the accuracy on photographs that were held back."""
    torch.manual_seed(recipe.seed)
    source = pulled_folder(ENCODER, PulledKind.VISION_ENCODER)
    encoder = Dinov2EncoderConfig(json.loads((source / "config.json").read_text()))
    config = PrefixConfig(encoder, RESOLUTION, Resize.SQUASH, layer_norm=True, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    prefix = ImagePrefix(config, hidden_size=192)
    prefix.enc.load_state_dict(encoder_tensors(source))
    photos = photographs(data, recipe)
    features = features_of(prefix.eval(), photos, source.parent.parent / "features")
    names = sorted({name for photo in photos for name in photo.names})
    tokenizer = train_tokenizer((naming_prompt(name) + f" {name}" for name in names for _ in range(4)), vocabulary=512)
    decoder = small_decoder(tokenizer, width=192, layers=4, adapter=48, dropout=recipe.dropout).train()
    pooled = nn.Linear(192, len(names))
    trained = nn.ModuleList([prefix.proj, prefix.ln, decoder, pooled])
    print(f"{sum(p.numel() for p in trained.parameters()):,} parameters, {len(photos)} photographs, {len(names)} names")
    ids = {n: (tokenizer(naming_prompt(n))["input_ids"], tokenizer(f" {n}{END}")["input_ids"]) for n in names}
    held_back = len(photos) // recipe.held_back
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    rng = random.Random(f"training/{recipe.seed}")
    running, started = 4.0, time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(step, recipe.steps, recipe.warm_up)
        drawn = rng.sample(range(held_back, len(photos)), recipe.batch)
        said = [rng.sample(photos[i].names, min(recipe.names, len(photos[i].names))) for i in drawn]
        kept = torch.stack([torch.randperm(features.shape[1])[: recipe.tokens].sort().values for _ in drawn])
        tokens = features[torch.tensor(drawn)[:, None], kept].float()
        with torch.autocast("cpu", torch.bfloat16):
            pictures = prefix.project(tokens)
            batch = pack([[ids[name] for name in row] for row in said], features.shape[1], tokenizer.pad_token_id)
            loss, answer = loss_of(decoder, pictures, batch, recipe.prompt_weight, kept)
            truth = torch.zeros(len(drawn), len(names))
            for row, i in enumerate(drawn):
                truth[row, [names.index(name) for name in photos[i].names]] = 1 / len(photos[i].names)
            loss = loss + recipe.pooled_weight * F.cross_entropy(pooled(pictures.mean(1)).float(), truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        running += 0.05 * (answer.item() - running)
        if step % 50 == 49:
            print(f"step {step + 1}: names {running:.3f}, {time.monotonic() - started:.0f} s", flush=True)
        if step % 200 == 199:
            share = accuracy(decoder.eval(), prefix.eval(), tokenizer, photos[:held_back], features[:held_back])
            trained.train()
            print(f"step {step + 1}: {share:.0%} of the photographs held back", flush=True)
    for parameter in trained.parameters():  # the weights are kept, and judged, in half precision
        parameter.data = parameter.data.half().float()
    save_picture_lm(folder, decoder.eval(), prefix.eval(), tokenizer, torch.float16, with_encoder=False)
    return accuracy(decoder, prefix, tokenizer, photos[:held_back], features[:held_back])


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that the script works")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    share = train(QUICK if arguments.quick else Recipe(), arguments.data, arguments.out)
    print(f"{share:.1%} of the photographs held back are named exactly; written to {arguments.out}")


if __name__ == "__main__":
    main()
