"""What a whole dataset takes on many workers, from what one explanation is predicted to take."""

import math
from dataclasses import dataclass

from atman_bench.profiling.devices import Device
from atman_bench.profiling.rows import ScaleRow


@dataclass(frozen=True)
class WholeRun:
    """One method on all samples of a dataset, all of one length.

    Attributes:
        devices: Devices of each worker: more than one where model and explanation do not fit one. The layers are spread
            over them and run one after the other, so that they are no faster together.
        device_hours: Hours of all devices together, loading not counted.
        hours: From beginning to end, loading not counted: of the worker that has most samples.
    """

    devices: int
    device_hours: float
    hours: float


def whole_run(row: ScaleRow, device: Device, samples: int, workers: int) -> WholeRun | None:
    """Predict a run.

    Args:
        row: What one explanation takes, simulated on the device.
        device: What each worker has.
        samples: How many are explained.
        workers: How many workers share them.

    Returns:
        The prediction, None where the explanation could not be simulated.
    """
    if not row.peak_bytes or not row.seconds:
        return None
    devices = math.ceil(((row.model_bytes or 0) + row.peak_bytes[0]) / device.memory)
    seconds = row.seconds[0]
    at_a_time = math.ceil(samples / workers)
    return WholeRun(devices, samples * seconds * devices / 3600, at_a_time * seconds / 3600)
