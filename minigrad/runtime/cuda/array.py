"""Device arrays: device memory with a shape and strides.

NumPy computes views (transposes, slices, other shapes) on an array at the device's address, and never reads it.
Everything that reads elements is a kernel or a copy to the host.  The class has no other methods, so any other use of a
device array is an error.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...errors import DeviceError
from ..memory import outermost_first
from ..threads import local
from . import driver
from .gpu import current_gpu
from .pool import Block, bytes_at

ADDRESS_WORD = 4  # index of the address among the words of an argument
ALIGNED = 16  # bytes, of addresses from which a thread may read four elements at once


class FlatMemory:
    """Memory as an argument of kernels, an array of one axis, without a view of NumPy.

    argument   as of a DeviceArray
    owner      the block that holds it
    """

    __slots__ = ("argument", "owner")

    def __init__(self, dtype: np.dtype, size: int, address: int, owner: "Block"):
        self.argument, self.owner = ((dtype, 1), (0, 0, size, dtype.itemsize, address, size, dtype.itemsize)), owner


class DeviceArray:
    """An array on the GPU.

    view     a NumPy array with its shape, strides and dtype, at its address; the host must not read it
    owner    the block that holds it, freed with the last array in it
    address  of its first element, if known; otherwise NumPy is asked, which takes a microsecond
    """

    __slots__ = ("__weakref__", "_address", "_argument", "owner", "view")

    def __init__(self, view: np.ndarray, owner: Block, address: int | None = None):
        self.view, self.owner, self._address, self._argument = view, owner, address, None

    shape = property(lambda self: self.view.shape)
    strides = property(lambda self: self.view.strides)
    dtype = property(lambda self: self.view.dtype)
    ndim = property(lambda self: self.view.ndim)
    size = property(lambda self: self.view.size)
    itemsize = property(lambda self: self.view.itemsize)
    nbytes = property(lambda self: self.view.nbytes)
    flags = property(lambda self: self.view.flags)
    base = property(lambda self: self.owner)

    @property
    def address(self) -> int:
        """The address of the first element."""
        if self._address is None:
            self._address = self.view.__array_interface__["data"][0]
        return self._address

    @property
    def argument(self) -> tuple[tuple[np.dtype, int], tuple[int, ...]]:
        """The array as an argument of a kernel: (dtype, ndim), and the words that are passed."""
        if self._argument is None:
            view = self.view
            if not view.flags.c_contiguous:
                raise DeviceError(f"kernel: an array {view.shape} with strides {view.strides} is not in C order")
            words = (0, 0, view.size, view.itemsize, self.address, *view.shape, *view.strides)
            self._argument = (view.dtype, view.ndim), words
        return self._argument

    @property
    def interface(self) -> dict[str, Any]:
        """The CUDA array interface, version 3, with the stream that readers must wait for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": int(current_gpu().stream),
            "version": 3,
        }

    def __len__(self) -> int:
        return len(self.view)

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype})"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise DeviceError("NumPy cannot read an array on device 'cuda'; copy it to the host first")

    __array_ufunc__ = None  # arithmetic with NumPy arrays is an error

    # ---- views

    def _with_view(self, view: np.ndarray) -> "DeviceArray":
        """A view with the same first element."""
        return DeviceArray(view, self.owner, self._address)

    @property
    def T(self) -> "DeviceArray":
        return self._with_view(self.view.T)

    def transpose(self, *axes: Any) -> "DeviceArray":
        """A view with its axes in another order."""
        return self._with_view(self.view.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> "DeviceArray":
        """A view with two axes exchanged."""
        return self._with_view(self.view.swapaxes(a, b))

    def reshape(self, *shape: Any, copy: bool | None = None) -> "DeviceArray":
        """The elements in another shape: a view if the strides allow it, otherwise a copy.

        Raises   ValueError   copy is False, and a copy is needed
        """
        try:
            return self._with_view(self.view.reshape(*shape, copy=False))
        except ValueError:
            if copy is False:
                raise
            return self.copy("C").reshape(*shape)

    def __getitem__(self, key: Any) -> "DeviceArray":
        """The view that numbers, slices, None and ... select; for index arrays see `take` in ops/movement.py."""
        parts = key if isinstance(key, tuple) else (key,)
        return DeviceArray(self.view[parts if Ellipsis in parts else (*parts, Ellipsis)], self.owner)

    def spread(self, shape: tuple[int, ...]) -> "DeviceArray":
        """A view broadcast to `shape`."""
        return self._with_view(np.broadcast_to(self.view, shape))

    def view_at(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> "DeviceArray":
        """An array whose first element is `offset` bytes behind this one's, in the same block."""
        start = self.address - self.owner.address + offset
        return DeviceArray(np.ndarray(shape, dtype, self.owner.bytes, start, strides), self.owner)  # type: ignore[arg-type]

    def whole_block(self) -> "DeviceArray":
        """The bytes of the block that holds it."""
        return DeviceArray(self.owner.bytes[: self.owner.nbytes], self.owner)

    def flat_memory(self) -> tuple[FlatMemory, int]:
        """The memory from the lowest element to the highest as one axis, and the index of the first element in it."""
        view = self.view
        if view.flags.c_contiguous:
            return FlatMemory(view.dtype, view.size, self.address, self.owner), 0
        extents = [(n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True)]
        low, high = sum(extent for extent in extents if extent < 0), sum(extent for extent in extents if extent > 0)
        count = (high - low) // view.itemsize + 1 if view.size else 0
        return FlatMemory(view.dtype, count, self.address + low, self.owner), -low // view.itemsize

    # ---- copies

    def copy(self, order: str = "C") -> "DeviceArray":
        """A copy in C order, or with "K" in the memory order of this array."""
        return self.astype(self.dtype, order)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "DeviceArray":
        """A copy with another dtype; the array itself if copy is False and the dtype is the same."""
        if not copy and dtype == self.dtype:
            return self
        axes = outermost_first(self) if order == "K" else tuple(range(self.ndim))
        shape = tuple([self.shape[axis] for axis in axes])
        converted = self.new_empty(shape, np.dtype(dtype)).transpose(np.argsort(axes))
        converted.assign(self)
        return converted

    def new_empty(self, shape: tuple[int, ...], dtype: np.dtype) -> "DeviceArray":
        """An uninitialised array in C order on the same device."""
        return empty(shape, dtype)

    assign: Any  # (source): overwrite with an array that broadcasts, or a number; set by elementwise.py

    def copy_from_host(self, source: np.ndarray) -> None:
        """Overwrite this C-contiguous array with a host array of the same shape."""
        if self.size:
            current_gpu().copy_to_device(self.address, np.ascontiguousarray(source, self.dtype))

    def copy_to_host(self) -> np.ndarray:
        """The elements as a host array in the same memory order; waits for all earlier work."""
        axes = outermost_first(self)
        ordered = self.transpose(axes)
        dense = ordered if ordered.flags.c_contiguous else ordered.copy()
        host = np.empty(dense.shape, dense.dtype)
        if self.size:
            current_gpu().copy_to_host(host, dense.address)
        return host.transpose(np.argsort(axes))


def empty(shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """An uninitialised array in C order."""
    block = current_gpu().allocate(prod(shape) * dtype.itemsize)
    return DeviceArray(np.ndarray(shape, dtype, block.bytes), block, block.address)


def to_device(array: np.ndarray) -> DeviceArray:
    """Copy a host array to the device, into memory that no recording reuses."""
    block = current_gpu().pool.allocate(array.nbytes)
    copied = DeviceArray(np.ndarray(array.shape, array.dtype, block.bytes), block)
    copied.copy_from_host(array)
    return copied


def to_device_each_replay(array: np.ndarray) -> DeviceArray:
    """Copy a host array whose numbers change to the device; each replay copies it again."""
    copied = to_device(array)
    local.observer.host_call(DeviceArray.copy_from_host, (copied, array))
    return copied


_cached: dict[int, tuple[np.ndarray, DeviceArray]] = {}


def to_device_once(array: np.ndarray) -> DeviceArray:
    """Copy a host array that never changes, such as a table of offsets, to the device; later calls reuse the copy."""
    if id(array) not in _cached:
        _cached[id(array)] = array, to_device(array)
    return _cached[id(array)][1]


class _ForeignMemory:
    """Memory of another library, with the attributes of a Block; `release` is called when it is deleted."""

    pool = None

    def __init__(self, address: int, nbytes: int, release: Any):
        self.bytes, self.nbytes, self.release = bytes_at(address, max(nbytes, 1)), nbytes, release
        self.address = address

    def __del__(self) -> None:
        self.release()


def wrap_foreign_memory(
    address: int, shape: tuple[int, ...], steps: tuple[int, ...], dtype: np.dtype, release: Any
) -> DeviceArray:
    """An array on memory of another library, which `release` frees; `steps` are strides in elements, none below 0."""
    strides = tuple(step * dtype.itemsize for step in steps)
    nbytes = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + dtype.itemsize
    owner = _ForeignMemory(address, nbytes, release)
    if 0 in shape:
        return empty(shape, dtype)
    return DeviceArray(np.ndarray(shape, dtype, owner.bytes, 0, strides), owner)  # type: ignore[arg-type]


class Arrays:
    """A list of C-contiguous arrays of one dtype, passed to a kernel as a table of addresses; see `array_at`."""

    def __init__(self, arrays: list[DeviceArray]):
        self.arrays = arrays
        self.table = _table(*[array.argument[1][ADDRESS_WORD] for array in arrays])  # an error if not in C order
        local.observer.keep(self)


@lru_cache(16)  # gradients of later steps mostly have the addresses of earlier ones
def _table(*addresses: int) -> DeviceArray:
    return to_device(np.array(addresses, np.int64))


if driver.SIMULATED:

    def array_at(address, count, like):
        """In a kernel: the array of `count` elements at an address, with the dtype of the array `like`."""
        return bytes_at(int(address), int(count) * like.dtype.itemsize).view(like.dtype)

else:
    from numba.cuda.extending import intrinsic

    @intrinsic
    def array_at(typing, address, count, like):
        """In a kernel: the array of `count` elements at an address, with the dtype of the array `like`."""
        from numba.cuda import types

        pointer = types.CPointer(like.dtype)

        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(pointer))

        return pointer(types.int64, types.int64, like), generate
