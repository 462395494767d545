"""``atman-bench doctor``: what this machine has, and whether a model can be explained on it."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo

_PACKAGES = ("atman-bench", "torch", "transformers", "captum", "numpy")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "doctor",
        epilog=_options.examples(
            "atman-bench doctor",
            "atman-bench doctor -m HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
    )(doctor)


@_options.flags(**_options.LOADING)
def doctor(flags: dict[str, Any]) -> None:
    """Show the environment and the devices; with --model also how edits get into its attention, and if they work."""
    import atman_bench

    _show(_environment())
    _show(_devices())
    if "model" not in flags:
        return
    adapter = atman_bench.load_model(flags.pop("model"), **flags)
    report = adapter.probe()
    _show([("model", adapter.name), ("attention", f"{report.path}, {report.layers} layers")])
    _show(("probe", detail) for detail in report.details)
    echo("The probe passes: this model can be explained.")


def _show(facts: Iterable[tuple[str, str]]) -> None:
    for name, value in facts:
        echo(f"{name:<13} {value}")


def _environment() -> Iterator[tuple[str, str]]:
    """Yield versions, threads and memory."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    yield "python", f"{platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed (run from its source folder)"
    yield "threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"
    if "SC_PHYS_PAGES" in os.sysconf_names:
        yield "memory", _gib(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _devices() -> Iterator[tuple[str, str]]:
    """Yield what models can run on, and whether the driver's own memory counters can be read."""
    import torch

    yield "cpu", "available"
    if not torch.cuda.is_available():
        yield "cuda", "not available" if torch.version.cuda else "not available: this torch is built without CUDA"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{properties.name}, {_gib(properties.total_memory)}"
    yield "nvml", _nvml()


def _nvml() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"not available: {error}"
    try:
        return f"driver {pynvml.nvmlSystemGetDriverVersion()}, {pynvml.nvmlDeviceGetCount()} devices"
    except pynvml.NVMLError as error:
        return f"not available: {error}"
    finally:
        pynvml.nvmlShutdown()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
