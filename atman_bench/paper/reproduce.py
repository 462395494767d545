"""Runs the paper's experiments: what is missing of each, and then its tables, figures and the fate of its claims.

All runs of a preset share one results folder and are stored as their own commands store them, so a run that was stopped
goes on where it was, and equal runs of several experiments are run once.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from atman_bench.api import docqa, steering
from atman_bench.api.explain import explain, load_model
from atman_bench.core.errors import ConfigError, DataError, ModelError, SampleError, UnknownNameError
from atman_bench.core.provenance import environment
from atman_bench.core.records import Status
from atman_bench.datasets import _documents
from atman_bench.evaluation import accuracy, chunk_scoring, runner
from atman_bench.evaluation.answer_store import AnswerCell
from atman_bench.evaluation.config import load_configured
from atman_bench.evaluation.runner import RunSummary
from atman_bench.models._base import ModelAdapter
from atman_bench.paper import example_outcomes, examples, outcomes
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import (
    Accuracy,
    Chunks,
    Comparison,
    Costs,
    Documents,
    Evaluation,
    Examples,
    Experiment,
    Grid,
    Run,
    Sentence,
    Steering,
)
from atman_bench.paper.plan import Request, costs_of, evaluation_of, plan, quiz_of, requests_of, sweep_of
from atman_bench.profiling import grid as scaling
from atman_bench.report import grid, page
from atman_bench.report.costs import frame_of as frame_of_costs
from atman_bench.report.page import Section
from atman_bench.report.tables import frame_of

ALL = "all"
"""Names every experiment."""

_LACKING = (ConfigError, DataError, ModelError, SampleError)
"""What a run that lacks its model or data ends with."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The experiments of some names; ``all``, or none, are all of them.

    Raises:
        UnknownNameError: No such experiment.
    """
    if not names or ALL in names:
        return tuple(page.in_order(EXPERIMENTS.names))
    if unknown := [name for name in names if name.replace("-", "_") not in EXPERIMENTS.names]:
        raise UnknownNameError(EXPERIMENTS.kind, unknown[0], (*EXPERIMENTS.names, ALL))
    return tuple(dict.fromkeys(name.replace("-", "_") for name in names))


def reproduce(names: Sequence[str], request: Request, progress: runner.Progress) -> Iterator[Section]:
    """Run experiments and store a section for each.

    What lacks its model or data is a section that says so, and the others go on.

    Raises:
        UnknownNameError: No such experiment or model family.
        StoreError: The results cannot be read or written.
        KeyboardInterrupt: Ctrl-C; what is finished is stored.
    """
    for name in chosen(names):
        # A misspelt model should end the command now, and not be the reason why nothing was run.
        plan(name, request)
    done: dict[str, outcomes.Outcome | str] = {}
    for name in chosen(names):
        experiment = EXPERIMENTS.get(name)
        section = Section(name, experiment.title, experiment.paper, request.preset.value, request.command(name))
        run = experiment.runs.get(request.preset)
        if run is None:
            section = replace(section, missing=experiment.left_out[request.preset])
        else:
            key = repr(run)
            if key not in done:
                done[key] = _try(run, request, progress)
            section = _filled(section, experiment, done[key], page.folder_of(request.results, name))
        page.write(request.results, section)
        yield section


def _try(run: Run, request: Request, progress: runner.Progress) -> outcomes.Outcome | str:
    """What a run gave, or why it could not be run."""
    try:
        return _run(run, request, progress)
    except _LACKING as error:
        return " ".join(str(error).split())


def _run(run: Run, request: Request, progress: runner.Progress) -> outcomes.Outcome:
    match run:
        case Evaluation():
            return _evaluated(run, request, progress)
        case Chunks():
            tokens = _evaluated(run.tokens, request, progress)
            return replace(tokens, frame=frame_of(chunk_scoring.chunk_rows(tokens.config, tokens.summary)))
        case Comparison():
            return _compared(run, request, progress)
        case Accuracy():
            return _quizzed(run, request, progress)
        case Examples():
            config = evaluation_of(Evaluation(run.options), request)
            model = load_configured(config)
            model.probe()
            maps = examples.explain_examples(model, config, run.examples)
            return example_outcomes.Illustrated(_environment(run, model), (), maps)
        case Grid():
            sweep = sweep_of(run, request)
            summary = _finished(runner.evaluate(sweep.config, progress))
            frame = grid.frame_of_sweep(sweep, runner.rows_of_run(sweep.config, summary), holdout=True)
            manifest = _with_environment(outcomes.manifest_of(summary, sweep.run), summary)
            points = summary.cells[: len(sweep.points)]
            return outcomes.Swept(
                manifest, (*grid.describe(frame), *_notes(summary)), sweep.config, summary, frame, points
            )
        case Costs():
            costs = costs_of(run, request)
            measured = scaling.run(costs, progress)
            if measured.interrupted:
                raise KeyboardInterrupt
            notes = tuple(f"{row.model}, {row.tokens} tokens: {row.error}" for row in measured.rows if row.error)
            manifest = {"options": json.loads(json.dumps(asdict(costs), default=str))}
            if measured.rows:
                manifest["environment"] = measured.rows[0].environment
            return outcomes.Costed(manifest, notes, frame_of_costs(measured.rows, extrapolate=costs.extrapolate))
        case Sentence():
            model = _load(run.model, request)
            explanation = explain(model, prompt=run.prompt, target=run.target)
            return example_outcomes.Lost(
                _environment(run, model), (), run.prompt, run.evidence, model.name, explanation
            )
        case Steering():
            model = _load(run.model, request)
            steered = tuple(
                (word, factor, steering.steer(model, run.prompt, [steering.Change(word, factor)], topics=run.words))
                for word in run.words
                for factor in run.factors
            )
            return example_outcomes.Written(_environment(run, model), (), model.name, steered)
        case Documents():
            model = _load(run.model, request)
            source = _documents.example(_documents.Example(run.example))
            options = docqa.DocumentOptions(source.template)
            answers = tuple(docqa.ask(model, source.text, question, options) for question in source.questions)
            return example_outcomes.Answered(_environment(run, model), (), model.name, source.text, answers)


def _evaluated(run: Evaluation, request: Request, progress: runner.Progress) -> outcomes.Evaluated:
    config = evaluation_of(run, request)
    summary = _finished(runner.evaluate(config, progress))
    manifest = _with_environment(outcomes.manifest_of(summary, config), summary)
    return outcomes.Evaluated(manifest, _notes(summary), config, summary, frame_of(runner.rows_of_run(config, summary)))


def _compared(run: Comparison, request: Request, progress: runner.Progress) -> outcomes.Compared:
    """What the sides gave that can be run; why the others cannot is noted.

    Raises:
        DataError: None of them can.
    """
    sides: dict[str, outcomes.Evaluated] = {}
    notes: list[str] = []
    for name, asked in requests_of(run, request).items():
        try:
            sides[name] = _evaluated(run.sides[name], asked, progress)
        except _LACKING as error:
            notes.append(f"{name} was not run: {' '.join(str(error).split())}")
        else:
            notes += [f"{name}: {note}" for note in sides[name].notes]
    if not sides:
        raise DataError("; ".join(notes))
    return outcomes.Compared({name: side.manifest for name, side in sides.items()}, tuple(notes), sides)


def _quizzed(run: Accuracy, request: Request, progress: runner.Progress) -> outcomes.Quizzed:
    """The answers to those quizzes that can be run; why the others cannot is noted.

    Raises:
        DataError: None of them can.
        KeyboardInterrupt: One was stopped.
    """
    cells: list[AnswerCell] = []
    notes: list[str] = []
    for quiz, shots in itertools.product(run.quizzes, run.shots):
        config = quiz_of(quiz, shots, request)
        what = f"{config.run.model_name} on {config.run.dataset}, {shots}-shot"
        try:
            summary = accuracy.ask_all(config, progress)
        except _LACKING as error:
            notes.append(f"{what} was not run: {' '.join(str(error).split())}")
            continue
        if summary.interrupted:
            raise KeyboardInterrupt
        cells.append(summary.cell)
        if summary.first_error:
            notes.append(f"{what}, first error: {summary.first_error}")
    if not cells:
        raise DataError("; ".join(notes))
    return outcomes.Quizzed({"cells": [asdict(cell.quiz) for cell in cells]}, tuple(notes), tuple(cells))


def _filled(section: Section, experiment: Experiment, outcome: outcomes.Outcome | str, folder: Path) -> Section:
    if isinstance(outcome, str):
        return replace(section, missing=outcome)
    failed: tuple[str, ...] = ()
    try:
        figures = outcome.draw(experiment, folder)
    except (DataError, SampleError) as error:
        figures, failed = {}, (f"No figure: {error}",)
    undrawn = [name for name in experiment.figures if name not in figures]
    if undrawn and not failed:
        failed = (f"Rows of this run cannot be drawn as {', '.join(undrawn)}.",)
    return replace(
        section,
        tables=outcome.tables(experiment),
        figures=figures,
        verdicts=outcome.verdicts(experiment),
        notes=(*experiment.readings, *outcome.notes, *failed),
        manifest=outcome.manifest,
    )


def _load(name: str, request: Request) -> ModelAdapter:
    model = load_model(request.text_model or name, device=request.device)
    model.probe()
    return model


def _finished(summary: RunSummary) -> RunSummary:
    """The summary of a run that was not stopped and has values.

    Raises:
        KeyboardInterrupt: It was stopped.
        DataError: Every explanation failed.
    """
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.n_computed and not summary.reused and not summary.computed.get(Status.OK):
        raise DataError(f"every explanation failed: {summary.first_error}")
    return summary


def _notes(summary: RunSummary) -> tuple[str, ...]:
    notes = []
    if summary.skipped:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in summary.skipped.items())
        notes.append(f"Skipped samples: {reasons}.")
    if summary.first_error:
        notes.append(f"First error: {summary.first_error}")
    return tuple(notes)


def _with_environment(manifest: dict[str, Any], summary: RunSummary) -> dict[str, Any]:
    """A manifest with the environment that the run's first cell was stored in."""
    stored = summary.cells[0].manifest
    return {**manifest, "created": stored["created"], "environment": stored["environment"]}


def _environment(run: Sentence | Steering | Documents | Examples, model: ModelAdapter) -> dict[str, Any]:
    about = environment(device=str(model.device), threads=torch.get_num_threads())
    return {**asdict(run), "model": model.name, "model_hash": model.content_hash, "environment": about}
