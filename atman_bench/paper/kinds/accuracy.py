"""Answers of ``atman-bench accuracy`` (Table 4)."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from atman_bench.core.errors import DataError
from atman_bench.evaluation.answer_store import AnswerCell
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import NOT_RUNNABLE, Outcome, Plan, Request, Run
from atman_bench.report.accuracy import accuracy_table
from atman_bench.report.render import TextTable

if TYPE_CHECKING:
    from atman_bench.evaluation.accuracy import AccuracyConfig
    from atman_bench.evaluation.runner import Progress

_LONGEST_ANSWER = 16
"""Tokens."""


@dataclass(frozen=True)
class Accuracy(Run):
    """How many questions of each benchmark a model answers.

    Attributes:
        benchmarks: Fields of ``RunConfig`` of each; what cannot be run is said, and the others go on.
        shots: Solved examples before the questions of each benchmark.
        parameters: See ``Evaluation``.
        samples: Dataset -> its questions where there is no limit, for predictions.
        units: Image tokens of a question, likewise.
    """

    benchmarks: tuple[Mapping[str, Any], ...]
    shots: tuple[int, ...] = (0,)
    parameters: float | None = None
    samples: Mapping[str, int] = field(default_factory=dict)
    units: int = 144

    def resolved(self, request: Request) -> "list[AccuracyConfig]":
        """The configuration of each benchmark with each number of solved examples.

        Raises:
            UnknownNameError: See ``accuracy.load_accuracy_config``.
            ConfigError: See ``accuracy.load_accuracy_config``.
        """
        from atman_bench.evaluation.accuracy import load_accuracy_config
        from atman_bench.paper.kinds._planning import configured

        def of(benchmark: Mapping[str, Any], shots: int) -> "AccuracyConfig":
            return configured(
                lambda fields: load_accuracy_config(fields, (), shots, _LONGEST_ANSWER),
                lambda config: config.run,
                benchmark,
                request,
            )

        return [of(*pair) for pair in itertools.product(self.benchmarks, self.shots)]

    def plan(self, name: str, request: Request) -> Plan:
        """Of all benchmarks."""
        return Plan.of_parts(name, [self._planned(config) for config in self.resolved(request)])

    def run(self, request: Request, progress: "Progress") -> "Answered":
        """Answer those benchmarks that can be run; why the others cannot is noted.

        Raises:
            DataError: None of them can.
        """
        from atman_bench.evaluation.accuracy import ask_all

        cells: list[AnswerCell] = []
        notes: list[str] = []
        for config in self.resolved(request):
            what = f"{config.run.model_name} on {config.run.dataset}, {config.shots}-shot"
            try:
                summary = ask_all(config, progress, driver=request.driver)
            except NOT_RUNNABLE as error:
                notes.append(f"{what} was not run: {' '.join(str(error).split())}")
                continue
            if summary.interrupted:
                raise KeyboardInterrupt
            cells.append(summary.cell)
            if summary.first_error:
                notes.append(f"{what}, first error: {summary.first_error}")
        if not cells:
            raise DataError("; ".join(notes))
        return Answered({"cells": [asdict(cell.quiz) for cell in cells]}, tuple(notes), tuple(cells))

    def _planned(self, config: "AccuracyConfig") -> Plan:
        from atman_bench.paper.kinds._planning import (
            BEYOND_UNITS,
            check_family,
            data_in_words,
            hours,
            model_in_words,
            needs,
            weights_bytes,
        )

        run = config.run
        check_family(run.model_name)
        questions = run.limit or self.samples.get(run.dataset)
        most = config.max_new_tokens
        prompt = (1 + config.shots) * (self.units + BEYOND_UNITS)
        device_hours = None
        if questions is not None and self.parameters is not None:
            low, high = (hours(run, self.parameters, questions * (prompt + said)) for said in (0, most - 1))
            device_hours = low, high
        return Plan(
            f"{run.dataset}, {config.shots}-shot",
            f"{run.model_name} on {run.dataset}, {questions or 'all'} questions, {config.shots}-shot",
            details=(
                ("data", data_in_words(run, questions)),
                ("model", model_in_words(run, self.parameters)),
                ("methods", f"none: greedy answers of at most {most} tokens after {config.shots} solved examples"),
                ("a sample", f"one pass over a prompt of {prompt} tokens, and at most {most - 1} over one token each"),
            ),
            cells=1,
            passes=None if questions is None else float(questions),
            needs=needs(run),
            weights_bytes=None if self.parameters is None else weights_bytes(run, self.parameters),
            device_hours=device_hours,
        )


@dataclass(frozen=True)
class Answered(Outcome):
    """Answers to questions.

    Attributes:
        cells: Where they are.
    """

    cells: tuple[AnswerCell, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each model, dataset and number of examples, with the paper's numbers beside it."""
        return (accuracy_table(self.cells),)
