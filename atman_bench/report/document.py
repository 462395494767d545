"""Questions to one document as heat maps over its chunks: one map per question, as in Fig. 16."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten

import numpy as np
from jaxtyping import Float

from atman_bench.report.heatmap import HeatMap

_TITLE_COLUMNS = 65
"""Question and answer at the most, so that a title fits into a line of the picture."""


@dataclass(frozen=True)
class DocumentMap(HeatMap):
    """A heat map with one block per question; ``target_texts`` are the answers, ``per_target`` their scores.

    Attributes:
        questions: The Q questions.
    """

    questions: tuple[str, ...] = ()

    def choices(self) -> Iterator[tuple[str, str, Float[np.ndarray, " U"]]]:
        """Answer, title and scores of each question's map."""
        if self.per_target is None:
            return
        for question, answer, scores in zip(self.questions, self.target_texts, self.per_target, strict=True):
            answer = answer.strip()
            room = max(_TITLE_COLUMNS - len(answer), 20)
            yield answer, f"{shorten(question, room, placeholder=' …')} → “{answer}”", scores


def document_map(
    caption: str,
    document: str,
    chunks: tuple[tuple[int, int], ...],
    questions: tuple[str, ...],
    answers: tuple[str, ...],
    scores: Float[np.ndarray, "Q C"],
) -> DocumentMap:
    """Make the maps of Q questions to a document of C chunks.

    Args:
        caption: Model, method and variant, in words.
        document: The text.
        chunks: Half-open character range of each chunk in it.
        questions: The questions.
        answers: The answers that are explained.
        scores: Relevance of each chunk for each answer.
    """
    return DocumentMap(
        caption=caption,
        texts=tuple(document[start:end] for start, end in chunks),
        scores=scores.mean(0),
        target_texts=answers,
        per_target=scores,
        prompt=document,
        spans=chunks,
        questions=questions,
    )
