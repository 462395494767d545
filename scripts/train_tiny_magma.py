"""Train the embedded model ``tiny-magma`` from scratch on the training split of ``scenes``, on a CPU, in under an hour.

The architecture is MAGMA's: an image encoder, a projection, and a GPT-J decoder with adapters; only small. First the
encoder alone learns which shape and colour stands in each of its 144 cells (the generator knows), by two linear heads
that are thrown away. Then its convolutions are frozen, and the embedding of each cell's place, projection and decoder
learn to name objects and to answer questions. A row of a batch is one picture with several texts; an attention mask
keeps the texts apart, so that each is read as if it were the only one:

    picture | Q: ... A: answer <end> | This is a picture of a star <end> | ...
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _picture_training import END, learning_rate_factor, loss_of, pack, small_decoder, train_tokenizer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPTJForCausalLM, PreTrainedTokenizerFast

from atman_bench.datasets._class_prompts import naming_prompt
from atman_bench.datasets._scenes_world import Colour, Kind, Scene, Shape, Split, make_scene, questions
from atman_bench.models._base import LoadOptions
from atman_bench.models._image_prefix import ConvConfig, ImagePrefix, PrefixConfig
from atman_bench.models._magma_checkpoint import load_picture_lm, save_picture_lm

WEIGHTS = Path(__file__).parents[1] / "atman_bench" / "models" / "weights" / "tiny_magma"
GQA_TEMPLATE = "Q: {question} A:"
RESOLUTION, GRID = 96, 12
PREFIX = PrefixConfig(ConvConfig(channels=(32, 64, 128), blocks=2, kernel=4), RESOLUTION, layer_norm=True)


@dataclass(frozen=True)
class Recipe:
    """How to train; ``QUICK`` only shows that the script works.

    Attributes:
        scenes: Training pictures.
        encoder_steps: Steps in which the encoder alone learns shapes and colours.
        steps: Steps in which projection and decoder learn texts.
        warm_up: Steps of linear warm-up.
        batch: Pictures per step.
        crops: How many of them are cropped to one object.
        texts: Texts per picture and step.
        learning_rate: Of AdamW, after the warm-up.
        prompt_weight: Weight of the loss on tokens that are no answer's: annotated words of questions are explained by
            their own loss, so the model has to expect them.
        seed: Of everything.
    """

    scenes: int = 6000
    encoder_steps: int = 900
    steps: int = 2400
    warm_up: int = 60
    batch: int = 32
    crops: int = 4
    texts: int = 8
    learning_rate: float = 2e-3
    prompt_weight: float = 0.2
    seed: int = 0


QUICK = Recipe(scenes=24, encoder_steps=2, steps=4, warm_up=1, batch=4, crops=1)


@dataclass(frozen=True)
class Text:
    """What is said of a picture."""

    prompt: str
    answer: str
    kind: Kind | None = None


@dataclass(frozen=True)
class Corpus:
    """Pictures and what is said of them.

    Attributes:
        pixels: What the encoder reads, (M, 3, n, n).
        shapes: (M, 12, 12) index of the shape that covers most of a cell, 0 where none covers a quarter of it.
        colours: Likewise.
        texts: For each picture.
    """

    pixels: Tensor
    shapes: Tensor
    colours: Tensor
    texts: list[list[Text]]


def texts_of(scene: Scene, rng: np.random.Generator) -> list[Text]:
    """The questions about a scene, and the name of each of its objects."""
    asked = [Text(GQA_TEMPLATE.format(question=q.text), f" {q.answer}", q.kind) for q in questions(scene, rng)]
    return asked + [Text(naming_prompt(o.shape), f" {o.shape}") for o in scene.objects]


def draw_corpus(prefix: ImagePrefix, split: Split, seed: int, count: int, crops: bool) -> Corpus:
    """Make scenes and preprocess them as the model will; with ``crops`` one object of each, cut out."""
    rng = np.random.default_rng([seed, count, crops])
    pixels, shapes, colours, texts = [], [], [], []
    for index in range(count):
        scene = make_scene(seed, split, index)
        image, box = Image.fromarray(scene.image), (0, 0, *scene.image.shape[1::-1])
        said = texts_of(scene, rng)
        if crops:
            thing = scene.objects[rng.integers(len(scene.objects))]
            box = thing.box
            said = [Text(naming_prompt(thing.shape), f" {thing.shape}")]
        found, area = prefix.preprocess(image.crop(box))
        seen = tuple(round(edge + corner) for edge, corner in zip(area, (*box[:2], *box[:2]), strict=True))
        pixels.append(found)
        shapes.append(_cells(scene, seen, [list(Shape).index(o.shape) + 1 for o in scene.objects]))
        colours.append(_cells(scene, seen, [list(Colour).index(o.colour) + 1 for o in scene.objects]))
        texts.append(said)
    return Corpus(torch.cat(pixels), torch.stack(shapes), torch.stack(colours), texts)


def _cells(scene: Scene, seen: tuple[int, ...], values: list[int]) -> Tensor:
    """The value of the object that covers most of each cell of what is seen; 0 where none covers a quarter."""
    left, top, right, bottom = seen
    masks = torch.stack([torch.from_numpy(o.mask[top:bottom, left:right]).float() for o in scene.objects])
    shares = F.adaptive_avg_pool2d(masks[None], GRID)[0]
    best = shares.max(0)
    return torch.where(best.values >= 0.25, torch.tensor(values)[best.indices], 0)


def train_encoder(prefix: ImagePrefix, corpora: tuple[Corpus, Corpus], recipe: Recipe) -> None:
    """Let the encoder alone learn which shape and colour stands in each cell."""
    channels = prefix.proj.in_features
    heads = nn.ModuleList([nn.Linear(channels, len(Shape) + 1), nn.Linear(channels, len(Colour) + 1)])
    parameters = [*prefix.enc.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01)
    rng = random.Random(f"encoder/{recipe.seed}")
    start = time.monotonic()
    for step in range(recipe.encoder_steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(step, recipe.encoder_steps, 20)
        corpus = corpora[step % 3 == 2]  # every third batch is of crops, where objects are larger
        chosen = rng.sample(range(len(corpus.texts)), recipe.batch)
        with torch.autocast("cpu", torch.bfloat16):
            features = prefix.features(corpus.pixels[chosen])
            logits = [head(features).float() for head in heads]
        truth = [cells[chosen].flatten(1) for cells in (corpus.shapes, corpus.colours)]
        loss = sum(F.cross_entropy(x.flatten(0, 1), y.flatten()) for x, y in zip(logits, truth, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            occupied = truth[0] > 0
            right = [(x.argmax(-1) == y)[occupied].float().mean() for x, y in zip(logits, truth, strict=True)]
            print(
                f"encoder step {step + 1}: loss {loss.item():.3f}, shapes {right[0]:.0%}, colours {right[1]:.0%} of "
                f"occupied cells, {time.monotonic() - start:.0f} s",
                flush=True,
            )


@torch.no_grad()
def features_of(prefix: ImagePrefix, pixels: Tensor) -> Tensor:
    """The frozen convolutions' output, (M, 144, C), without the embedding of each cell's place."""
    places = prefix.enc.positions.flatten(1).T
    return torch.cat([prefix.features(part) - places for part in pixels.split(64)])


@torch.no_grad()
def place_cells(prefix: ImagePrefix) -> None:
    """Begin with places that say row and column in sines: telling left from right needs them."""
    channels = prefix.enc.positions.shape[0] // 4
    angles = torch.arange(GRID)[None] / GRID * torch.pi * torch.linspace(0.5, 4, channels)[:, None]
    rows = torch.cat([angles.sin(), angles.cos()])[:, :, None].expand(-1, GRID, GRID)
    prefix.enc.positions.copy_(0.5 * torch.cat([rows, rows.transpose(1, 2)]))


@torch.inference_mode()
def accuracy(model: "Model", split: Split, seed: int, count: int) -> dict[str, float]:
    """Shares of texts about held-out scenes that the model ends right.

    ``questions``, all and by kind, and ``crops`` (the name of the object that the picture is cut to) by greedy
    decoding; ``scenes``: the asked-for object is among the k likeliest names, k being how many of the scene's objects
    the prompt can go on with.
    """
    prefix, decoder, tokenizer = model.prefix, model.decoder, model.tokenizer
    names = [tokenizer(f" {shape}")["input_ids"][0] for shape in Shape]  # one token each
    right: dict[str, list[bool]] = {"questions": [], "crops": [], "scenes": [], **{kind.value: [] for kind in Kind}}
    for crops in (False, True):
        corpus = draw_corpus(prefix, split, seed, count, crops)
        for pixels, texts in zip(corpus.pixels, corpus.texts, strict=True):
            picture = prefix.encode(pixels[None])
            prompts = [t.prompt for t in texts]
            for text in texts:
                prompt, target = tokenizer(text.prompt)["input_ids"], tokenizer(text.answer + END)["input_ids"]
                if crops or text.prompt.startswith("Q:"):
                    embedded = decoder.get_input_embeddings()(torch.tensor([prompt + target]))
                    logits = decoder(inputs_embeds=torch.cat([picture, embedded], 1), use_cache=False).logits[0]
                    said = logits[picture.shape[1] + len(prompt) - 1 : -1].argmax(-1).tolist()
                    right["crops" if crops else "questions"].append(said == target)
                    if text.kind:
                        right[text.kind].append(said == target)
                else:
                    embedded = decoder.get_input_embeddings()(torch.tensor([prompt]))
                    logits = decoder(inputs_embeds=torch.cat([picture, embedded], 1), use_cache=False).logits[0, -1]
                    likeliest = sorted(names, key=lambda name: -logits[name].item())
                    right["scenes"].append(target[0] in likeliest[: prompts.count(text.prompt)])
    return {name: float(np.mean(values)) for name, values in right.items()}


@dataclass(frozen=True)
class Model:
    """What is trained."""

    prefix: ImagePrefix
    decoder: GPTJForCausalLM
    tokenizer: PreTrainedTokenizerFast

    def save(self, folder: Path) -> None:
        """Write it in half precision, as it is shipped."""
        save_picture_lm(folder, self.decoder, self.prefix, self.tokenizer, torch.float16)


def begin(recipe: Recipe, corpora: tuple[Corpus, Corpus]) -> Model:
    """A model whose encoder is trained and whose decoder is not."""
    torch.manual_seed(recipe.seed)
    prefix = ImagePrefix(PREFIX, hidden_size=128)
    place_cells(prefix)
    train_encoder(prefix, corpora, recipe)
    # Few enough texts that every word becomes one token.
    texts = (t.prompt + t.answer for said in corpora[0].texts[:2000] for t in said)
    tokenizer = train_tokenizer(texts, vocabulary=512)
    return Model(prefix, small_decoder(tokenizer, width=128, layers=4, adapter=32), tokenizer)


def learn(model: Model, corpora: tuple[Corpus, Corpus], recipe: Recipe, folder: Path) -> None:
    """Train projection, places and decoder on whole scenes and crops; the convolutions stay as they are.

    The model is kept in the folder in between.
    """
    prefix, decoder, tokenizer = model.prefix, model.decoder.train(), model.tokenizer
    features = [features_of(prefix, corpus.pixels) for corpus in corpora]
    encoded = [
        [
            [(tokenizer(t.prompt)["input_ids"], tokenizer(t.answer + END)["input_ids"]) for t in texts]
            for texts in corpus.texts
        ]
        for corpus in corpora
    ]
    parts = nn.ModuleList([prefix.proj, prefix.ln, nn.ParameterList([prefix.enc.positions]), decoder])
    optimizer = torch.optim.AdamW(parts.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(f"training/{recipe.seed}")
    running, start = 3.0, time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(step, recipe.steps, recipe.warm_up)
        drawn = [(0, i) for i in rng.sample(range(len(encoded[0])), recipe.batch - recipe.crops)]
        drawn += [(1, i) for i in rng.sample(range(len(encoded[1])), recipe.crops)]
        said = [encoded[corpus][i] for corpus, i in drawn]
        rows = [rng.sample(texts, min(recipe.texts, len(texts))) for texts in said]
        with torch.autocast("cpu", torch.bfloat16):
            found = torch.stack([features[corpus][i] for corpus, i in drawn])
            pictures = prefix.project(found + prefix.enc.positions.flatten(1).T).float()
            batch = pack(rows, pictures.shape[1], tokenizer.pad_token_id)
            loss, answer = loss_of(decoder, pictures, batch, recipe.prompt_weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        running += 0.05 * (answer.item() - running)
        if step % 50 == 49:
            print(f"step {step + 1}: answers {running:.3f}, {time.monotonic() - start:.0f} s", flush=True)
        if step % 300 == 299:
            print(f"step {step + 1}: {accuracy(model, Split.HELD_OUT, 1, 40)}", flush=True)
            model.save(folder)


def train(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Train, save, and return the accuracy on held-out scenes."""
    prefix = ImagePrefix(PREFIX, hidden_size=128)  # only to preprocess pictures
    corpora = (
        draw_corpus(prefix, Split.TRAIN, recipe.seed, recipe.scenes, crops=False),
        draw_corpus(prefix, Split.TRAIN, recipe.seed + 1, recipe.scenes // 4, crops=True),
    )
    model = begin(recipe, corpora)
    learn(model, corpora, recipe, folder)
    for parameter in (*model.prefix.parameters(), *model.decoder.parameters()):
        parameter.data = parameter.data.half().float()  # judged as it is shipped
    model.save(folder)
    return accuracy(model, Split.HELD_OUT, 2, 8 if recipe.scenes < 100 else 200)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that the script works")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--judge", action="store_true", help="only say how accurate the model in the folder is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.judge:
        loaded = load_picture_lm(arguments.out, "tiny-magma", LoadOptions(device="cpu"))
        model = Model(loaded.prefix, loaded.model, loaded.tokenizer)
        for split in (Split.HELD_OUT, Split.NOVEL):
            print(split, _written(accuracy(model, split, 2, 200)))
        return
    shares = train(QUICK if arguments.quick else Recipe(), arguments.out)
    print(f"{_written(shares)}; written to {arguments.out}")


def _written(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


if __name__ == "__main__":
    main()
