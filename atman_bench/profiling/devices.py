"""Devices that costs are simulated for: four numbers each, from data sheets."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from atman_bench.core.errors import ConfigError, UnknownNameError, one_line
from atman_bench.core.texts import parse_yaml


@dataclass(frozen=True, kw_only=True)
class Device:
    """What the roofline model knows of a device.

    Attributes:
        name: What tables call it.
        memory: Bytes that a process can allocate.
        bandwidth: Bytes per second between the memory and the compute units.
        flops: Operations per second of matrix products, by name of the dtype (``bfloat16``).
        overhead: Seconds that the smallest operation takes: a kernel's launch.
    """

    name: str
    memory: float
    bandwidth: float
    flops: Mapping[str, float]
    overhead: float = 5e-6

    def seconds(self, flops: float, moved: float, dtype: str) -> float:
        """Roofline time of one operation: its arithmetic, its memory traffic or its launch, whichever is longest."""
        return max(flops / self.flops[dtype], moved / self.bandwidth, self.overhead)


def _gpu(name: str, memory_gib: float, bandwidth: float, half: float, single: float) -> Device:
    """A GPU; float32 without TF32, as torch multiplies by default."""
    flops = {"float16": half, "bfloat16": half, "float32": single}
    return Device(name=name, memory=memory_gib * 2**30, bandwidth=bandwidth, flops=flops)


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        # Memory is what torch reports as total, less half a GiB for the CUDA context. Dense rates, SXM boards.
        _gpu("A100-80GB", 78.6, 2.039e12, 312e12, 19.5e12),
        _gpu("H100-80GB", 78.6, 3.35e12, 989e12, 67e12),
        _gpu("H200", 139.3, 4.8e12, 989e12, 67e12),
        _gpu("RTX4090", 23.0, 1.008e12, 165e12, 82.6e12),
        # Rates of two server cores with AVX-512 and AMX, measured by a large product and a large copy.
        Device(
            name="cpu-24GB",
            memory=24e9,
            bandwidth=25e9,
            flops={"float16": 9e10, "bfloat16": 2.5e11, "float32": 9e10},
            overhead=3e-6,
        ),
    )
}


def find_device(name: str) -> Device:
    """A known device, or one that a YAML file describes.

    Args:
        name: Key of ``DEVICES`` (case and spaces do not matter), or path of a file with ``memory`` (bytes),
            ``bandwidth`` (bytes per second) and ``flops`` (per dtype), and optionally ``name`` and ``overhead``.

    Raises:
        UnknownNameError: Neither a device nor a file.
        ConfigError: The file does not describe a device.
    """
    keys = {key.lower(): device for key, device in DEVICES.items()}
    if (device := keys.get(name.lower().replace(" ", ""))) is not None:
        return device
    path = Path(name).expanduser()
    if path.suffix not in {".yaml", ".yml"}:
        raise UnknownNameError("device", name, [*DEVICES, "FILE.yaml"])
    return _read(path)


def _read(path: Path) -> Device:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"device file {path} cannot be read: {one_line(error)}") from error
    known = {f.name for f in fields(Device)}
    if not isinstance(content, dict) or not {"memory", "bandwidth", "flops"} <= content.keys() <= known:
        received = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ConfigError(
            f"device file {path}: expected memory, bandwidth and flops, and optionally name and overhead; "
            f"received {received or 'nothing'}"
        )
    flops = content["flops"]
    if not isinstance(flops, dict) or not flops:
        raise ConfigError(
            f"device file {path}: flops are operations per second by dtype, such as {{bfloat16: 312e12}}; "
            f"received {flops!r}"
        )
    return Device(
        name=str(content.get("name", path.stem)),
        memory=_positive(path, "memory", content["memory"]),
        bandwidth=_positive(path, "bandwidth", content["bandwidth"]),
        flops={str(dtype): _positive(path, f"flops.{dtype}", rate) for dtype, rate in flops.items()},
        overhead=_positive(path, "overhead", content.get("overhead", 5e-6)),
    )


def _positive(path: Path, key: str, value: Any) -> float:
    """A positive number; YAML 1.1 reads ``312e12`` as a string."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ConfigError(f"device file {path}: {key} must be a positive number, received {value!r}")
    return number
