"""Answers of ``atman-bench docqa`` to questions about one document (Fig. 16)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Outcome, Request
from atman_bench.paper.kinds._one_text import ONE_EXAMPLE, TextRun
from atman_bench.report._format import NOTHING
from atman_bench.report.document import document_map
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.heatmap import to_png
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.api.docqa import DocumentAnswer
    from atman_bench.evaluation.runner import Progress


@dataclass(frozen=True)
class Documents(TextRun):
    """Questions to one document.

    Attributes:
        example: Name of an example document.
    """

    example: str

    def text_in_words(self) -> tuple[str, str]:
        """The document, suppressed chunk by chunk for each question."""
        from atman_bench.datasets._chunking import split_document
        from atman_bench.datasets._documents import Example, example

        source = example(Example(self.example))
        chunks, questions = len(split_document(source.text)), len(source.questions)
        text = (
            f"the document {self.example!r}: {len(source.text.split())} words in {chunks} chunks, {questions} questions"
        )
        return text, f"{questions * (1 + chunks)}: one plain and one for each chunk, for each question"

    def run(self, request: Request, progress: "Progress") -> "DocumentAnswers":
        """Ask every question of the example."""
        from atman_bench.api.docqa import DocumentOptions, ask
        from atman_bench.datasets._documents import Example, example
        from atman_bench.paper.kinds._manifests import manifest_on

        model = self.load(request)
        source = example(Example(self.example))
        options = DocumentOptions(source.template)
        answers = tuple(ask(model, source.text, question, options) for question in source.questions)
        return DocumentAnswers(manifest_on(self, model), (), model.name, source.text, answers)


@dataclass(frozen=True)
class DocumentAnswers(Outcome):
    """Answers to questions about one document.

    Attributes:
        model: Name of the model.
        document: The text.
        answers: Of the questions.
    """

    model: str
    document: str
    answers: "tuple[DocumentAnswer, ...]"

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each question."""
        lines = tuple(
            (
                answer.question,
                answer.target.strip(),
                "yes" if answer.explanation.answered else "no",
                answer.texts[answer.highest].strip(),
                f"{max(answer.scores):.3g}",
                NOTHING if answer.rank is None else f"{answer.rank} of {len(answer.chunks)}",
            )
            for answer in self.answers
        )
        note = "Own: the model says this answer itself. Rank: of the chunk with the evidence; – where there is none."
        columns = ("question", "answer", "own", "highest chunk", "its score", "rank")
        return (TextTable(f"Chunks of a document · {self.model}", note, columns, lines, (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The document as a heat map for each question."""
        maps = document_map(
            caption=self.model,
            document=self.document,
            chunks=self.answers[0].chunks,
            questions=tuple(answer.question for answer in self.answers),
            answers=tuple(answer.target for answer in self.answers),
            scores=np.array([answer.scores for answer in self.answers], np.float32),
        )
        folder.mkdir(parents=True, exist_ok=True)
        to_png(maps, folder / "document.png")
        return {"document": f"Which chunks each answer depends on, {self.model}"}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether the chunk with the evidence scores highest, and where there is none no chunk scores as high."""
        from atman_bench.api.docqa import relative_maximum

        ranks = [answer.rank for answer in self.answers if answer.rank is not None]
        first = ranks.count(1)
        ending = {len(ranks): Ending.HOLDS, 0: Ending.OPPOSITE}.get(first, Ending.MIXED)
        verdicts = [
            Verdict("The chunk with the evidence has the highest score", ending, f"{first} of {len(ranks)} questions.")
        ]
        for answer in self.answers:
            share = relative_maximum(answer, self.answers) if answer.expected == () else None
            if share is not None:
                because = (
                    f"“{answer.question}”: the largest score is {share:.0%} of the mean of the others'. {ONE_EXAMPLE}"
                )
                ending = Ending.HOLDS if share < 1 else Ending.OPPOSITE
                verdicts.append(Verdict("Without evidence nothing stands out as much", ending, because))
        return tuple(verdicts)
