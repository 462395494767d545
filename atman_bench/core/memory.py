"""How much memory there is, and whether an error says that it ran out."""

import os

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: CUDA has a class for it, CPU allocators only messages."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error) for message in ("not enough memory", "can't allocate memory")
    )


def free_bytes(device: torch.device) -> int:
    """Free memory of a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
