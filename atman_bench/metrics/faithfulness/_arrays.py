"""What every function of this package does first: check that arrays belong together."""

import numpy as np
from jaxtyping import Float, Shaped

from atman_bench.core.errors import AtmanBenchError


def finite(name: str, values: Shaped[np.ndarray, "..."], *shape: int | None) -> Float[np.ndarray, "..."]:
    """The values in float64.

    Args:
        name: What they are called in messages.
        values: Any numbers or booleans.
        shape: The expected length of each axis, None for any; leave out to expect nothing.

    Raises:
        AtmanBenchError: An axis has another length, or a value is not finite.
    """
    array = np.asarray(values, np.float64)
    if shape and (array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise AtmanBenchError(f"{name}: expected an array of shape ({expected}), received {array.shape}")
    if not np.isfinite(array).all():
        raise AtmanBenchError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} numbers are not finite")
    return array
