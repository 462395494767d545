"""``hotpotqa``: questions over several paragraphs, where the supporting sentences are the evidence.

Source: Yang et al. 2018 (distractor setting; CC BY-SA 4.0). Nothing of it is part of this package.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import CharSpans, Sample, Skipped
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._json import expect, field
from atman_bench.datasets._rows import is_file, read_file, read_hub
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, check_template, render

EXPECTED = "a HotpotQA JSON file (distractor setting)"
COLUMNS = ("question", "answer", "supporting_facts", "context")
DANGLES = "supporting fact dangles: no {} of the context (its question is used if another fact resolves)"


@dataclass(frozen=True)
class HotpotQaConfig:
    """Options of ``hotpotqa``.

    Attributes:
        data: An official JSON file, a dataset folder, or a hub id (``hotpotqa/hotpot_qa``).
        template: The prompt, with one ``{context}`` and one ``{question}``. The context has a line ``TITLE: SENTENCES``
            for each paragraph.
        split: Split to load from a folder or the hub.
        subset: Configuration of a hub id (``distractor``).
        revision: Hub revision.
    """

    data: str | None = None
    template: str = PAPER_TEMPLATE
    split: str = "validation"
    subset: str | None = None
    revision: str | None = None


def load(config: HotpotQaConfig) -> Dataset:
    """Read the questions. A question is used if one of its supporting facts resolves at least.

    Facts that name a title or sentence which the context lacks are listed among what was skipped, one by one; so are
    questions without any other.

    Raises:
        ConfigError: No ``data``, or a template that does not hold context and question once each.
        DataError: The source is missing or malformed.
    """
    if config.data is None:
        raise ConfigError(f"hotpotqa needs data: give {EXPECTED} or a hub id (--data PATH_OR_ID)")
    check_template(config.template)
    if is_file(config.data):
        rows = read_file(Path(config.data), ("_id", *COLUMNS), EXPECTED)
    else:
        rows = read_hub(config.data, ("id", *COLUMNS), EXPECTED, config.split, config.revision, config.subset)
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    for i, record in enumerate(rows.records):
        where = f"{config.data}: [{i}]"
        uid = field(record, "_id" if "_id" in record else "id", str, where)
        if uid in samples:
            skipped.append(Skipped(uid, "duplicate question id"))
            continue
        context, sentences = _write(list(_paragraphs(record, where)))
        spans: set[tuple[int, int]] = set()
        for title, number in _facts(record, where):
            if title not in sentences:
                skipped.append(Skipped(f"{uid}/{title}/{number}", DANGLES.format("such title")))
            elif not 0 <= number < len(sentences[title]):
                skipped.append(Skipped(f"{uid}/{title}/{number}", DANGLES.format("such sentence")))
            else:
                spans.add(sentences[title][number])
        answer = field(record, "answer", str, where).strip()
        if not answer:
            skipped.append(Skipped(uid, "empty answer"))
            continue
        if not any(context[start:end].strip() for start, end in spans):
            skipped.append(Skipped(uid, "no supporting fact resolves"))
            continue
        prompt, offset = render(config.template, context, field(record, "question", str, where))
        samples[uid] = Sample(
            uid=uid,
            prompt=prompt,
            target=" " + answer,
            explain=(offset, offset + len(context)),
            label=CharSpans(tuple((offset + start, offset + end) for start, end in sorted(spans))),
            group=uid,
            facts={key: record[key] for key in ("type", "level") if isinstance(record.get(key), str)},
        )
    return Dataset(tuple(samples.values()), tuple(skipped), rows.content_hash)


def _write(paragraphs: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, Mapping[str, Sequence[tuple[int, int]]]]:
    """The context, a paragraph a line, and where the sentences of each title are in it, without blanks around them.

    Of two paragraphs of one title the first is meant.
    """
    context = ""
    where: dict[str, list[tuple[int, int]]] = {}
    for title, sentences in paragraphs:
        context += ("\n" if context else "") + f"{title}:"
        spans = []
        for sentence in map(str.strip, sentences):
            context += " "
            spans.append((len(context), len(context) + len(sentence)))
            context += sentence
        where.setdefault(title, spans)
    return context, where


def _paragraphs(record: Mapping[str, Any], where: str) -> Iterator[tuple[str, list[str]]]:
    """Title and sentences of each paragraph."""
    for i, (title, sentences) in enumerate(_pairs(record, "context", "sentences", where)):
        place = f"{where}: 'context'[{i}]"
        yield title, [expect(sentence, str, place) for sentence in expect(sentences, list, place)]


def _facts(record: Mapping[str, Any], where: str) -> Iterator[tuple[str, int]]:
    """Title and number of each supporting sentence."""
    for i, (title, number) in enumerate(_pairs(record, "supporting_facts", "sent_id", where)):
        yield title, expect(number, int, f"{where}: 'supporting_facts'[{i}]")


def _pairs(record: Mapping[str, Any], key: str, second: str, where: str) -> Iterator[tuple[str, object]]:
    """Pairs whose first is a title: a list of pairs in files, a pair of lists on the hub.

    Raises:
        DataError: It is neither.
    """
    value, place = record[key], f"{where}: {key!r}"
    if isinstance(value, dict):
        titles, others = (field(value, name, list, place) for name in ("title", second))
        if len(titles) != len(others):
            raise DataError(
                f"{place}: 'title' and {second!r} should have one length, found {len(titles)} and {len(others)}"
            )
        value = list(zip(titles, others, strict=True))
    for pair in expect(value, list, place):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{place} should hold pairs of title and {second}, found {str(pair)[:40]!r}")
        yield expect(pair[0], str, place), pair[1]


SPEC = DatasetSpec(
    summary="questions over several paragraphs with supporting sentences, HotpotQA (CC BY-SA 4.0)",
    config=HotpotQaConfig,
    load=load,
)
