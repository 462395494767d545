"""The table of model quality (paper Table 4) from stored answers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atman_bench.core.errors import DataError
from atman_bench.core.records import Status
from atman_bench.evaluation.answer_store import Answer, AnswerCell
from atman_bench.metrics._answer_scores import SCORERS, Accuracy
from atman_bench.metrics._statistics import Interval, bootstrap_interval
from atman_bench.report._format import NOTHING, number, with_interval
from atman_bench.report.render import TextTable

PAPER_MODELS = ("MAGMA 6B", "MAGMA 13B", "MAGMA 30B")
PAPER: Mapping[str, tuple[float, ...]] = {
    "vqav2": (60.0, 62.6, 64.2),
    "okvqa": (37.6, 38.2, 43.3),
    "gqa": (47.4, 43.7, 45.6),
}
"""Table 4, in per cent, of those models."""

NOTE = (
    "× 100; [95 % bootstrap interval over groups]. Paper: Table 4, which does not state split, examples or scorer; "
    "compare with official validation data only."
)

_HEADERS = {Accuracy.EXACT_MATCH: "exact match", Accuracy.F1: "F1", Accuracy.VQA_ACCURACY: "VQA accuracy"}


@dataclass(frozen=True)
class Score:
    """A measure of one cell, in [0, 1].

    Attributes:
        mean: Over its questions.
        interval: 95 %, over groups; None where all questions are of one.
    """

    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class CellAccuracy:
    """How many questions a model answers.

    Attributes:
        cell: Where the answers are.
        n: Questions with an answer.
        missing: How many ended otherwise, and how.
        scores: By measure; none without an answer.
    """

    cell: AnswerCell
    n: int
    missing: Mapping[Status, int]
    scores: Mapping[Accuracy, Score]


def summarise(cell: AnswerCell) -> CellAccuracy:
    """Score the answers of a cell.

    Raises:
        StoreError: They cannot be read.
    """
    answers = cell.answers()
    ok = [answer for answer in answers if answer.status is Status.OK]
    missing: Counter[Status] = Counter(answer.status for answer in answers if answer.status is not Status.OK)
    return CellAccuracy(cell, len(ok), missing, {m: _score(ok, m) for m in cell.measures} if ok else {})


def _score(answers: Sequence[Answer], measure: Accuracy) -> Score:
    values = np.array([SCORERS[measure](answer.given or "", answer.right) for answer in answers])
    return Score(float(values.mean()), bootstrap_interval(values, np.array([answer.group for answer in answers])))


def accuracy_table(cells: Sequence[AnswerCell]) -> TextTable:
    """One line for each cell, with the paper's numbers beside it.

    Raises:
        StoreError: Answers cannot be read.
        DataError: There are no cells.
    """
    if not cells:
        raise DataError("there are no answers to report on; expected some: run `atman-bench accuracy` first")
    lines = [dict(_texts(summarise(cell))) for cell in cells]
    columns = [name for name in lines[0] if any(line[name] != NOTHING for line in lines)]
    return TextTable(
        title="Model quality",
        note=NOTE,
        columns=("dataset · model", *columns),
        lines=tuple(
            (f"{cell.title} · {cell.quiz.model}", *(line[name] for name in columns))
            for cell, line in zip(cells, lines, strict=True)
        ),
        floors=(False,) * len(lines),
    )


def _texts(found: CellAccuracy) -> Iterator[tuple[str, str]]:
    """Every column and what it says of a cell."""
    yield "shots", str(found.cell.quiz.shots)
    yield "n", str(found.n)
    for measure, header in _HEADERS.items():
        yield header, _percent(found.scores[measure]) if measure in found.scores else NOTHING
    yield "missing", ", ".join(f"{count} {status}" for status, count in found.missing.items()) or NOTHING
    printed = PAPER.get(found.cell.quiz.dataset, ())
    for i, model in enumerate(PAPER_MODELS):
        yield f"paper {model}", number(printed[i] if printed else None)


def _percent(score: Score) -> str:
    interval = score.interval or Interval(np.nan, np.nan)
    return with_interval(*(100 * value for value in (score.mean, interval.low, interval.high)))
