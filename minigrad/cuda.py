"""The GPU: whether there is one, its properties, its memory, and waiting for it.

Names are those of `torch.cuda`.  The GPU runs work in order, while Python continues.  Python waits for the GPU where it
reads a value (`item()`, `numpy()`, `print`), and in `synchronize()`.  `mg.graph` records a whole training step as one
CUDA graph.  Functions that need a GPU raise a DeviceError without one.
"""

import sys
from typing import Any

from . import amp
from .errors import DeviceError
from .random import manual_seed
from .runtime.device import device, openers

sys.modules[f"{__name__}.amp"] = amp  # for `from minigrad.cuda.amp import autocast`


class _MissingGPU(device):
    """Device "cuda" on a machine without a usable GPU: the error comes when memory on it is asked for."""

    type, index, reason = "cuda", 0, ""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise DeviceError(self.reason)

    allocate = arrays = borrow = adopt = lend = from_host = receive = to_host = full = expect_range = _refuse


def _open_gpu(name: str) -> Any:
    """Device "cuda", with the kernels for it; only scripts that ask for a GPU load them."""
    if name not in ("cuda", "cuda:0"):
        raise DeviceError(
            f"device {name!r}: one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through; set that to "
            "the number of the one you want, and use 'cuda'"
        )
    try:
        from .runtime.cuda.device import cuda_device

        found = cuda_device()
    except DeviceError as error:
        missing = object.__new__(_MissingGPU)
        missing.reason = str(error)
        return missing
    from .ops import cuda  # noqa: F401 - registers the kernels

    return found


openers["cuda"] = _open_gpu
__all__ = ["amp", "current_device", "device_count", "empty_cache", "get_device_capability", "get_device_name"]
__all__ += ["is_available", "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated"]
__all__ += ["memory_reserved", "memory_stats", "report", "set_device", "synchronize"]
__dir__ = __all__.copy


def is_available() -> bool:
    """Return whether tensors can be moved to "cuda"; the error of `tensor.to("cuda")` says why not.

    Example
    >>> is_available() in (True, False)
    True
    """
    return not isinstance(device("cuda"), _MissingGPU)


def device_count() -> int:
    """Return the number of GPUs that can be used: 1 or 0."""
    return int(is_available())


def _current_gpu() -> Any:
    device("cuda").arrays([])  # raises the error if there is no GPU
    from .runtime.cuda.gpu import current_gpu

    return current_gpu()


def get_device_name(device: Any = None) -> str:
    """Return the name of the GPU."""
    return _current_gpu().name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Return the compute capability of the GPU, such as (9, 0)."""
    return _current_gpu().capability


def current_device() -> int:
    """Return 0, the number of the GPU."""
    _current_gpu()
    return 0


manual_seed_all = manual_seed  # random numbers of the GPU follow from the same seed


def set_device(device: Any) -> None:
    """Do nothing: the GPU that is used is the first in CUDA_VISIBLE_DEVICES."""


def report() -> dict[str, Any]:
    """Return the GPU, its memory, and the versions of the driver and the packages."""
    return _current_gpu().report()


def synchronize(device: Any = None) -> None:
    """Wait for all work on the GPU.

    Raises   DeviceError       there is no GPU, or a kernel has failed
             ValidationError   a kernel has found a label out of range
    """
    _current_gpu().synchronize()
    from .runtime.cuda.device_error import raise_device_error

    raise_device_error()


def memory_stats(device: Any = None) -> dict[str, int]:
    """Return the use of the GPU's memory by minigrad: bytes, and numbers of calls of the driver.

    in_use        bytes that tensors and recorded functions hold now
    peak          bytes, the most that were in use at once
    held          bytes taken from the driver: in use, or kept for later tensors
    allocations   requests for memory; constant after the first steps of a training
    frees         blocks returned
    """
    return dict(vars(_current_gpu().stats))


def _bytes(name: str) -> int:
    return memory_stats()[name] if is_available() else 0


def memory_allocated(device: Any = None) -> int:
    """Return the bytes of the GPU's memory in use; without a GPU, 0."""
    return _bytes("in_use")


def max_memory_allocated(device: Any = None) -> int:
    """Return the most bytes of the GPU's memory that were in use at once; without a GPU, 0."""
    return _bytes("peak")


def memory_reserved(device: Any = None) -> int:
    """Return the bytes of the GPU's memory in use or kept for later tensors; without a GPU, 0."""
    return _bytes("held")


def empty_cache() -> None:
    """Return memory that is not in use to the driver; without a GPU, do nothing."""
    if is_available():
        _current_gpu().pool.release_unused()
