"""The grammar of ``facts``: names and values put together from parts, and sentences and questions about them.

Every entity and every value is a combination of parts (first name + last name, day + month + year). One combination in
five is held out: training never shows it, though it shows each of its parts. A model that answers held-out questions
has therefore used the context: it cannot have memorised the answer.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

HELD_OUT_SHARE = 5
"""One combination in this many is held out."""


class Split(StrEnum):
    """Which combinations of parts a text may use."""

    TRAIN = "train"
    HELD_OUT = "held_out"


@dataclass(frozen=True)
class Lexicon:
    """Phrases put together from parts.

    Attributes:
        pattern: The phrase, with one ``{}`` per part.
        parts: The choices for each of them.
    """

    pattern: str
    parts: tuple[tuple[str, ...], ...]

    def draw(self, rng: random.Random, split: Split) -> str:
        """A random phrase of the split; uniform over the split's combinations."""
        while True:
            indices = [rng.randrange(len(choices)) for choices in self.parts]
            if _split_of(indices) is split:
                return self._phrase(indices)

    def phrases(self, split: Split) -> set[str]:
        """All phrases of the split."""
        combinations = product(*(range(len(choices)) for choices in self.parts))
        return {self._phrase(indices) for indices in combinations if _split_of(indices) is split}

    def _phrase(self, indices: list[int] | tuple[int, ...]) -> str:
        return self.pattern.format(*(choices[i] for choices, i in zip(self.parts, indices, strict=True)))


def _split_of(indices: list[int] | tuple[int, ...]) -> Split:
    # The sum of the indices spreads the held-out combinations over all parts, as in a Latin square.
    return Split.TRAIN if sum(indices) % HELD_OUT_SHARE else Split.HELD_OUT


@dataclass(frozen=True)
class Relation:
    """What can be said and asked about an entity.

    Attributes:
        values: What the relation's values look like.
        sentences: Ways to state it, with ``{entity}`` and one ``{value}`` that follows a space: its tokens are then
            those of the target, which follows a space too.
        questions: Ways to ask for the value, with ``{entity}``.
    """

    values: Lexicon
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of entity.

    Attributes:
        name: Plural noun; the title of its articles.
        entities: What entities of this kind are called.
        relations: What is known about each of them.
    """

    name: str
    entities: Lexicon
    relations: tuple[Relation, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(first, last + 1))


PEOPLE = Lexicon(
    "{} {}",
    (
        _words(
            "Adele Bruno Clara Dorian Edith Fabian Greta Hector Irene Jasper Karin Leopold Miriam Nestor Olivia Pascal "
            "Rosalind Sergei Tamara Ulrich"
        ),
        _words(
            "Abernathy Blackwood Castellan Drummond Eastman Fairbanks Goldsmith Hathaway Ironside Jefferson Kirkland "
            "Lindqvist Montague Nightingale Oakley Pemberton Quimby Rutherford Silverman Thackeray"
        ),
    ),
)
PLACES = Lexicon(
    "{} {}",
    (
        _words(
            "Amber Barley Cedar Dover Elder Falcon Granite Hazel Ivory Juniper Kestrel Laurel Maple North Otter Pebble "
            "Raven Saffron Thistle Walnut"
        ),
        _words("Bay Crossing Dale Falls Grove Harbour Island Junction Lake Marsh Point Ridge Springs Valley Woods"),
    ),
)
DATES = Lexicon(
    "{} {} {}",
    (
        _numbers(1, 28),
        _words("January February March April May June July August September October November December"),
        _numbers(1901, 1930),
    ),
)
TRADES = Lexicon(
    "{} {}",
    (
        _words(
            "ballet bridge cheese clock desert forest garden glacier history marble museum piano railway river textile "
            "theatre"
        ),
        _words("critic designer engineer guide inspector keeper manager painter surveyor teacher trader writer"),
    ),
)
GOODS = Lexicon(
    "{} {}",
    (
        _words("bottled carved dried foreign frozen polished printed raw salted smoked striped woven"),
        _words("apples baskets blankets carpets cotton fish flutes lamps leather maps mirrors pottery silk spices tea"),
    ),
)
STONES = Lexicon(
    "{} {}",
    (
        _words("black blue dark golden green grey pale pink polished red rough white"),
        _words("basalt brick cedar clay concrete copper granite limestone marble oak sandstone slate steel"),
    ),
)


def _measures(unit: str) -> Lexicon:
    return Lexicon("{} " + unit, (_numbers(21, 98),))


KINDS = (
    Kind(
        "people",
        PEOPLE,
        (
            Relation(
                TRADES,
                (
                    "{entity} works as a {value}.",
                    "For many years {entity} has been a {value}.",
                ),
                ("What is the profession of {entity}?", "What does {entity} work as?"),
            ),
            Relation(
                PLACES,
                (
                    "{entity} lives in {value}.",
                    "The home of {entity} is in {value}.",
                ),
                ("Where does {entity} live?", "In which town does {entity} live?"),
            ),
            Relation(
                DATES,
                (
                    "{entity} was born on {value}.",
                    "The birth of {entity} was recorded on {value}.",
                ),
                ("When was {entity} born?", "On which day was {entity} born?"),
            ),
            Relation(
                PEOPLE,
                (
                    "{entity} learned everything from {value}.",
                    "The teacher of {entity} was {value}.",
                ),
                ("Who taught {entity}?", "Who was the teacher of {entity}?"),
            ),
            Relation(
                _measures("kilometres"),
                (
                    "{entity} cycles {value} every month.",
                    "Every month the bicycle of {entity} covers {value}.",
                ),
                ("How far does {entity} cycle every month?", "What distance does {entity} cycle?"),
            ),
        ),
    ),
    Kind(
        "ships",
        Lexicon(
            "the {} {}",
            (
                _words(
                    "Amber Brave Crimson Distant Eager Faithful Gentle Hidden Jolly Lonely Merry Noble Proud Silver"
                ),
                _words(
                    "Albatross Cormorant Dolphin Heron Lantern Mermaid Pelican Pilgrim Rover Seagull Traveller Wave"
                ),
            ),
        ),
        (
            Relation(
                PEOPLE,
                (
                    "The captain of {entity} is {value}.",
                    "On the bridge of {entity} stands {value}.",
                ),
                ("Who is the captain of {entity}?", "Who commands {entity}?"),
            ),
            Relation(
                _measures("feet"),
                (
                    "From end to end {entity} measures {value}.",
                    "The length of {entity} is {value}.",
                ),
                ("How long is {entity}?", "What is the length of {entity}?"),
            ),
            Relation(
                DATES,
                (
                    "The shipyard launched {entity} on {value}.",
                    "The launch of {entity} took place on {value}.",
                ),
                ("When was {entity} launched?", "On which day was {entity} launched?"),
            ),
            Relation(
                GOODS,
                (
                    "The cargo of {entity} is {value}.",
                    "Most of the time {entity} carries {value}.",
                ),
                ("What does {entity} carry?", "What is the cargo of {entity}?"),
            ),
            Relation(
                PLACES,
                (
                    "The home port of {entity} is {value}.",
                    "Every autumn {entity} returns to {value}.",
                ),
                ("What is the home port of {entity}?", "Where is the home of {entity}?"),
            ),
        ),
    ),
    Kind(
        "buildings",
        Lexicon(
            "{} {}",
            (
                _words(
                    "Arundel Birchwood Copperfield Dunmore Everdeen Foxglove Greystone Highbury Inverness Kingsley "
                    "Lockhart Marigold Northgate Pinecrest Queensbury"
                ),
                _words("Abbey Bridge Castle Chapel Gallery Hall House Library Lighthouse Palace Station Tower"),
            ),
        ),
        (
            Relation(
                PEOPLE,
                (
                    "{entity} was designed by {value}.",
                    "The architect of {entity} was {value}.",
                ),
                ("Who designed {entity}?", "Who was the architect of {entity}?"),
            ),
            Relation(
                _measures("metres"),
                (
                    "{entity} is {value} tall.",
                    "The height of {entity} is {value}.",
                ),
                ("How tall is {entity}?", "What is the height of {entity}?"),
            ),
            Relation(
                DATES,
                (
                    "{entity} was opened on {value}.",
                    "The doors of {entity} first opened on {value}.",
                ),
                ("When was {entity} opened?", "On which day did {entity} open?"),
            ),
            Relation(
                STONES,
                (
                    "The walls of {entity} are made of {value}.",
                    "{entity} was built from {value}.",
                ),
                ("What are the walls of {entity} made of?", "What was {entity} built from?"),
            ),
            Relation(
                PLACES,
                (
                    "{entity} stands in {value}.",
                    "Visitors find {entity} in {value}.",
                ),
                ("Where does {entity} stand?", "In which town is {entity}?"),
            ),
        ),
    ),
    Kind(
        "companies",
        Lexicon(
            "{} {}",
            (
                _words(
                    "Atlas Beacon Comet Delta Emerald Frontier Galaxy Horizon Jupiter Liberty Meridian Neptune Orion "
                    "Phoenix Quantum"
                ),
                _words("Brothers Company Factory Foundry Industries Mills Partners Press Studios Trading Works"),
            ),
        ),
        (
            Relation(
                PEOPLE,
                (
                    "{entity} was founded by {value}.",
                    "The founder of {entity} is {value}.",
                ),
                ("Who founded {entity}?", "Who is the founder of {entity}?"),
            ),
            Relation(
                GOODS,
                (
                    "{entity} sells {value}.",
                    "The best known product of {entity} is {value}.",
                ),
                ("What does {entity} sell?", "What is the product of {entity}?"),
            ),
            Relation(
                _measures("workers"),
                (
                    "{entity} employs {value}.",
                    "The staff of {entity} counts {value}.",
                ),
                ("How many people does {entity} employ?", "How large is the staff of {entity}?"),
            ),
            Relation(
                DATES,
                (
                    "{entity} was founded on {value}.",
                    "The first day of {entity} was {value}.",
                ),
                ("When was {entity} founded?", "On which day was {entity} founded?"),
            ),
            Relation(
                PLACES,
                (
                    "{entity} is based in {value}.",
                    "The main office of {entity} is in {value}.",
                ),
                ("Where is {entity} based?", "In which town is the office of {entity}?"),
            ),
        ),
    ),
)

FILLERS = (
    "The summer was unusually warm.",
    "Few visitors know about this.",
    "Newspapers wrote about it at length.",
    "Some of the letters were lost.",
    "The archive is open to the public.",
    "Nobody expected that at first.",
    "There are several photographs.",
    "Later the rules were changed.",
    "The story is still told today.",
    "A short film was made about it.",
)


@dataclass(frozen=True)
class Shape:
    """Size of one paragraph.

    Attributes:
        entities: Number of entities, all of one kind; the others are distractors with the same relations.
        relations: Number of relations stated of each.
        fillers: Number of sentences that tell nothing.
    """

    entities: int
    relations: int
    fillers: int


SHAPES = (Shape(2, 3, 0), Shape(2, 3, 1), Shape(3, 2, 0), Shape(3, 2, 1), Shape(4, 2, 0), Shape(2, 4, 0))
"""Shapes of the dataset's paragraphs: about 60 to 110 tokens of ``tiny-text``."""


def write_article(rng: random.Random, split: Split, shape: Shape) -> dict[str, Any]:
    """Write one article of one paragraph in SQuAD's JSON format, with a question for each of its facts.

    Sentences come in random order, so evidence is anywhere in the context; no value occurs twice, so each question has
    one answer. Questions come in random order and carry no ``id`` yet.
    """
    kind = rng.choice(KINDS)
    relations = rng.sample(kind.relations, shape.relations)
    entities: list[str] = []
    while len(entities) < shape.entities:
        if (entity := kind.entities.draw(rng, split)) not in entities:
            entities.append(entity)

    used = set(entities)
    sentences = rng.sample(FILLERS, shape.fillers)
    questions: dict[int, dict[str, Any]] = {}
    for entity, relation in product(entities, relations):
        while (value := relation.values.draw(rng, split)) in used:
            pass
        used.add(value)
        before, after = (part.replace("{entity}", entity) for part in rng.choice(relation.sentences).split("{value}"))
        questions[len(sentences)] = {
            "question": rng.choice(relation.questions).replace("{entity}", entity),
            "answers": [{"text": value, "answer_start": len(before)}],
        }
        sentences.append(before + value + after)

    context = ""
    for index in rng.sample(range(len(sentences)), len(sentences)):
        if index in questions:
            questions[index]["answers"][0]["answer_start"] += len(context)
        context += sentences[index] + " "
    qas = rng.sample(list(questions.values()), len(questions))
    return {"title": kind.name, "paragraphs": [{"context": context.rstrip(), "qas": qas}]}
