"""``squad``: extractive question answering, where the answer's span is the evidence (the paper's Table 1a).

Source: the AtMan paper, Section 4.1; SQuAD v1.1 and v2.0 and whatever has their format (XQuAD, for one).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.datasets._base import Dataset, DatasetSpec
from atman_bench.datasets._json import read_json
from atman_bench.datasets._rows import read_hub
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, AnswerChoice, read_articles


@dataclass(frozen=True)
class SquadConfig:
    """Options of ``squad``.

    Attributes:
        data: An official JSON file, a folder in the layout of ``datasets``, or a hub id (``rajpurkar/squad``).
        template: The prompt, with one ``{context}`` and one ``{question}``; the default is the paper's.
        answer: Which of a question's several answers is target and label.
        split: Split to load from a folder or the hub.
        revision: Hub revision.
    """

    data: str | None = None
    template: str = PAPER_TEMPLATE
    answer: AnswerChoice = AnswerChoice.FIRST
    split: str = "validation"
    revision: str | None = None


def load(config: SquadConfig) -> Dataset:
    """Read questions from a file, a folder or the hub.

    Raises:
        ConfigError: No ``data``, or a template that does not hold the context and the question once each.
        DataError: The source is missing, malformed or not of SQuAD's format.
    """
    if config.data is None:
        raise ConfigError("squad needs data: give a SQuAD JSON file, a dataset folder or a hub id (--data PATH_OR_ID)")
    path = Path(config.data)
    if path.is_file() or path.suffix == ".json":
        document, content_hash = _read_file(path)
    else:
        document, content_hash = _read_hub(config.data, config.split, config.revision)
    return read_articles(document, config.data, content_hash, config.template, config.answer)


def _read_file(path: Path) -> tuple[object, str]:
    """The parsed JSON of a file, and the SHA-256 of its bytes."""
    document = read_json(path, dict, "a SQuAD v1.1 or v2.0 JSON file")
    return document, hashlib.sha256(path.read_bytes()).hexdigest()


def _read_hub(name: str, split: str, revision: str | None) -> tuple[dict[str, Any], str]:
    """Rows of a folder or hub dataset, brought into the format of the JSON files, and the SHA-256 of that."""
    columns = ("id", "title", "context", "question", "answers")
    rows = read_hub(name, columns, "a SQuAD JSON file", split, revision).records
    document = _articles_of_rows(rows, name)
    return document, hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _articles_of_rows(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Group the hub's flat rows by article and paragraph, in the order of their first question."""
    articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        try:
            texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
            answers = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{name}: answers of {row['id']!r} should be lists 'text' and 'answer_start' of one length, "
                f"found {row['answers']!r}"
            ) from error
        question = {"id": row["id"], "question": row["question"], "answers": answers}
        articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(question)
    return {
        "data": [
            {"title": title, "paragraphs": [{"context": context, "qas": qas} for context, qas in paragraphs.items()]}
            for title, paragraphs in articles.items()
        ]
    }


SPEC = DatasetSpec(
    summary="SQuAD v1.1 or v2.0 from a JSON file or the hub (Table 1a)",
    config=SquadConfig,
    load=load,
)
