"""The GPU: whether there is one, its properties, its memory, and waiting for it.

Names are those of `torch.cuda`.  The GPU runs work in order, while Python continues.  Python waits for the GPU where it
reads a value (`item()`, `numpy()`, `print`), and in `synchronize()`.  `mg.graph` records a whole training step as one
CUDA graph.
"""

from typing import Any

from .errors import DeviceError
from .runtime.device import device, openers


def _open_gpu(name: str) -> Any:
    """Device "cuda", with the kernels for it; only scripts that ask for a GPU load them."""
    if name not in ("cuda", "cuda:0"):
        raise DeviceError(
            f"device {name!r}: one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through; set that to "
            "the number of the one you want, and use 'cuda'"
        )
    from .runtime.cuda.device import cuda_device

    found = cuda_device()
    from .ops import cuda  # noqa: F401 - registers the kernels

    return found


openers["cuda"] = _open_gpu


def is_available() -> bool:
    """Return whether tensors can be moved to "cuda"; the error of `mg.device("cuda")` says why not.

    Example
    >>> is_available() in (True, False)
    True
    """
    try:
        device("cuda")
    except DeviceError:
        return False
    return True


def device_count() -> int:
    """Return the number of GPUs that can be used: 1 or 0.

    Example
    >>> device_count() == is_available()
    True
    """
    return int(is_available())


def _current_gpu() -> Any:
    device("cuda")
    from .runtime.cuda.gpu import current_gpu

    return current_gpu()


def get_device_name() -> str:
    """Return the name of the GPU.

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and not get_device_name()
    False
    """
    return _current_gpu().name


def get_device_capability() -> tuple[int, int]:
    """Return the compute capability of the GPU, such as (9, 0).

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and get_device_capability() < (7, 5)
    False
    """
    return _current_gpu().capability


def report() -> dict[str, Any]:
    """Return the GPU, its memory, and the versions of the driver and the packages.

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and "driver" not in report()
    False
    """
    return _current_gpu().report()


def synchronize() -> None:
    """Wait for all work on the GPU.

    Raises   DeviceError       there is no GPU, or a kernel has failed
             ValidationError   a kernel has found a label out of range
    Example
    >>> if is_available():
    ...     synchronize()
    """
    _current_gpu().synchronize()
    from .runtime.cuda.device_error import raise_device_error

    raise_device_error()


def memory_stats() -> dict[str, int]:
    """Return the use of the GPU's memory by minigrad: bytes, and numbers of calls of the driver.

    in_use        bytes that tensors and recorded functions hold now
    peak          bytes, the most that were in use at once
    held          bytes taken from the driver: in use, or kept for later tensors
    allocations   requests for memory; constant after the first steps of a training
    frees         blocks returned

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and "in_use" not in memory_stats()
    False
    """
    return dict(vars(_current_gpu().stats))


def memory_allocated() -> int:
    """Return the bytes of the GPU's memory in use.

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and memory_allocated() > max_memory_allocated()
    False
    """
    return memory_stats()["in_use"]


def max_memory_allocated() -> int:
    """Return the most bytes of the GPU's memory that were in use at once.

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and max_memory_allocated() < memory_allocated()
    False
    """
    return memory_stats()["peak"]


def memory_reserved() -> int:
    """Return the bytes of the GPU's memory in use or kept for later tensors.

    Raises   DeviceError   there is no GPU
    Example
    >>> is_available() and memory_reserved() < memory_allocated()
    False
    """
    return memory_stats()["held"]


def empty_cache() -> None:
    """Return memory that is not in use to the driver.

    Raises   DeviceError   there is no GPU
    Example
    >>> if is_available():
    ...     empty_cache()
    """
    _current_gpu().pool.release_unused()
