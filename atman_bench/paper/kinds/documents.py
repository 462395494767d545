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
from atman_bench.report._scales import noise_of, without_noise
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.api.docqa import DocumentAnswer
    from atman_bench.evaluation.runner import Progress
    from atman_bench.report.figures._chunks import ChunkColumn

WEAKER, WHOLLY = 0.9, 1.0
"""Suppression factors f: that of the paper's other experiments, and the whole suppression of A.8."""


_SOURCE = "A.8, Fig. 16"
"""Where the paper says what the verdicts are on."""


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
        return text, f"{2 * questions * (1 + chunks)}: one plain and one for each chunk, for each question and factor"

    def run(self, request: Request, progress: "Progress") -> "DocumentAnswers":
        """Ask every question of the example, at both suppression factors."""
        from atman_bench.api.docqa import DocumentOptions, ask
        from atman_bench.datasets._documents import Example, example
        from atman_bench.paper.kinds._manifests import manifest_on

        model = self.load(request)
        source = example(Example(self.example))
        answers_at = {
            f: tuple(
                ask(model, source.text, question, DocumentOptions(source.template, options={"f": f}))
                for question in source.questions
            )
            for f in (WEAKER, WHOLLY)
        }
        return DocumentAnswers(manifest_on(self, model), (), model.name, model.dtype_name, answers_at)


@dataclass(frozen=True)
class DocumentAnswers(Outcome):
    """Answers to questions about one document.

    Attributes:
        model: Name of the model.
        dtype: Of its weights.
        answers_at: Suppression factor f -> answers of the questions, explained by chunks suppressed by it.
    """

    model: str
    dtype: str
    answers_at: "Mapping[float, tuple[DocumentAnswer, ...]]"

    @property
    def answers(self) -> "tuple[DocumentAnswer, ...]":
        """Of the questions, with chunks suppressed wholly (A.8)."""
        return self.answers_at[WHOLLY]

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
        note = (
            "Chunks suppressed wholly (f = 1). Own: the model says this answer itself. Rank: of the chunk with the "
            "evidence; – where there is none."
        )
        columns = ("question", "answer", "own", "highest chunk", "its score", "rank")
        return (TextTable(f"Chunks of a document · {self.model}", note, columns, lines, (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The chunks of the document with their scores for each question, at each suppression factor."""
        from atman_bench.report.figures._base import save
        from atman_bench.report.figures._chunks import plot_chunks

        head = [f"Q{i}: {a.question} → {a.target.strip()}" for i, a in enumerate(self.answers, start=1)]
        columns = [
            self._column(f"f = {f:g}", f"Q{i}", answer, answers)
            for f, answers in self.answers_at.items()
            for i, answer in enumerate(answers, start=1)
        ]
        caption = f"{self.model} · {len(self.answers[0].chunks)} chunks · framed: the chunk with the evidence"
        save(lambda: plot_chunks(self.answers[0].texts, head, columns), caption, folder / "document", formats)
        remove_others(folder / "document", formats)
        return {"document": f"Which chunks each answer depends on, {self.model}"}

    def _column(
        self, group: str, title: str, answer: "DocumentAnswer", answers: "Sequence[DocumentAnswer]"
    ) -> "ChunkColumn":
        from atman_bench.api.docqa import relative_maximum
        from atman_bench.report.figures._chunks import ChunkColumn

        explanation = answer.explanation
        noise = noise_of(explanation.method, explanation.target_logprobs, self.dtype)
        scores = without_noise(np.array(answer.scores, np.float32), noise)
        share = relative_maximum(answer, answers) if answer.expected == () else None
        return ChunkColumn(
            group, title, scores, answer.expected or (), NOTHING if share is None else f"{100 * share:.0f} %"
        )

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether the chunk with the evidence scores highest, and where there is none no chunk scores as high."""
        from atman_bench.api.docqa import relative_maximum

        ranks = [answer.rank for answer in self.answers if answer.rank is not None]
        first = ranks.count(1)
        ending = {len(ranks): Ending.HOLDS, 0: Ending.OPPOSITE}.get(first, Ending.MIXED)
        verdicts = [
            Verdict(
                "the chunk with the evidence has the highest score",
                ending,
                f"{first} of {len(ranks)} questions. {ONE_EXAMPLE}",
                _SOURCE,
            )
        ]
        for answer in self.answers:
            share = relative_maximum(answer, self.answers) if answer.expected == () else None
            if share is not None:
                because = (
                    f"“{answer.question}”: the largest score is {share:.0%} of the mean of the others'. {ONE_EXAMPLE}"
                )
                ending = Ending.HOLDS if share < 1 else Ending.OPPOSITE
                verdicts.append(Verdict("without evidence nothing stands out as much", ending, because, _SOURCE))
        return tuple(verdicts)
