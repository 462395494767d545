"""Runs the paper's experiments: what is missing of each, and then its tables, figures and the fate of its claims.

All runs of a preset share one results folder and are stored as their own commands store them, so a run that was stopped
goes on where it was, and equal runs of several experiments are run once.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from atman_bench import api, docqa, outcomes, runner, scale, steering, sweep
from atman_bench.config import RunConfig, load_config
from atman_bench.datasets import _documents
from atman_bench.datasets._base import Modality
from atman_bench.errors import ConfigError, DataError, ModelError, SampleError, UnknownNameError
from atman_bench.experiments import EXPERIMENTS
from atman_bench.experiments._base import (
    Costs,
    Documents,
    Evaluation,
    Experiment,
    Grid,
    Preset,
    Run,
    Sentence,
    Steering,
)
from atman_bench.models import MODELS
from atman_bench.models._base import ModelAdapter
from atman_bench.profiling.devices import find_device
from atman_bench.records import Status
from atman_bench.report import page, sweeps
from atman_bench.report.page import Section
from atman_bench.report.scaling import frame_of as frame_of_costs
from atman_bench.report.tables import frame_of
from atman_bench.runner import RunSummary
from atman_bench.store import environment

ALL = "all"
"""Names every experiment."""

DEVICE = "A100-80GB"
"""What the time of the preset paper is predicted for."""

_TARGETS, _BEYOND_UNITS = 3, 16
"""Tokens of a typical target, and of a prompt beyond its units."""

_NEED_FOLDERS = frozenset({"openimages", "gqa", "ccp", "caltech101"})
"""Datasets that read a folder of the user's."""


@dataclass(frozen=True)
class Request:
    """What ``atman-bench reproduce`` is told.

    Attributes:
        preset: How much of the paper.
        results: Folder of the results.
        data: Dataset -> where it is.
        text_model: Replaces the preset's model of texts.
        image_model: Replaces the preset's model of pictures.
        device: A torch device, or None for CUDA where there is one.
    """

    preset: Preset
    results: Path
    data: Mapping[str, str] = field(default_factory=dict)
    text_model: str | None = None
    image_model: str | None = None
    device: str | None = None

    def command(self, name: str) -> str:
        """What makes an experiment's section again."""
        parts = ["atman-bench", "reproduce", name, "--preset", self.preset.value, "--results", str(self.results)]
        for dataset, path in self.data.items():
            parts += ["--data", f"{dataset}={path}"]
        for flag in ("text_model", "image_model", "device"):
            if (value := getattr(self, flag)) is not None:
                parts += [f"--{flag.replace('_', '-')}", value]
        return shlex.join(parts)


@dataclass(frozen=True)
class Plan:
    """What would be run for one experiment.

    Attributes:
        name: Of the experiment.
        title: What it shows.
        what: Model, data and size in words, or why nothing is run.
        cells: Methods or grid points.
        needs: Downloads and files.
        weights_bytes: Memory that the model's weights take, where its size is known.
        device_hours: At least so many hours on ``DEVICE`` at its peak rate, where that can be said.
    """

    name: str
    title: str
    what: str
    cells: int = 0
    needs: tuple[str, ...] = ()
    weights_bytes: float | None = None
    device_hours: float | None = None


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


def plan(name: str, request: Request) -> Plan:
    """Check everything that an experiment would be run with, without loading weights or data.

    Raises:
        UnknownNameError: A model family, dataset, method or option does not exist.
        ConfigError: A value is impossible.
    """
    experiment = EXPERIMENTS.get(name)
    run = experiment.runs.get(request.preset)
    if run is None:
        return Plan(name, experiment.title, f"nothing: {experiment.left_out[request.preset]}")
    planned = Plan(name, experiment.title, "")
    match run:
        case Evaluation() | Grid():
            config = evaluation_of(run, request) if isinstance(run, Evaluation) else sweep_of(run, request).config
            MODELS.get(config.model_name.partition(":")[0])
            samples = config.limit or (run.samples if isinstance(run, Evaluation) else None)
            what = f"{config.model_name} on {config.dataset}, {samples or 'all'} samples"
            planned = replace(planned, what=what, cells=len(config.cells), needs=_needs(config))
            return _predicted(planned, config, run, samples)
        case Costs():
            costs = costs_of(run, request)
            what = f"{', '.join(costs.models)} at {', '.join(map(str, costs.tokens))} tokens"
            return replace(planned, what=what, cells=len(costs.cells))
        case Sentence() | Steering() | Documents():
            model = request.text_model or run.model
            MODELS.get(model.partition(":")[0])
            return replace(planned, what=f"{model}, one text", cells=1, needs=_model_needs(model, None))


def evaluation_of(run: Evaluation, request: Request) -> RunConfig:
    """The resolved configuration of an evaluation.

    Raises:
        UnknownNameError: See ``config.load_config``.
        ConfigError: See ``config.load_config``.
    """
    config = load_config(run.config, {**run.options, "results": request.results}, ())
    return load_config(run.config, {**run.options, **_replaced(config, request), "results": request.results}, ())


def sweep_of(run: Grid, request: Request) -> sweep.Sweep:
    """The resolved configuration of a sweep.

    Raises:
        UnknownNameError: See ``sweep.load_sweep``.
        ConfigError: See ``sweep.load_sweep``.
    """
    axes = [f"{path}={json.dumps(values)}" for path, values in run.axes.items()]
    known = sweep.load_sweep(run.config, {**run.options, "results": request.results}, (), axes)
    options = {**run.options, **_replaced(known.run, request), "results": request.results}
    return sweep.load_sweep(run.config, options, (), axes)


def costs_of(run: Costs, request: Request) -> scale.ScaleConfig:
    """The resolved configuration of costs; their rows are in a folder of their own.

    Raises:
        UnknownNameError: See ``scale.load_scale_config``.
        ConfigError: See ``scale.load_scale_config``.
    """
    return scale.load_scale_config(run.config, {**run.options, "results": request.results / "costs"})


def _try(run: Run, request: Request, progress: runner.Progress) -> outcomes.Outcome | str:
    """What a run gave, or why it could not be run."""
    try:
        return _run(run, request, progress)
    except (ConfigError, DataError, ModelError, SampleError) as error:
        return " ".join(str(error).split())


def _run(run: Run, request: Request, progress: runner.Progress) -> outcomes.Outcome:
    match run:
        case Evaluation():
            config = evaluation_of(run, request)
            summary = _finished(runner.evaluate(config, progress))
            rows = [row for cell in summary.cells for row in cell.rows() if row.sign == config.sign]
            manifest = _with_environment(outcomes.manifest_of(summary, config), summary)
            return outcomes.Evaluated(manifest, _notes(summary), config, frame_of(rows), summary.cells)
        case Grid():
            grid = sweep_of(run, request)
            summary = _finished(runner.evaluate(grid.config, progress))
            frame = grid.frame(summary, holdout=True)
            manifest = _with_environment(outcomes.manifest_of(summary, grid.run), summary)
            return outcomes.Swept(manifest, (*sweeps.describe(frame), *_notes(summary)), frame)
        case Costs():
            costs = costs_of(run, request)
            measured = scale.run(costs, progress)
            if measured.interrupted:
                raise KeyboardInterrupt
            notes = tuple(f"{row.model}, {row.tokens} tokens: {row.error}" for row in measured.rows if row.error)
            manifest = {"options": json.loads(json.dumps(asdict(costs), default=str))}
            if measured.rows:
                manifest["environment"] = measured.rows[0].environment
            return outcomes.Costed(manifest, notes, frame_of_costs(measured.rows, extrapolate=costs.extrapolate))
        case Sentence():
            model = _load(run.model, request)
            explanation = api.explain(model, prompt=run.prompt, target=run.target)
            return outcomes.Lost(_environment(run, model), (), run.prompt, run.evidence, model.name, explanation)
        case Steering():
            model = _load(run.model, request)
            steered = tuple(
                (word, factor, steering.steer(model, run.prompt, [steering.Change(word, factor)], topics=run.words))
                for word in run.words
                for factor in run.factors
            )
            return outcomes.Written(_environment(run, model), (), model.name, steered)
        case Documents():
            model = _load(run.model, request)
            source = _documents.example(_documents.Example(run.example))
            options = docqa.DocumentOptions(source.template)
            answers = tuple(docqa.ask(model, source.text, question, options) for question in source.questions)
            return outcomes.Answered(_environment(run, model), (), model.name, source.text, answers)


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


def _replaced(config: RunConfig, request: Request) -> dict[str, Any]:
    """The fields of a run that the request decides instead of the preset."""
    models = {Modality.TEXT: request.text_model, Modality.IMAGE: request.image_model}
    fields = {
        "model": models[config.modality],
        "data": request.data.get(config.dataset),
        "device": request.device,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _load(name: str, request: Request) -> ModelAdapter:
    model = api.load_model(request.text_model or name, device=request.device)
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
    stored = json.loads((summary.cells[0].folder / "manifest.json").read_bytes())
    return {**manifest, "created": stored["created"], "environment": stored["environment"]}


def _environment(run: Sentence | Steering | Documents, model: ModelAdapter) -> dict[str, Any]:
    about = environment(device=str(model.device), threads=torch.get_num_threads())
    return {**asdict(run), "model": model.name, "model_hash": model.content_hash, "environment": about}


def _needs(config: RunConfig) -> tuple[str, ...]:
    """Downloads and files of a run."""
    needs = list(_model_needs(config.model_name, config.revision))
    data = getattr(config.dataset_options, "data", None)
    if config.dataset in _NEED_FOLDERS and data is None:
        needs.append(f"--data {config.dataset}=FOLDER")
    elif data is not None and not Path(data).exists():
        needs.append(f"download of the data set {data} from the hub")
    return tuple(needs)


def _model_needs(model: str, revision: str | None) -> tuple[str, ...]:
    family, _, argument = model.partition(":")
    path = argument.partition(",")[0]
    match family.replace("-", "_"):
        case "hf" | "blip" if not Path(path).exists():
            return (f"download of {path}{f' (revision {revision})' if revision else ''} from the hub",)
        case "magma" if not Path(path).exists():
            return (f"the checkpoint {path}: --image-model magma:FILE,noln",)
        case "photo_magma":
            return ("atman-bench models pull vit-s14-saliency",)
    return ()


def _predicted(planned: Plan, config: RunConfig, run: Evaluation | Grid, samples: int | None) -> Plan:
    """A plan with memory and time, for runs that say how large their model is.

    Two operations a parameter and position, in every pass that the methods' specifications announce: what no run can
    be faster than. ``atman-bench scale --simulate`` says more.
    """
    if run.parameters is None:
        return planned
    size = {"float32": 4, "float16": 2, "bfloat16": 2}[config.dtype.value]
    planned = replace(planned, weights_bytes=size * run.parameters)
    if samples is None:
        return planned
    passes = samples * sum(cell.spec.forwards(run.units, _TARGETS, cell.options) for cell in config.cells)
    operations = 2 * run.parameters * passes * (run.units + _BEYOND_UNITS + _TARGETS)
    rate = find_device(DEVICE).flops[config.dtype.value]
    return replace(planned, device_hours=operations / rate / 3600)
