"""The GPU: whether there is one, what it is, how much of its memory is used, and waiting for it.

Names are those of `torch.cuda`.  Work on the GPU is ordered and done later: Python waits for it where it reads a value
(`item()`, `numpy()`, `print`), or in `synchronize()`.  A whole step is best recorded by `mg.graph`, which makes a CUDA
graph of it.
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
    """Whether tensors can be moved to "cuda"; `mg.device("cuda")` says why not.

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
    """How many GPUs can be used: 1 or 0.

    Example
    >>> device_count() == is_available()
    True
    """
    return int(is_available())


def _machine() -> Any:
    device("cuda")
    from .runtime.cuda.machine import machine

    return machine()


def get_device_name() -> str:
    """The name of the GPU.

    Raises   DeviceError   there is none
    """
    return _machine().name


def get_device_capability() -> tuple[int, int]:
    """The compute capability of the GPU, as (9, 0).

    Raises   DeviceError   there is none
    """
    return _machine().capability


def report() -> dict[str, Any]:
    """The GPU, its memory, the driver, and the versions of all packages that take part.

    Raises   DeviceError   there is no GPU
    """
    return _machine().report()


def synchronize() -> None:
    """Wait until all work on the GPU is done.

    Raises   DeviceError       there is no GPU, or a kernel has failed
             ValidationError   a label that was out of range; whatever else only the GPU could find
    """
    _machine().synchronize()
    from .runtime.cuda.alarm import raise_alarm

    raise_alarm()


def memory_stats() -> dict[str, int]:
    """Memory of the GPU, in bytes, and how often the driver was asked for some.

    in_use        what tensors and recorded functions hold now
    peak          the most that was in use at once
    held          what the driver has given: in use, or kept for the next tensor
    allocations   times that the driver was asked for memory; constant once a training has found its pace
    frees         times that it was given some back

    Raises   DeviceError   there is no GPU
    """
    return dict(vars(_machine().stats))


def memory_allocated() -> int:
    """Bytes of the GPU's memory in use."""
    return memory_stats()["in_use"]


def max_memory_allocated() -> int:
    """The most bytes of the GPU's memory that were in use at once."""
    return memory_stats()["peak"]


def memory_reserved() -> int:
    """Bytes of the GPU's memory in use or kept for the next tensor."""
    return memory_stats()["held"]


def empty_cache() -> None:
    """Give memory that is kept, but not in use, back to the driver."""
    _machine().pool.release()
