"""Work that takes no time and meets every fate, for workers that start quickly: nothing here imports torch."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from atman_bench.core.errors import ModelError
from atman_bench.evaluation.driver.faults import DeviceFaultError, Fault


class Fate(StrEnum):
    """What a sample does to its worker."""

    KILL = "kill"
    KILL_ONCE = "kill once"
    HANG = "hang"
    RAISE = "raise"
    STICK = "stick"
    EXIT = "exit"


@dataclass(frozen=True)
class Number:
    """What stands for a model.

    Attributes:
        value: What it is.
        folder: Where loading leaves a file for each load.
        failing: How many of the first loads raise.
    """

    value: int
    folder: Path
    failing: int = 0

    def load(self) -> int:
        (self.folder / f"load-{os.getpid()}-{self.value}").touch()
        for failure in range(self.failing):
            # Workers load at the same time: a file that can be made once says whose failure it is.
            with suppress(FileExistsError):
                (self.folder / f"failure-{failure}").touch(exist_ok=False)
                raise ModelError("no such weights")
        return self.value


@dataclass(frozen=True)
class Times:
    """Multiplies samples by the model.

    Attributes:
        model: The model.
        fates: What some samples do.
        seconds: How long each takes.
    """

    model: Number
    fates: Mapping[int, Fate] = field(default_factory=dict, hash=False)
    seconds: float = 0.0

    def run(self, loaded: int, sample: int) -> tuple[int, int | None, str]:
        time.sleep(self.seconds)
        match self.fates.get(sample):
            case Fate.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fate.KILL_ONCE:
                mark = self.model.folder / f"killed-{sample}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            case Fate.HANG:
                time.sleep(600)
            case Fate.RAISE:
                raise ValueError("no such number")
            case Fate.STICK:
                raise DeviceFaultError("CUDA error: an illegal memory access was encountered")
            case Fate.EXIT:
                os._exit(3)
        return sample, sample * loaded, str(os.getpid())

    def failed(self, sample: int, fault: Fault) -> tuple[int, int | None, str]:
        return sample, None, fault.message


@dataclass(frozen=True)
class Large:
    """Returns much.

    Attributes:
        model: The model.
        size: Bytes of each result.
    """

    model: Number
    size: int

    def run(self, loaded: int, sample: int) -> tuple[int, int, bytes]:
        return sample, sample * loaded, bytes(self.size)

    def failed(self, sample: int, fault: Fault) -> tuple[int, None, str]:
        return sample, None, fault.message
