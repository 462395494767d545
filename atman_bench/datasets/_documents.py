"""Example documents for question answering over chunks (A.8, Fig. 16): the paper's contract, and one of ``facts``."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from atman_bench.datasets._facts_grammar import Split
from atman_bench.datasets._squad_format import PAPER_TEMPLATE
from atman_bench.datasets.facts import generate

CONTRACT = Path(__file__).with_name("docqa_contract.json")

CONTRACT_TEMPLATE = "{context} Q:{question} A:"
"""The prompt of Fig. 16 without its last blank, which is the target's first character instead."""


class Example(StrEnum):
    """Documents that come with questions; the last question of each is not answered by its text."""

    CONTRACT = "contract"
    """The contract of Fig. 16, reconstructed from its printed copies, with the paper's questions and targets."""
    FACTS = "facts"
    """A held-out document of ``facts``, with one question about another document."""


@dataclass(frozen=True)
class DocumentQuestion:
    """A question to a document.

    Attributes:
        text: The question.
        target: The answer that is explained, or None for the model's own.
        evidence: Half-open character ranges of the document: none where it does not answer the question, None where
            that is not known.
    """

    text: str
    target: str | None
    evidence: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Document:
    """A document with questions.

    Attributes:
        text: The document.
        template: The prompt, with one ``{context}`` and one ``{question}``.
        questions: What it is asked.
    """

    text: str
    template: str
    questions: tuple[DocumentQuestion, ...]


def example(name: Example) -> Document:
    """Read or generate an example; always the same."""
    return _contract() if name is Example.CONTRACT else _facts()


def _contract() -> Document:
    data = json.loads(CONTRACT.read_text(encoding="utf-8"))
    questions = (
        DocumentQuestion(q["question"], q["target"], tuple((start, end) for start, end in q["evidence"]))
        for q in data["questions"]
    )
    return Document(data["document"], CONTRACT_TEMPLATE, tuple(questions))


def _facts() -> Document:
    paragraphs = [article["paragraphs"][0] for article in generate(40, 0, Split.HELD_OUT)["data"]]
    chosen = next(paragraph for paragraph in paragraphs if len(paragraph["qas"]) >= 3)
    other = next(paragraph for paragraph in paragraphs if paragraph is not chosen)
    answered = []
    for question in chosen["qas"][:3]:
        (answer,) = question["answers"]
        start = answer["answer_start"]
        span = start, start + len(answer["text"])
        answered.append(DocumentQuestion(question["question"], answer["text"], (span,)))
    stray = other["qas"][0]
    return Document(
        chosen["context"],
        PAPER_TEMPLATE,
        (*answered, DocumentQuestion(stray["question"], stray["answers"][0]["text"], ())),
    )
