"""``needle``: generated statements of keys and values in filler of any length; the asked one is the evidence.

The task is that of "needle in a haystack" with several needles (Kamradt 2023; Hsieh et al. 2024, RULER). Everything is
written by code, so length, place and number of distractors are controlled, and the answer is exact.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import check_count
from atman_bench.core.records import CharSpans, Sample
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, check_template, render

KEYS = (
    *("harbour", "garden", "museum", "library", "station", "bakery", "theatre", "airport", "stadium", "hospital"),
    *("factory", "castle", "bridge", "market", "school", "hotel", "prison", "temple", "tower", "vineyard"),
    *("laboratory", "warehouse", "observatory", "monastery", "cinema", "zoo", "bank", "courthouse", "lighthouse"),
)
"""Places that have a code; none of them stands in the filler."""

SUBJECTS = ("the old man", "a young painter", "my neighbour", "the tall woman", "a tired clerk", "the quiet child")
VERBS = ("walked along", "looked at", "thought about", "talked about", "wrote about", "went past", "waited beside")
OBJECTS = ("the river", "a wooden fence", "the long road", "some apple trees", "a green field", "the grey clouds")
ENDINGS = ("in the morning", "after the rain", "without a word", "for a long time", "as usual", "with a smile")

DIGITS = 4


class Evidence(StrEnum):
    """What of the asked statement is ground truth."""

    STATEMENT = "statement"
    """All of it: the key that says which it is, and the value."""
    VALUE = "value"
    """The value alone, as in ``facts``."""


@dataclass(frozen=True)
class NeedleConfig:
    """Options of ``needle``.

    Attributes:
        n: Number of samples.
        words: Words of filler around the statements, at least; whole sentences are written.
        distractors: Statements of other keys, at random places; they have other values.
        depths: Where the asked statement stands, as shares of the filler's sentences (0 = first, 1 = last); samples
            take them in turn.
        evidence: statement or value.
        seed: Seed of the generator.
        template: The prompt, with one ``{context}`` and one ``{question}``.
    """

    n: int = 100
    words: int = 150
    distractors: int = 3
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    evidence: Evidence = Evidence.STATEMENT
    seed: int = 0
    template: str = PAPER_TEMPLATE

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: See above.
        """
        check_count("needle: n", self.n, most=100_000)
        check_count("needle: words", self.words, least=0)
        check_count("needle: distractors", self.distractors, least=0, most=len(KEYS) - 1)
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise ConfigError(f"needle: depths are shares of the filler: expected 0 to 1, received {list(self.depths)}")
        check_template(self.template)


def load(config: NeedleConfig) -> Dataset:
    """Write the samples; each depends on the options and its number alone, so a larger ``n`` keeps those of a smaller.

    Raises:
        ConfigError: See ``NeedleConfig``.
    """
    samples = tuple(_sample(config, i) for i in range(config.n))
    content = [asdict(sample) for sample in samples]
    return Dataset(samples, (), hashlib.sha256(json.dumps(content).encode()).hexdigest())


def statement(key: str, value: str) -> str:
    """A needle."""
    return f"The code of the {key} is {value}."


def _sample(config: NeedleConfig, number: int) -> Sample:
    rng = random.Random(f"needle/{config.seed}/{number}")
    keys = rng.sample(KEYS, config.distractors + 1)
    values = [str(value) for value in rng.sample(range(10 ** (DIGITS - 1), 10**DIGITS), len(keys))]
    needles = [statement(key, value) for key, value in zip(keys, values, strict=True)]
    depth = config.depths[number % len(config.depths)]
    filler = _filler(rng, config.words)
    # Beside the same sentence of filler a distractor stands before (0) or behind (2) the asked statement (1).
    places = [(round(depth * len(filler)), 1)]
    places += [(rng.randint(0, len(filler)), rng.choice((0, 2))) for _ in range(config.distractors)]
    order = sorted(range(len(needles)), key=lambda i: places[i])
    sentences: list[str] = []
    for place in range(len(filler) + 1):
        sentences += [needles[i] for i in order if places[i][0] == place]
        sentences += filler[place : place + 1]
    context = " ".join(sentences)
    question = f"What is the code of the {keys[0]}?"
    prompt, offset = render(config.template, context, question)
    start = offset + context.index(needles[0])
    end = start + len(needles[0])
    if config.evidence is Evidence.VALUE:
        start, end = end - 1 - len(values[0]), end - 1
    return Sample(
        uid=f"needle-{config.seed}-{number:05d}",
        prompt=prompt,
        target=f" {values[0]}",
        explain=(offset, offset + len(context)),
        label=CharSpans(((start, end),)),
        group=f"needle-{config.seed}-{number:05d}",
        facts={"depth": depth, "distractors": config.distractors},
    )


def _filler(rng: random.Random, words: int) -> list[str]:
    """Sentences of that many words at least; none is the same as the one before it."""
    sentences: list[str] = []
    count = 0
    while count < words:
        parts: Sequence[str] = [rng.choice(options) for options in (SUBJECTS, VERBS, OBJECTS, ENDINGS)]
        sentence = " ".join(parts)
        sentence = sentence[0].upper() + sentence[1:] + "."
        if sentences and sentence == sentences[-1]:
            continue
        sentences.append(sentence)
        count += sentence.count(" ") + 1
    return sentences


def _label(config: NeedleConfig) -> str:
    return f"{config.words} words, {config.distractors} distractors"


SPEC = DatasetSpec(
    summary="generated: the code of a place in filler of any length, with distractors at controlled places; offline",
    config=NeedleConfig,
    load=load,
    label=_label,
)
