"""How much memory there is, and whether an error says that it ran out."""

import errno
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_CGROUP = Path("/sys/fs/cgroup")


_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc")
"""What PyTorch's allocators of the CPU and of Apple's GPUs, the CUDA driver, cuBLAS and cuDNN, and C++ say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: PyTorch and Python have classes for it, others a number or a message.

    Args:
        error: Of any library.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    of_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return of_system or any(message in str(error) for message in _MESSAGES)


_DEVICE_FAULTS = ("CUDA error", "device-side assert", "CUBLAS_STATUS", "CUDNN_STATUS", "NCCL Error")
"""What CUDA and its libraries say when something else than memory is the matter."""


def is_device_fault(error: BaseException) -> bool:
    """Whether an error of the device is one that sticks: every later call in this process reports it again.

    Memory that ran out is none: the next call may need less.
    """
    of_device = isinstance(error, torch.AcceleratorError) or any(said in str(error) for said in _DEVICE_FAULTS)
    return of_device and not is_out_of_memory(error)


def held_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's elements; of a quantised one those of the tensors that it consists of."""
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        return sum(held_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()


def total_bytes(device: torch.device) -> int:
    """Memory that a device has, whoever uses it; on the CPU a container's limit (cgroup v2) is respected."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total: int = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        total = min(total, int((_CGROUP / "memory.max").read_text()))
    return total


def free_bytes(device: torch.device) -> int:
    """Memory of a device that can still be allocated; on the CPU page cache counts, since the system gives it up.

    What PyTorch holds of a GPU and has not handed out is free too. A container's limit (cgroup v2) is respected.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free: int = psutil.virtual_memory().available
    with suppress(OSError, ValueError, KeyError):  # no container, or one without a limit ("max")
        limit = int((_CGROUP / "memory.max").read_text())
        used = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = max(0, min(free, limit - int(used["anon"])))
    return free
