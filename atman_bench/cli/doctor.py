"""``atman-bench doctor``: what this machine has, and whether a model can be explained on it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo

_PACKAGES = ("atman-bench", "torch", "transformers", "captum", "numpy")

_HALF_UNITS = {
    "bfloat16": {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "sve_bf16": "SVE", "bf16": "NEON"},
    "float16": {"amx_fp16": "AMX", "avx512_fp16": "AVX-512", "fp16_arith": "NEON"},
}
"""Type -> what torch calls the units of processors that multiply it, and what they are called, the fastest first."""


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

    yield "cpu", f"available, vectors of {torch.backends.cpu.get_cpu_capability()}"
    if hasattr(torch.cpu, "get_capabilities"):  # torch 2.9 does not tell
        for dtype, said in half_precision(torch.cpu.get_capabilities()):
            yield f"cpu {dtype}", said
    if not torch.cuda.is_available():
        yield "cuda", "not available" if torch.version.cuda else "not available: this torch is built without CUDA"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{properties.name}, {_gib(properties.total_memory)}"
    yield "nvml", _nvml()


def half_precision(capabilities: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a processor multiplies half-precision numbers with, for each type.

    Args:
        capabilities: Of ``torch.cpu.get_capabilities``.
    """
    for dtype, units in _HALF_UNITS.items():
        found = next((name for unit, name in units.items() if capabilities.get(unit)), None)
        none = "no instructions for it: slower than float32"
        yield dtype, none if found is None else f"multiplied by {found}: --dtype {dtype} saves memory and time"


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
