"""SQuAD's JSON format -> samples; everything that comes as questions with answer spans goes through here.

Source: the AtMan paper, Section 4.1 and A.11 (prompt, target and label); Rajpurkar et al. 2016 and 2018 (format).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.core.records import CharSpans, Sample, Skipped
from atman_bench.datasets._answer_sets import AnsweredDataset
from atman_bench.datasets._json import field

PAPER_TEMPLATE = "{context} Q: {question} A:"
"""The paper's prompt for SQuAD."""

INSTRUCTION_TEMPLATE = "Answer with respect to the given context.\n{context}\nQuestion: {question}\nAnswer:"
"""A prompt with the instruction that A.10 proposes; the paper shows no more of it than its first sentence."""


class AnswerChoice(StrEnum):
    """Which of a question's several answers becomes target and label."""

    FIRST = "first"
    MAJORITY = "majority"


def read_articles(
    document: object, source: str, content_hash: str, template: str = PAPER_TEMPLATE, choice: AnswerChoice | None = None
) -> AnsweredDataset:
    """Turn a document in SQuAD's v1.1 or v2.0 format into samples.

    The target is a space and the answer; the label is the answer's span in the prompt; the part to explain is the
    context; samples of one paragraph form a group.

    Args:
        document: The parsed JSON.
        source: What the document is called in messages.
        content_hash: Handed on.
        template: The prompt, with one ``{context}`` and one ``{question}``.
        choice: Which answer to take, the first by default.

    Raises:
        ConfigError: The template lacks a field, or has one twice.
        DataError: The structure is not SQuAD's.
    """
    check_template(template)
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    right: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    file = f"{source} (as SQuAD v1.1 or v2.0 JSON)"
    for a, article in enumerate(field(document, "data", list, file)):
        where = f"{file}: data[{a}]"
        title = field(article, "title", str, where)
        for p, paragraph in enumerate(field(article, "paragraphs", list, where)):
            where = f"{file}: data[{a}].paragraphs[{p}]"
            context = field(paragraph, "context", str, where)
            questions = field(paragraph, "qas", list, where)
            for q, question in enumerate(questions):
                where = f"{file}: data[{a}].paragraphs[{p}].qas[{q}]"
                uid = field(question, "id", str, where)
                if uid in seen:
                    skipped.append(Skipped(uid, "duplicate question id"))
                    continue
                seen.add(uid)
                span = _evidence(question, context, choice or AnswerChoice.FIRST, where)
                if isinstance(span, str):
                    skipped.append(Skipped(uid, span))
                    continue
                start, end = span
                right[uid] = tuple(answer["text"] for answer in question["answers"])
                prompt, offset = render(template, context, field(question, "question", str, where))
                samples.append(
                    Sample(
                        uid=uid,
                        prompt=prompt,
                        target=" " + context[start:end],
                        explain=(offset, offset + len(context)),
                        label=CharSpans(((offset + start, offset + end),)),
                        # Not the paragraph's index: a group keeps its name in a subset of the file.
                        group=f"{title}/{hashlib.sha256(context.encode()).hexdigest()[:8]}",
                        facts={"article": title, "n_questions": len(questions)},
                    )
                )
    if not samples and not skipped:
        raise DataError(f"{source} holds no question: check that the file is complete")
    return AnsweredDataset(tuple(samples), tuple(skipped), content_hash, answers=right)


def check_template(template: str) -> None:
    """Refuse a prompt that lacks the context or the question.

    Raises:
        ConfigError: The template does not hold ``{context}`` and ``{question}`` once each.
    """
    for placeholder in ("{context}", "{question}"):
        if (n := template.count(placeholder)) != 1:
            raise ConfigError(f"template needs {placeholder} exactly once, found {n} times in {template!r}")


def render(template: str, context: str, question: str) -> tuple[str, int]:
    """The prompt, and where the context starts in it."""
    before, after = (part.replace("{question}", question) for part in template.split("{context}"))
    return before + context + after, len(before)


def _evidence(question: Mapping[str, Any], context: str, choice: AnswerChoice, where: str) -> tuple[int, int] | str:
    """The span of the chosen answer in the context, or why there is none."""
    answers = field(question, "answers", list, where)
    if question.get("is_impossible", False) or not answers:
        return "unanswerable"
    texts = [field(answer, "text", str, f"{where}.answers[{i}]") for i, answer in enumerate(answers)]
    chosen = 0
    if choice is AnswerChoice.MAJORITY:
        chosen = texts.index(Counter(texts).most_common(1)[0][0])
    text, start = texts[chosen], field(answers[chosen], "answer_start", int, f"{where}.answers[{chosen}]")
    if not text.strip():
        return "empty answer"
    if start < 0 or context[start : start + len(text)] != text:
        return "answer_start does not point at the answer"
    # Blanks around an answer are no evidence, and the target brings its own leading space.
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())
