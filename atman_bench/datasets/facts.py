"""``facts``: generated reading comprehension with known evidence, in SQuAD's format.

Each paragraph states the same facts of several entities of one kind, in random order and wording, so every question
has distractors: other entities with the same relation, other relations of the same entity. ``tiny-text`` is trained
on the ``train`` split and shares no entity and no answer with ``held_out``.
"""

import hashlib
import json
import random
import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any

from atman_bench.core.options import ADDED_LATER, check_count
from atman_bench.core.records import CharSpans, Sample
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._facts_grammar import SHAPES, Split, write_article
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, read_articles

SENTENCE_END = ". "
"""What ends every sentence of the grammar but the last, and stands nowhere else."""


@dataclass(frozen=True)
class FactsConfig:
    """Options of ``facts``.

    Attributes:
        n: Number of questions.
        seed: Seed of the generator.
        split: ``held_out``, or ``train`` for what the embedded model is trained on.
        template: The prompt; the default is the one the embedded model is trained on.
        twice: The sentence that answers the question stands in the context a second time, elsewhere. Either occurrence
            would do, so that suppressing one of them alone may change nothing; both are ground truth.
    """

    n: int = 200
    seed: int = 0
    split: Split = Split.HELD_OUT
    template: str = PAPER_TEMPLATE
    twice: bool = field(default=False, metadata=ADDED_LATER)


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
    dataset = read_articles(document, "facts", content_hash, config.template)
    if not config.twice:
        return dataset
    return replace(dataset, samples=tuple(_with_decisive_sentence_twice(s, config.seed) for s in dataset.samples))


def _with_decisive_sentence_twice(sample: Sample, seed: int) -> Sample:
    """The same question about a context that has the sentence with the answer a second time, not beside the first."""
    assert sample.explain is not None and isinstance(sample.label, CharSpans)
    ((start, end),) = sample.label.spans
    first, last = sample.explain
    sentences = sample.prompt[first:last].split(SENTENCE_END)
    borders = [
        first,
        *(first + match.end() for match in re.finditer(re.escape(SENTENCE_END), sample.prompt[first:last])),
    ]
    which = bisect_right(borders, start) - 1
    decisive = sentences[which].removesuffix(".") + "."
    gaps = [gap for gap in range(len(sentences)) if gap not in (which, which + 1)]
    at = borders[random.Random(f"twice/{seed}/{sample.uid}").choice(gaps)]
    inserted = decisive + " "
    moved = len(inserted) if at <= start else 0
    copy = at + start - borders[which]
    spans = sorted([(start + moved, end + moved), (copy, copy + end - start)])
    return replace(
        sample,
        prompt=sample.prompt[:at] + inserted + sample.prompt[at:],
        explain=(first, last + len(inserted)),
        label=CharSpans(tuple(spans)),
    )


SPEC = DatasetSpec(
    summary="generated reading comprehension with known evidence and distractors; offline (the default)",
    config=FactsConfig,
    load=load,
    label=lambda config: "decisive sentence twice" if config.twice else "",
)
