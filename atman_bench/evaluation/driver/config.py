"""How many workers a run has, where they are, and what each of them gets."""

import os
from dataclasses import dataclass

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import check_count
from atman_bench.evaluation.driver.local import CUDA_VARIABLE, LocalPool
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.pool import Pool
from atman_bench.evaluation.driver.ray_pool import RayPool

MOST_WORKERS = 10_000
"""Workers of a run, or CPUs of a worker, that can still be meant."""


@dataclass(frozen=True)
class WorkersConfig:
    """The options of commands that can run on many workers.

    Attributes:
        workers: How many; None as many as a Ray cluster has room for.
        ray: Address of a Ray cluster, None for processes of this machine.
        gpus_per_worker: GPUs of each; several share a model that is too large for one, and a share of one means that
            several workers share it. None takes one where there are any and the run does not ask for another device.
        cpus_per_worker: CPUs of each, and threads of its tensor library: the same for any number of workers, since sums
            depend on it.
        item_timeout: Seconds that a sample may take, None without a bound.
        split_perturbations: Whether workers share the perturbations of each sample, where a method lists them.
    """

    workers: int | None = None
    ray: str | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int = 1
    item_timeout: float | None = None
    split_perturbations: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            ConfigError: See above.
        """
        if self.workers is None and self.ray is None:
            raise ConfigError("options of workers are for runs on workers: give --workers N or --ray too")
        check_count("workers", self.workers, most=MOST_WORKERS)
        check_count("cpus_per_worker", self.cpus_per_worker, most=MOST_WORKERS)
        if self.gpus_per_worker is not None and not self.gpus_per_worker >= 0:
            raise ConfigError(f"gpus_per_worker must be at least 0, received {self.gpus_per_worker:g}")
        if self.gpus_per_worker is not None and self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ConfigError(
                f"gpus_per_worker must be a whole number, or a share of one GPU, received {self.gpus_per_worker:g}"
            )
        if self.item_timeout is not None and not self.item_timeout > 0:
            raise ConfigError(f"item_timeout must be more than 0 seconds, received {self.item_timeout:g}")


def driver_of(config: WorkersConfig, device: str | None) -> Driver:
    """A driver, whose workers start when they are needed.

    Args:
        config: How many workers, and where.
        device: The torch device that the run asks for.

    Raises:
        ConfigError: Ray is not installed, or there are too few devices.
        WorkerError: There is no Ray cluster at the address.
    """
    return Driver(_pool(config, device), config.item_timeout)


def _pool(config: WorkersConfig, device: str | None) -> Pool:
    kind, _, index = (device or "cuda").partition(":")
    if kind == "cuda" and index:
        raise ConfigError(
            f"device {device} names one GPU, and workers are given theirs: say cuda, and set CUDA_VISIBLE_DEVICES to "
            f"{index} to leave the others out"
        )
    gpus = config.gpus_per_worker if kind == "cuda" else 0.0
    if config.ray is not None:
        return RayPool(config.ray, config.workers, config.cpus_per_worker, gpus)
    size, visible = config.workers or 1, visible_gpus() if kind == "cuda" else []
    if gpus is None:
        gpus = 1.0 if visible else 0.0
    return LocalPool(size, config.cpus_per_worker, shares_of(visible, size, gpus))


def visible_gpus() -> list[str]:
    """The GPUs of this machine that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if (inherited := os.environ.get(CUDA_VARIABLE)) is not None:
        return [name.strip() for name in inherited.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def shares_of(visible: list[str], workers: int, gpus: float) -> list[str]:
    """What each worker sees of some GPUs.

    Args:
        visible: The GPUs.
        workers: How many workers.
        gpus: GPUs of each; a share of one lets several have the same.

    Raises:
        ConfigError: There are too few.
    """
    if not gpus:
        return [""] * workers
    each = max(1, round(gpus))
    on_one = max(1, int(1 / gpus + 1e-9))
    firsts = [worker // on_one * each for worker in range(workers)]
    if firsts[-1] + each > len(visible):
        raise ConfigError(
            f"{workers} workers with {gpus:g} GPUs each need {firsts[-1] + each}, this machine shows {len(visible)}: "
            "lower --workers or --gpus-per-worker (0.5 lets two workers share a GPU, 0 uses the CPU)"
        )
    return [",".join(visible[first : first + each]) for first in firsts]
