"""How runs are configured from a preset and a request, and what they would take."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from atman_bench.core.records import Modality
from atman_bench.evaluation.config import MethodCell, RunConfig
from atman_bench.evaluation.scoring import dataset_label
from atman_bench.models import MODELS
from atman_bench.models._names import family_and_argument
from atman_bench.paper.kinds._base import Plan, Request
from atman_bench.profiling.devices import find_device
from atman_bench.profiling.predict import forward_positions

Config = TypeVar("Config")

DEVICE = "A100-80GB"
"""What the time of the preset paper is predicted for."""

_TARGETS, BEYOND_UNITS = 3, 16
"""Tokens of a typical target, and of a prompt beyond its units."""

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number."""

_NEED_FOLDERS = frozenset({"openimages", "gqa", "ccp", "caltech101", "vqav2", "okvqa"})
"""Datasets that read a folder of the user's."""


@dataclass(frozen=True)
class Size:
    """What the time of a run is predicted from.

    Attributes:
        parameters: Of the model.
        units: Explained units of a typical sample.
    """

    parameters: float
    units: int


def configured(
    load: Callable[[Mapping[str, Any]], Config],
    run_of: Callable[[Config], RunConfig],
    options: Mapping[str, Any],
    request: Request,
) -> Config:
    """A configuration with the fields that the request decides instead of the preset.

    Args:
        load: Makes it of fields of ``RunConfig``; its errors are raised.
        run_of: The run in it, whose dataset says which of the request's models and data are meant.
        options: Fields of the preset.
        request: What the user said.
    """
    fields = {**options, "results": request.results}
    run = run_of(load(fields))
    models = {Modality.TEXT: request.text_model, Modality.IMAGE: request.image_model}
    asked = {"model": models[run.modality], "data": request.data.get(run.dataset), "device": request.device}
    return load({**fields, **{name: value for name, value in asked.items() if value is not None}})


def planned(
    name: str, run: RunConfig, samples: int | None = None, size: Size | None = None, methods: str | None = None
) -> Plan:
    """The plan of an evaluation.

    Args:
        name: What the plan is called.
        run: Its configuration.
        samples: How many there are where the run has no limit, or None where that is not known.
        size: What memory and time are predicted from, if they are: two operations a parameter and position, at the
            device's peak rate. ``atman-bench scale --simulate`` says more.
        methods: Its methods in words; None lists them, each with its forward passes for a sample where a size is given.

    Raises:
        UnknownNameError: No such model family.
    """
    check_family(run.model_name)
    samples = run.limit or samples
    forwards = [cell.spec.forwards(size.units, _TARGETS, cell.options) if size else 0 for cell in run.cells]
    plan = Plan(
        name,
        f"{run.model_name} on {run.dataset}, {samples or 'all'} samples",
        details=(
            ("data", data_in_words(run, samples)),
            ("model", model_in_words(run, size.parameters if size else None)),
            ("methods", methods or "; ".join(map(_method_in_words, run.cells, forwards))),
            ("scores", f"sign rule {run.sign.value}, seed {run.seed}"),
        ),
        cells=len(run.cells),
        needs=needs(run),
    )
    if size is None:
        return plan
    plan = replace(plan, weights_bytes=weights_bytes(run, size.parameters))
    if samples is None:
        return plan
    length = size.units + BEYOND_UNITS + _TARGETS
    passes = sum(forwards)
    reused = sum(forward_positions(cell.method, cell.options, length, size.units, _TARGETS) for cell in run.cells)
    family, argument = family_and_argument(run.model_name)
    peaks = f"atman-bench plan {argument} --tokens {length} --dtype {run.dtype.value}"
    typical = f"{size.units} explained units, {BEYOND_UNITS} further tokens and a target of {_TARGETS}"
    return replace(
        plan,
        details=(
            *plan.details,
            ("a sample", f"taken to have {typical}: {passes:,.0f} forward passes"),
            *([("peaks", f"memory of each method: {peaks}")] if family == "hf" else []),
        ),
        passes=samples * passes,
        device_hours=(
            hours(run, size.parameters, samples * reused),
            hours(run, size.parameters, samples * passes * length),
        ),
    )


def hours(run: RunConfig, parameters: float, positions: float) -> float:
    """Hours for so many positions at the peak rate of ``DEVICE``: two operations a parameter and position."""
    return 2 * parameters * positions / find_device(DEVICE).flops[run.dtype.value] / 3600


def data_in_words(run: RunConfig, samples: int | None) -> str:
    """Dataset, how many of its samples, and every option that chooses or changes them."""
    count = f"all {samples:,} samples" if samples else "all samples"
    if run.limit:
        count = f"{run.limit:,} samples, chosen by seed {run.seed}"
    filters = {"named": run.named, "max_tokens": run.max_tokens}
    options = {name: value for name, value in filters.items() if value is not None} | asdict(run.dataset_options)
    options.pop("data", None)  # where they lie is among the needs
    words = ", ".join(f"{name}={_value(value)}" for name, value in options.items())
    return f"{dataset_label(run.dataset, run.dataset_options)}, {count}: {words}"


def model_in_words(run: RunConfig, parameters: float | None = None) -> str:
    """Name, revision, type and size of a model."""
    revision = f" (revision {run.revision})" if run.revision else ""
    size = f", {parameters / 1e9:.3g}B parameters" if parameters else ""
    return f"{run.model_name}{revision}, {run.dtype.value}{size}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else repr(value) if type(value) is str else str(value)


def _method_in_words(cell: MethodCell, forwards: float) -> str:
    """``atman:paper = shifted-min-all-kappa0.7 (145 passes)``."""
    variant = "" if cell.variant in ("default", cell.name.partition(":")[2]) else f" = {cell.variant}"
    return f"{cell.name}{variant}" + (f" ({forwards:,.0f} passes)" if forwards else "")


def weights_bytes(run: RunConfig, parameters: float) -> float:
    """Memory of a model's weights."""
    return _WIDTHS[run.dtype.value] * parameters


def check_family(model: str) -> None:
    """Refuse a model of a family that does not exist.

    Raises:
        UnknownNameError: See above.
    """
    MODELS.get(family_and_argument(model)[0])


def needs(run: RunConfig) -> tuple[str, ...]:
    """Downloads and files of a run."""
    data = getattr(run.dataset_options, "data", None)
    of_data: tuple[str, ...] = ()
    if run.dataset in _NEED_FOLDERS and data is None:
        of_data = (f"--data {run.dataset}=FOLDER",)
    elif data is not None and not Path(data).exists():
        of_data = (f"download of the data set {data} from the hub",)
    return *model_needs(run.model_name, run.revision), *of_data


def model_needs(model: str, revision: str | None = None) -> tuple[str, ...]:
    """Downloads and files of a model."""
    family, argument = family_and_argument(model)
    path = argument.partition(",")[0]
    match family.replace("-", "_"):
        case "hf" | "blip" if not Path(path).exists():
            return (f"download of {path}{f' (revision {revision})' if revision else ''} from the hub",)
        case "magma" if not Path(path).exists():
            return (f"the checkpoint {path}: --image-model magma:FILE,noln",)
        case "photo_magma":
            return ("atman-bench models pull vit-s14-saliency",)
    return ()
