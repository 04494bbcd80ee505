"""Device "cuda": where tensors live on the GPU, and how they get there and back."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import dlpack
from ..device import device
from ..threads import local
from . import (
    driver,
    elementwise,  # noqa: F401 - arrays can copy themselves from here on
)
from .alarm import expect_range, raise_alarm
from .array import Arrays, DeviceArray, empty, foreign, sent
from .machine import machine


class CudaDevice(device):
    """The GPU as a place for tensors."""

    type, index = "cuda", 0

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
        """An uninitialised array in C order."""
        return empty(shape, dtype)

    def arrays(self, arrays: list[DeviceArray]) -> Arrays:
        """Arrays of one dtype, each in C order, as one argument of a kernel."""
        return Arrays(arrays)

    def lend(self, array: DeviceArray, **asked: Any) -> Any:
        """A DLPack capsule for an array; all work on it is done."""
        machine().synchronize()
        return dlpack.lend(array)

    def borrow(self, capsule: Any) -> DeviceArray:
        """The array of another library's DLPack capsule, on the same memory."""
        driver.call("cuCtxSynchronize")  # whatever stream the other library works on
        return foreign(*dlpack.borrow(capsule))

    def adopt(self, interface: dict[str, Any], holder: Any) -> DeviceArray:
        """An array on the memory that a CUDA array interface describes, which `holder` keeps."""
        driver.call("cuCtxSynchronize")
        dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
        strides = interface.get("strides") or np.empty(shape, np.bool_).strides
        unit = dtype.itemsize if interface.get("strides") else 1
        steps = tuple(stride // unit for stride in strides)
        return foreign(interface["data"][0], shape, steps, dtype, lambda holder=holder: None)

    def from_host(self, array: np.ndarray) -> DeviceArray:
        """A NumPy array as an array of the GPU, in the same memory order."""
        axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        inside = array.transpose(axes)
        moved = sent(inside)
        local.observer.keep(moved)
        return moved.transpose(np.argsort(axes))

    def receive(self, array: np.ndarray) -> DeviceArray:
        """A copy of a NumPy array on the GPU; a replay sends it again."""
        moved = self.from_host(array)
        local.observer.host_call(DeviceArray.send, (moved, array))
        return moved

    def to_host(self, array: DeviceArray) -> np.ndarray:
        """An array of the GPU as a NumPy array; waits for the work before it."""
        local.observer.refuse("copying a tensor from the GPU", "return the tensor, and copy it outside")
        values = array.fetch()
        raise_alarm()
        return values

    def full(self, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> DeviceArray:
        """An array full of one number."""
        array = empty(shape, dtype)
        array.assign(value)
        return array

    def expect_range(
        self, values: Any, low: int, high: int, ignore: int, error: Callable[..., Exception], *about: Any
    ) -> None:
        """As on the host; a value on the GPU is noted there, and the error raised when Python next waits for it."""
        if isinstance(values, DeviceArray):
            expect_range(values, low, high, ignore, error, *about)
        else:
            super().expect_range(values, low, high, ignore, error, *about)


@cache
def cuda_device() -> CudaDevice:
    """The device, the same for all who ask.

    Raises   DeviceError   there is none, and why
    """
    machine()  # an error here says what is missing
    return object.__new__(CudaDevice)
