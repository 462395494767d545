"""How runs are configured from a preset and a request, and what they would take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from atman_bench.core.records import Modality
from atman_bench.evaluation.config import RunConfig
from atman_bench.models import MODELS
from atman_bench.paper.kinds._base import Plan, Request
from atman_bench.profiling.devices import find_device
from atman_bench.profiling.predict import forward_positions

Config = TypeVar("Config")

DEVICE = "A100-80GB"
"""What the time of the preset paper is predicted for."""

_TARGETS, _BEYOND_UNITS = 3, 16
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


def planned(name: str, run: RunConfig, samples: int | None = None, size: Size | None = None) -> Plan:
    """The plan of an evaluation.

    Args:
        name: What the plan is called.
        run: Its configuration.
        samples: How many there are where the run has no limit, or None where that is not known.
        size: What memory and time are predicted from, if they are: two operations a parameter and position, at the
            device's peak rate. ``atman-bench scale --simulate`` says more.

    Raises:
        UnknownNameError: No such model family.
    """
    check_family(run.model_name)
    samples = run.limit or samples
    what = f"{run.model_name} on {run.dataset}, {samples or 'all'} samples"
    plan = Plan(name, what, cells=len(run.cells), needs=needs(run))
    if size is None:
        return plan
    plan = replace(plan, weights_bytes=weights_bytes(run, size.parameters))
    if samples is None:
        return plan
    length = size.units + _BEYOND_UNITS + _TARGETS
    whole = sum(cell.spec.forwards(size.units, _TARGETS, cell.options) for cell in run.cells) * length
    reused = sum(forward_positions(cell.method, cell.options, length, size.units, _TARGETS) for cell in run.cells)
    rate = find_device(DEVICE).flops[run.dtype.value]
    low, high = (2 * size.parameters * samples * positions / rate / 3600 for positions in (reused, whole))
    return replace(plan, device_hours=(low, high))


def weights_bytes(run: RunConfig, parameters: float) -> float:
    """Memory of a model's weights."""
    return _WIDTHS[run.dtype.value] * parameters


def check_family(model: str) -> None:
    """Refuse a model of a family that does not exist.

    Raises:
        UnknownNameError: See above.
    """
    MODELS.get(model.partition(":")[0])


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
