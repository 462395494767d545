"""A dataset's class names, ranked by their probability for an image: the paper evaluates only what a model names."""

import heapq
from collections.abc import Sequence

import torch

from atman_bench.core.records import Picture
from atman_bench.models._base import ModelAdapter, Pass

Name = tuple[str, str]
"""Prompt and target of a sample that asks for a name."""


@torch.inference_mode()
def likeliest_names(model: ModelAdapter, picture: Picture | None, names: Sequence[Name], most: int) -> list[Name]:
    """The names that a model finds likeliest, in descending order.

    What is compared is the log-probability of everything behind the words that all prompts begin with, articles
    included (``This is a picture of`` | `` an airplane``): after ``an`` alone, an airplane would have few alternatives.
    Names are found by best-first search over their tokens, so that few of them are run.

    Args:
        model: The model.
        picture: What it sees.
        names: All names.
        most: How many to return.

    Raises:
        SampleError: The image cannot be read.
    """
    stem = _common_words([prompt for prompt, _ in names])
    encoded = [model.encode_text(stem, prompt[len(stem) :] + target, picture=picture) for prompt, target in names]
    tokens = [tuple(e.target_ids.tolist()) for e in encoded]
    following: dict[tuple[int, ...], torch.Tensor] = {}  # log-probability of the next token after a prefix of names
    queue: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    found: list[Name] = []
    while queue and len(found) < most:
        cost, beginning = heapq.heappop(queue)
        found += [names[i] for i, ids in enumerate(tokens) if ids == beginning]
        size = len(beginning)
        longer = {i: ids for i, ids in enumerate(tokens) if len(ids) > size and ids[:size] == beginning}
        if longer and beginning not in following:
            index, ids = next(iter(longer.items()))
            logits = model.run(encoded[index], Pass(rows=encoded[index].target_rows.tolist()))[0]
            for length, row in enumerate(logits.float().log_softmax(-1).cpu()):
                following.setdefault(ids[:length], row)
        for token in sorted({ids[size] for ids in longer.values()}):
            heapq.heappush(queue, (cost - following[beginning][token].item(), (*beginning, token)))
    return found[:most]


def _common_words(texts: Sequence[str]) -> str:
    """The words that all texts begin with."""
    columns = zip(*(text.split(" ") for text in texts), strict=False)
    common = []
    for words in columns:
        if len(set(words)) > 1:
            break
        common.append(words[0])
    return " ".join(common)
