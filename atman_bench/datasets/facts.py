"""``facts``: generated reading comprehension with known evidence, in SQuAD's format.

Each paragraph states the same facts of several entities of one kind, in random order and wording, so every question
has distractors: other entities with the same relation, other relations of the same entity. ``tiny-text`` is trained
on the ``train`` split and shares no entity and no answer with ``held_out``.
"""

import hashlib
import json
import random
from dataclasses import dataclass
from typing import Any

from atman_bench.core.options import check_count
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._facts_grammar import SHAPES, Split, write_article
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, read_articles


@dataclass(frozen=True)
class FactsConfig:
    """Options of ``facts``.

    Attributes:
        n: Number of questions.
        seed: Seed of the generator.
        split: ``held_out``, or ``train`` for what the embedded model is trained on.
        template: The prompt; the default is the one the embedded model is trained on.
    """

    n: int = 200
    seed: int = 0
    split: Split = Split.HELD_OUT
    template: str = PAPER_TEMPLATE


def generate(n: int, seed: int, split: Split) -> dict[str, Any]:
    """Write ``n`` questions as a document in SQuAD's v1.1 format; the same arguments give the same document."""
    rng = random.Random(f"{split}/{seed}")
    articles: list[dict[str, Any]] = []
    written = 0
    while written < n:
        article = write_article(rng, split, rng.choice(SHAPES))
        paragraph = article["paragraphs"][0]
        # One to five questions, so that the groups that intervals are resampled over differ in size.
        paragraph["qas"] = paragraph["qas"][: min(rng.randint(1, 5), n - written)]
        for question in paragraph["qas"]:
            question["id"] = f"facts-{split}-{seed}-{written:05d}"
            written += 1
        articles.append(article)
    return {"version": "1.1", "data": articles}


def load(config: FactsConfig) -> Dataset:
    """Generate the questions; they are read as a SQuAD file would be.

    Raises:
        ConfigError: ``n`` is below 1 or too large, or the template does not hold context and question once each.
    """
    check_count("facts: n", config.n)
    document = generate(config.n, config.seed, config.split)
    content_hash = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return read_articles(document, "facts", content_hash, config.template)


SPEC = DatasetSpec(
    summary="generated reading comprehension with known evidence and distractors; offline (the default)",
    config=FactsConfig,
    load=load,
)
