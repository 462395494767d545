"""What ``atman-bench reproduce`` is told, what each run of an experiment is configured with, and what it would take."""

import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atman_bench.core.records import Modality
from atman_bench.evaluation import accuracy, sweep
from atman_bench.evaluation.config import RunConfig, load_config
from atman_bench.models import MODELS
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import (
    Accuracy,
    Chunks,
    Comparison,
    Costs,
    Documents,
    Evaluation,
    Examples,
    Grid,
    Preset,
    Run,
    Sentence,
    Steering,
)
from atman_bench.profiling import grid
from atman_bench.profiling.devices import find_device

DEVICE = "A100-80GB"
"""What the time of the preset paper is predicted for."""

_TARGETS, _BEYOND_UNITS = 3, 16
"""Tokens of a typical target, and of a prompt beyond its units."""

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number."""

_LONGEST_ANSWER = 16
"""Tokens."""

_NEED_FOLDERS = frozenset({"openimages", "gqa", "ccp", "caltech101", "vqav2", "okvqa"})
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
        parts: Its runs, where it has several.
    """

    name: str
    title: str
    what: str
    cells: int = 0
    needs: tuple[str, ...] = ()
    weights_bytes: float | None = None
    device_hours: float | None = None
    parts: tuple["Plan", ...] = ()


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
    return _planned(Plan(name, experiment.title, ""), run, request)


def _planned(planned: Plan, run: Run, request: Request) -> Plan:
    match run:
        case Evaluation() | Grid():
            config = evaluation_of(run, request) if isinstance(run, Evaluation) else sweep_of(run, request).config
            MODELS.get(config.model_name.partition(":")[0])
            samples = config.limit or (run.samples if isinstance(run, Evaluation) else None)
            what = f"{config.model_name} on {config.dataset}, {samples or 'all'} samples"
            planned = replace(planned, what=what, cells=len(config.cells), needs=_needs(config))
            return _predicted(planned, config, run, samples)
        case Chunks():
            return _planned(planned, run.tokens, request)
        case Comparison():
            asked = requests_of(run, request)
            parts = [_planned(Plan(name, name, ""), side, asked[name]) for name, side in run.sides.items()]
            return _together(planned, parts)
        case Accuracy():
            quizzes = itertools.product(run.quizzes, run.shots)
            return _together(planned, [_planned_quiz(run, quiz, shots, request) for quiz, shots in quizzes])
        case Examples():
            config = evaluation_of(Evaluation(run.options), request)
            MODELS.get(config.model_name.partition(":")[0])
            what = f"{config.model_name} on {config.dataset}, {len(run.examples)} samples"
            return replace(planned, what=what, cells=len(config.cells), needs=_needs(config))
        case Costs():
            costs = costs_of(run, request)
            what = f"{', '.join(costs.models)} at {', '.join(map(str, costs.tokens))} tokens"
            return replace(planned, what=what, cells=len(costs.cells))
        case Sentence() | Steering() | Documents():
            model = request.text_model or run.model
            MODELS.get(model.partition(":")[0])
            return replace(planned, what=f"{model}, one text", cells=1, needs=_model_needs(model, None))


def _planned_quiz(run: Accuracy, quiz: Mapping[str, Any], shots: int, request: Request) -> Plan:
    config = quiz_of(quiz, shots, request).run
    MODELS.get(config.model_name.partition(":")[0])
    name = f"{config.dataset}, {shots}-shot"
    what = f"{config.model_name} on {config.dataset}, {config.limit or 'all'} questions, {shots}-shot"
    weights = None if run.parameters is None else _WIDTHS[config.dtype.value] * run.parameters
    return Plan(name, name, what, cells=1, needs=_needs(config), weights_bytes=weights)


def _together(planned: Plan, parts: Sequence[Plan]) -> Plan:
    """A plan of several parts: one model is loaded at a time."""
    return replace(
        planned,
        what=f"{len(parts)} runs",
        cells=sum(part.cells for part in parts),
        needs=tuple(dict.fromkeys(need for part in parts for need in part.needs)),
        weights_bytes=max((part.weights_bytes for part in parts if part.weights_bytes), default=None),
        device_hours=sum(part.device_hours or 0 for part in parts) or None,
        parts=tuple(parts),
    )


def requests_of(run: Comparison, request: Request) -> dict[str, Request]:
    """What each side of a comparison is told: a model of the user's replaces the first side's, wherever that occurs."""
    others = replace(request, text_model=None, image_model=None)
    models = {name: evaluation_of(side, others).model_name for name, side in run.sides.items()}
    first = next(iter(models.values()))
    return {name: request if model == first else others for name, model in models.items()}


def quiz_of(quiz: Mapping[str, Any], shots: int, request: Request) -> accuracy.AccuracyConfig:
    """The resolved configuration of questions to be answered.

    Raises:
        UnknownNameError: See ``accuracy.load_accuracy_config``.
        ConfigError: See ``accuracy.load_accuracy_config``.
    """
    known = accuracy.load_accuracy_config(quiz, (), shots, _LONGEST_ANSWER)
    flags = {**quiz, **_replaced(known.run, request), "results": request.results}
    return accuracy.load_accuracy_config(flags, (), shots, _LONGEST_ANSWER)


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


def costs_of(run: Costs, request: Request) -> grid.ScaleConfig:
    """The resolved configuration of costs; their rows are in a folder of their own.

    Raises:
        UnknownNameError: See ``grid.load_scale_config``.
        ConfigError: See ``grid.load_scale_config``.
    """
    return grid.load_scale_config(run.config, {**run.options, "results": request.results / "costs"})


def _replaced(config: RunConfig, request: Request) -> dict[str, Any]:
    """The fields of a run that the request decides instead of the preset."""
    models = {Modality.TEXT: request.text_model, Modality.IMAGE: request.image_model}
    fields = {
        "model": models[config.modality],
        "data": request.data.get(config.dataset),
        "device": request.device,
    }
    return {name: value for name, value in fields.items() if value is not None}


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
    planned = replace(planned, weights_bytes=_WIDTHS[config.dtype.value] * run.parameters)
    if samples is None:
        return planned
    passes = samples * sum(cell.spec.forwards(run.units, _TARGETS, cell.options) for cell in config.cells)
    operations = 2 * run.parameters * passes * (run.units + _BEYOND_UNITS + _TARGETS)
    rate = find_device(DEVICE).flops[config.dtype.value]
    return replace(planned, device_hours=operations / rate / 3600)
