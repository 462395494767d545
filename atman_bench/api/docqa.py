"""Question answering over a document: which chunks does the model take an answer from (A.8, Fig. 16)?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from atman_bench.api._remarks import say_remarks
from atman_bench.core.errors import ModelError
from atman_bench.core.options import build
from atman_bench.core.tensors import Explanation
from atman_bench.datasets._chunking import Span, split_document, tokens_of_chunks
from atman_bench.datasets._documents import DocumentQuestion
from atman_bench.datasets._squad_format import PAPER_TEMPLATE, check_template, render
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods.atman import AtManConfig
from atman_bench.models._base import ModelAdapter

WHOLLY = {"f": 1.0}
"""Options of AtMan and what extends it that differ from their own here: a chunk is suppressed wholly (1 - f = 0)."""


@dataclass(frozen=True)
class DocumentOptions:
    """How a document is asked.

    Attributes:
        template: The prompt, with one ``{context}`` and one ``{question}``.
        method: Name of the method that scores the chunks.
        options: The method's options that differ from ``WHOLLY`` and its own.
        seed: For stochastic methods.
        max_new_tokens: Longest answer where none is given.
    """

    template: str = PAPER_TEMPLATE
    method: str = "atman"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    max_new_tokens: int = 16

    def __post_init__(self) -> None:
        """Refuse bad options now, before a model is loaded.

        Raises:
            UnknownNameError: No such method or option.
            ConfigError: The template lacks a field, or an option has an impossible value.
        """
        check_template(self.template)
        _ = self.config

    @cached_property
    def config(self) -> Any:
        """An instance of the method's config class."""
        config = METHODS.get(self.method).config
        defaults = WHOLLY if issubclass(config, AtManConfig) else {}
        return build(config, {**defaults, **self.options}, f"methods.{self.method}")


@dataclass(frozen=True)
class DocumentAnswer:
    """One question's answer, explained by C chunks.

    Attributes:
        question: The question.
        target: The answer, as it follows the prompt.
        texts: What each chunk reads; they join to the whole document.
        chunks: Half-open character range of each chunk in the document.
        expected: The chunks that hold the evidence: none where the document does not answer the question, None where
            that is not known.
        explanation: Scores of the chunks, higher = more important.
    """

    question: str
    target: str
    texts: tuple[str, ...]
    chunks: tuple[Span, ...]
    expected: tuple[int, ...] | None
    explanation: Explanation

    @cached_property
    def scores(self) -> list[float]:
        """Score of each chunk."""
        return [float(score) for score in self.explanation.scores]

    @property
    def highest(self) -> int:
        """The chunk with the highest score."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)

    @property
    def rank(self) -> int | None:
        """Rank of the highest expected chunk, 1 = first; other chunks of the same score count as before it."""
        if not self.expected:
            return None
        score = max(self.scores[chunk] for chunk in self.expected)
        return 1 + sum(s >= score for chunk, s in enumerate(self.scores) if chunk not in self.expected)


def ask(
    model: ModelAdapter, document: str, question: DocumentQuestion, options: DocumentOptions | None = None
) -> DocumentAnswer:
    """Ask a document a question and score its chunks, one perturbation for each.

    Args:
        model: The adapter.
        document: Any text; it is cut at ".", ",", line breaks and " and".
        question: With the answer that is explained, a blank before it or not, or else the model's own greedy one.
        options: Prompt and method.

    Raises:
        DataError: The document holds no text.
        ModelError: The model's tokens are not tied to characters.
        SampleError: The prompt exceeds the context window, or the model's own answer is empty.
    """
    options = options or DocumentOptions()
    prompt, offset = render(options.template, document, question.text)
    chunks = split_document(document)
    if question.target is None:
        target = model.complete(prompt, options.max_new_tokens)
    else:
        target = question.target.strip() if prompt[-1].isspace() else " " + question.target.strip()
    offsets = model.encode_text(prompt, target).offsets
    if offsets is None:
        raise ModelError(f"model {model.name!r} does not tie its tokens to characters, so chunks cannot be suppressed")
    groups = tokens_of_chunks([(start + offset, end + offset) for start, end in chunks], prompt, offsets)
    encoded = model.encode_text(prompt, target, groups)
    say_remarks(encoded)
    expected = None
    if question.evidence is not None:
        expected = tuple(
            i for i, (a, b) in enumerate(chunks) if any(a < end and b > start for start, end in question.evidence)
        )
    return DocumentAnswer(
        question=question.text,
        target=target,
        texts=tuple(document[start:end] for start, end in chunks),
        chunks=chunks,
        expected=expected,
        explanation=explain_encoded(model, encoded, options.method, options.config, options.seed),
    )


def relative_maximum(answer: DocumentAnswer, others: Sequence[DocumentAnswer]) -> float | None:
    """The largest score of a question that the document does not answer, relative to questions that it answers.

    Fig. 16's last row: small where no chunk stands out.

    Returns:
        Ratio to the mean of their largest scores; None where there is none, or their mean is not positive.
    """
    largest = [max(other.scores) for other in others if other.expected]
    if not largest or fmean(largest) <= 0:
        return None
    return max(answer.scores) / fmean(largest)
