"""What a callable would cost on a device that is not there: peak memory and time, without weights and without a GPU.

Weights are fake tensors, which have shapes and no data, so whatever touches them is fake too; everything else (token
ids, masks, plans) is real and small. A ledger sees every operation that torch dispatches: it adds up the storages that
are alive, and gives each operation its roofline time. The code that is simulated is the code that runs.

torch has a ``MemTracker`` too. It hooks every module, refuses a second forward pass of the same model in one block, and
counts no arithmetic, so it cannot follow an explanation.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from atman_bench.core.errors import ModelError, first_line_of
from atman_bench.profiling.devices import Device
from atman_bench.profiling.flops import aten, flops_of, is_view, moved_by


@dataclass(frozen=True)
class Work:
    """What operations did, whatever memory they held.

    Attributes:
        seconds: Sum of their roofline times.
        flops: Multiplications and additions of matrix products.
        moved_bytes: Bytes that they read and wrote.
        launches: How many there were; views are none.
    """

    seconds: float = 0.0
    flops: float = 0.0
    moved_bytes: float = 0.0
    launches: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Work") -> "Work":
        return self + other * -1

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * value for value in astuple(self)))


EXECUTED = 5
"""Of many steps that differ only in size so many are simulated, evenly spaced from the first to the last."""


def evenly_spaced(count: int) -> list[int]:
    """Numbers of the steps that are simulated, of 0 .. count - 1."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(EXECUTED, count))})


def interpolated(executed: Sequence[int], works: Sequence[Work], left_out: Sequence[int]) -> Work:
    """What steps that were left out would do, from those before and after."""
    if not left_out:
        return Work()
    columns = zip(*map(astuple, works), strict=True)
    return Work(*(float(np.interp(left_out, executed, column).sum()) for column in columns))


@dataclass(frozen=True)
class Simulation:
    """What a callable would cost. It never ran: wherever these numbers are shown they are marked as simulated.

    Attributes:
        peak_bytes: Most bytes alive at once, above what was alive before (the weights).
        work: Time and what it is spent on.
        forward_tokens: Positions that would go through the model's layers.
    """

    peak_bytes: float
    work: Work
    forward_tokens: float

    def towards(self, other: "Simulation", steps: float) -> "Simulation":
        """Continue the line through this simulation and the next one (``steps = 1``)."""
        return Simulation(
            self.peak_bytes + steps * (other.peak_bytes - self.peak_bytes),
            self.work + (other.work - self.work) * steps,
            self.forward_tokens + steps * (other.forward_tokens - self.forward_tokens),
        )


def fake_model(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A decoder whose weights have shapes and no data; a second for 70 billion parameters.

    Raises:
        ModelError: Its configuration is not a causal language model's, or its code looks at its weights.
    """
    try:
        # Operations that mix fake weights with real token ids give fake results.
        with FakeTensorMode(allow_non_fake_inputs=True):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (ValueError, DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ModelError(
            f"a model of type {config.model_type!r} cannot be simulated: {first_line_of(error)}"
        ) from error
    return model.eval()


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of parameters and buffers; tied ones count once."""
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


class Ledger(TorchDispatchMode):
    """Adds up live memory, and the roofline time of every operation, while it is entered.

    What it cannot see: memory that a kernel needs inside itself, fragmentation, and transfers to the host (host and
    device are one, so a result that is moved to the CPU still counts).

    Args:
        device: Gives operations their time.

    Attributes:
        peak_bytes: Most bytes alive at once so far, among tensors that were made since the ledger was entered.
    """

    def __init__(self, device: Device):
        super().__init__()
        self.device = device
        self.peak_bytes = 0
        self._seconds = self._flops = self._moved = self._launches = 0.0
        self._live = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def work(self) -> Work:
        """Sum so far."""
        return Work(self._seconds, self._flops, self._moved, self._launches)

    def ignore(self, tensors: Any) -> None:
        """Do not count storages that were there before: the weights."""
        for tensor in _tensors(tensors):
            self._known.add(tensor.untyped_storage())

    @contextmanager
    def sampling(self, walk: ContextVar[Callable[[Sequence[Any]], Iterable[Any]]]) -> Iterator[None]:
        """Inside this block, of steps that are walked through in order only some run, evenly spaced.

        The work of the others is put in as lying between; they hold no more memory than the largest of those that run.
        """
        token = walk.set(self._sample)
        try:
            yield
        finally:
            walk.reset(token)

    def _sample(self, steps: Sequence[Any]) -> Iterator[Any]:
        executed = evenly_spaced(len(steps))
        works = []
        for index in executed:
            before = self.work
            yield steps[index]
            works.append(self.work - before)
        rest = interpolated(executed, works, [index for index in range(len(steps)) if index not in executed])
        self._seconds += rest.seconds
        self._flops += rest.flops
        self._moved += rest.moved_bytes
        self._launches += rest.launches

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and enter it."""
        kwargs = kwargs or {}
        if _is_composite(func):
            # Under inference mode these arrive whole.
            with self:
                return func.decompose(*args, **kwargs)
        if func is aten.index.Tensor:
            args = (args[0], [_as_positions(index) for index in args[1]])
        result = func(*args, **kwargs)
        if is_view(func) or func.namespace == "prim":  # the latter are questions, such as for a tensor's device
            return result
        outputs = _tensors(result)
        for tensor in outputs:
            self._hold(tensor)
        self.peak_bytes = max(self.peak_bytes, self._live)
        inputs = _tensors((args, kwargs))
        flops, moved = flops_of(func, args, kwargs, result), moved_by(func, inputs, outputs)
        if flops or moved:
            self._seconds += self.device.seconds(flops, moved, self._rate_of(inputs))
            self._flops += flops
            self._moved += moved
            self._launches += 1
        return result

    def _rate_of(self, tensors: list[Tensor]) -> str:
        """Name of the dtype whose rate counts; whatever is not listed runs at float32's."""
        name = next((str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()), "float32")
        return name if name in self.device.flops else "float32"

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self._live += size
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._live -= size


@cache
def _is_composite(func: OpOverload) -> bool:
    """Whether a device runs an operation as several others; some that could be (silu_backward) have a kernel."""
    composite, kernel = DispatchKey.CompositeImplicitAutograd, DispatchKey.CPU
    has = func.has_kernel_for_dispatch_key
    return func.namespace != "prim" and has(composite) and not has(kernel)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]


def _as_positions(index: Tensor | None) -> Tensor | None:
    """A real mask as positions: how many it selects from a fake tensor would be unknown otherwise."""
    if index is None or index.dtype is not torch.bool or index.ndim != 1:
        return index
    return index.nonzero()[:, 0]
