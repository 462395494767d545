"""What goes wrong in a worker, as it travels to the driver: not every exception survives pickling, its message does."""

from dataclasses import dataclass

from atman_bench.core.errors import (
    AtmanBenchError,
    ConfigError,
    DataError,
    ModelError,
    NotApplicableError,
    SampleError,
    StoreError,
    WorkerError,
    one_line,
)

_KINDS: dict[str, type[AtmanBenchError]] = {
    kind.__name__: kind for kind in (ConfigError, DataError, ModelError, NotApplicableError, SampleError, StoreError)
}


class DeviceFaultError(Exception):
    """An error of the device that every later call in this process would report too: the process has to end."""


@dataclass(frozen=True)
class Fault:
    """Why something was not finished.

    Attributes:
        kind: Name of the error's class, or of what happened to the worker.
        message: What it said, in one line.
        final: Whether every other worker would say the same: one of our own errors.
        sticky: Whether the worker's process is of no use any more.
    """

    kind: str
    message: str
    final: bool = False
    sticky: bool = False

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What an exception says."""
        final, sticky = isinstance(error, AtmanBenchError), isinstance(error, DeviceFaultError)
        return cls(type(error).__name__, one_line(error), final, sticky)

    def error(self) -> AtmanBenchError:
        """The error to raise for it in the driver; of an unknown class, what its message is."""
        if self.final:
            return _KINDS.get(self.kind, ConfigError)(self.message)
        return WorkerError(f"a worker failed: {self.kind}: {self.message}")
