"""The device "cuda": tensors on the GPU, and how they get there and back."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import dlpack
from ..device import device
from ..memory import outermost_first
from ..threads import local
from . import elementwise  # noqa: F401 - sets DeviceArray.assign
from .array import ALIGNED, Arrays, DeviceArray, empty, to_device, wrap_foreign_memory
from .device_error import expect_range, raise_device_error
from .gpu import current_gpu
from .moving import MovingProgram


class CudaDevice(device):
    """The GPU as a device for tensors."""

    type, index = "cuda", 0
    array_type, moving_program = DeviceArray, MovingProgram

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
        """An uninitialised array in C order."""
        return empty(shape, dtype)

    def placement(self, array: DeviceArray) -> Any:
        """The device, and whether kernels can read four elements at once."""
        return self, array.address % ALIGNED == 0

    def arrays(self, arrays: list[DeviceArray]) -> Arrays:
        """A list of C-contiguous arrays of one dtype, as one argument of a kernel."""
        return Arrays(arrays)

    def lend(self, array: DeviceArray, **asked: Any) -> Any:
        """A DLPack capsule for an array, after all work on it."""
        current_gpu().synchronize()
        return dlpack.export_capsule(array)

    def borrow(self, capsule: Any) -> DeviceArray:
        """An array on the memory of another library's DLPack capsule."""
        current_gpu().synchronize_all()  # the other library may use any stream
        return wrap_foreign_memory(*dlpack.import_capsule(capsule))

    def adopt(self, interface: dict[str, Any], holder: Any) -> DeviceArray:
        """An array on the memory that a CUDA array interface describes; it keeps `holder` alive."""
        current_gpu().synchronize_all()
        dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
        strides = interface.get("strides")
        steps = tuple(stride // dtype.itemsize for stride in strides) if strides else dlpack.dense_strides(shape)
        return wrap_foreign_memory(interface["data"][0], shape, steps, dtype, lambda holder=holder: None)

    def from_host(self, array: np.ndarray) -> DeviceArray:
        """Copy a NumPy array to the GPU, in the same memory order."""
        axes = outermost_first(array)
        copied = to_device(array.transpose(axes))
        local.observer.keep(copied)
        return copied.transpose(np.argsort(axes))

    def receive(self, array: np.ndarray) -> DeviceArray:
        """A copy of a NumPy array on the GPU; a replay copies again."""
        copied = self.from_host(array)
        local.observer.host_call(_send, (copied, array))
        return copied

    def to_host(self, array: DeviceArray) -> np.ndarray:
        """Copy an array to a NumPy array; waits for all earlier work.

        Raises   the error that a kernel has reported, see device_error.py
        """
        local.observer.refuse("copying a tensor from the GPU", "return the tensor, and copy it outside")
        values = array.copy_to_host()
        raise_device_error()
        return values

    def full(self, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> DeviceArray:
        """An array filled with one number."""
        array = empty(shape, dtype)
        array.assign(value)
        return array

    def expect_range(
        self, values: Any, low: int, high: int, ignore: int, error: Callable[..., Exception], *about: Any
    ) -> None:
        """Check values on the host at once; values on the GPU are checked there, and Python raises the error when it
        next waits for the GPU."""
        if isinstance(values, DeviceArray):
            expect_range(values, low, high, ignore, error, *about)
        else:
            super().expect_range(values, low, high, ignore, error, *about)


@cache
def cuda_device() -> CudaDevice:
    """The one CudaDevice.

    Raises   DeviceError   there is no GPU; the message says what is missing
    """
    current_gpu()  # raises an error that says what is missing
    return object.__new__(CudaDevice)


def _send(target: DeviceArray, array: np.ndarray) -> None:
    """Copy again, to the array that from_host returned, whose axes may be in another order than its memory."""
    axes = outermost_first(array)
    target.transpose(axes).copy_from_host(array.transpose(axes))
