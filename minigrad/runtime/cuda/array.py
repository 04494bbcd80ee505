"""Arrays on the device: memory with a shape and strides.

Views (axes exchanged, slices, other shapes) are computed by NumPy on an array that stands at the device's address and
is never read.  Whatever needs the elements is a kernel or a copy to the host; anything else that is tried with such an
array is an error, as the class has no such method.
"""

import ctypes
from math import prod
from typing import Any

import numpy as np

from ...errors import DeviceError
from ..threads import local
from . import driver
from .machine import machine
from .pool import Block, at_address


class DeviceArray:
    """An array of the GPU.

    view     its shape, strides and dtype, at its address; not to be read
    owner    the block in which it lies, freed with the last array in it
    address  of its first element, if it is known; else NumPy is asked, which costs a microsecond
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
        """Where the first element lies."""
        if self._address is None:
            self._address = self.view.__array_interface__["data"][0]
        return self._address

    @property
    def argument(self) -> tuple[tuple[np.dtype, int], tuple[int, ...]]:
        """The array as a kernel's argument: its kind, and its words."""
        if self._argument is None:
            view = self.view
            if not view.flags.c_contiguous:
                raise DeviceError(f"kernel: an array {view.shape} with strides {view.strides} is not in C order")
            words = (0, 0, view.size, view.itemsize, self.address, *view.shape, *view.strides)
            self._argument = (view.dtype, view.ndim), words
        return self._argument

    @property
    def interface(self) -> dict[str, Any]:
        """The CUDA array interface, version 3: readers wait for the stream."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": int(machine().stream),
            "version": 3,
        }

    def __len__(self) -> int:
        return len(self.view)

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype})"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise DeviceError("an array of device 'cuda' cannot be read by NumPy; copy it to the host first")

    __array_ufunc__ = None  # arithmetic with NumPy arrays is an error

    # ---- views

    def _same(self, view: np.ndarray) -> "DeviceArray":
        """A view that starts where this array starts."""
        return DeviceArray(view, self.owner, self._address)

    @property
    def T(self) -> "DeviceArray":
        return self._same(self.view.T)

    def transpose(self, *axes: Any) -> "DeviceArray":
        """The axes in another order."""
        return self._same(self.view.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> "DeviceArray":
        """Two axes exchanged."""
        return self._same(self.view.swapaxes(a, b))

    def reshape(self, *shape: Any, copy: bool | None = None) -> "DeviceArray":
        """The elements in another shape: a view where the memory allows it, otherwise a copy.

        Raises   ValueError   copy is False, and a copy would be needed
        """
        try:
            return self._same(self.view.reshape(*shape, copy=False))
        except ValueError:
            if copy is False:
                raise
            return self.copy("C").reshape(*shape)

    def __getitem__(self, key: Any) -> "DeviceArray":
        """A view of numbers, slices, None and ...; positions in arrays are `take`, see ops/movement.py."""
        parts = key if isinstance(key, tuple) else (key,)
        return DeviceArray(self.view[parts if Ellipsis in parts else (*parts, Ellipsis)], self.owner)

    def spread(self, shape: tuple[int, ...]) -> "DeviceArray":
        """Sizes of 1 stretched to `shape`."""
        return self._same(np.broadcast_to(self.view, shape))

    def flat(self) -> tuple["DeviceArray", int]:
        """The memory from the lowest element to the highest as one axis, and where in it the first one lies."""
        view = self.view
        if view.flags.c_contiguous:
            return self._same(view.reshape(-1)), 0
        reach = [(n - 1) * step for n, step in zip(view.shape, view.strides, strict=True)]
        low, high = sum(step for step in reach if step < 0), sum(step for step in reach if step > 0)
        start, count = self.address + low - self.owner.address, (high - low) // view.itemsize + 1 if view.size else 0
        return DeviceArray(np.ndarray((count,), view.dtype, self.owner.bytes, start), self.owner), -low // view.itemsize

    # ---- copies

    def copy(self, order: str = "C") -> "DeviceArray":
        """A copy in C order, or for "K" in the order of this array's memory."""
        return self.astype(self.dtype, order)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "DeviceArray":
        """A copy of another dtype; the array itself where nothing changes and copy is False."""
        if not copy and dtype == self.dtype:
            return self
        axes = _outermost_first(self.view) if order == "K" else tuple(range(self.ndim))
        fresh = self.fresh(tuple([self.shape[axis] for axis in axes]), np.dtype(dtype)).transpose(np.argsort(axes))
        fresh.assign(self)
        return fresh

    def fresh(self, shape: tuple[int, ...], dtype: np.dtype) -> "DeviceArray":
        """An uninitialised array in C order, on the same device."""
        return empty(shape, dtype)

    assign: Any  # (source): overwrite with an array that broadcasts, or a number; the kernel is in elementwise.py

    def send(self, source: np.ndarray) -> None:
        """Overwrite with a host array of the same shape; this one is in C order."""
        if self.size:
            machine().send(self.address, np.ascontiguousarray(source, self.dtype))

    def fetch(self) -> np.ndarray:
        """The elements as a host array, laid out as here; waits for all work before."""
        axes = _outermost_first(self.view)
        inside = self.transpose(axes)
        dense = inside if inside.flags.c_contiguous else inside.copy()
        host = np.empty(dense.shape, dense.dtype)
        if self.size:
            machine().fetch(host, dense.address)
        return host.transpose(np.argsort(axes))


def _outermost_first(view: np.ndarray) -> tuple[int, ...]:
    """The axes in the order of the memory."""
    return tuple(sorted(range(view.ndim), key=lambda axis: -abs(view.strides[axis])))


def empty(shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """An uninitialised array in C order."""
    block = machine().memory(prod(shape) * dtype.itemsize)
    return DeviceArray(np.ndarray(shape, dtype, block.bytes), block, block.address)


def sent(array: np.ndarray) -> DeviceArray:
    """A host array on the device, in memory that no recording reuses."""
    block = machine().pool.block(array.nbytes)
    fresh = DeviceArray(np.ndarray(array.shape, array.dtype, block.bytes), block)
    fresh.send(array)
    return fresh


class _Foreign:
    """Memory of another library, in the place of a block; `release` is called when it is no longer used."""

    pool = None

    def __init__(self, address: int, nbytes: int, release: Any):
        self.bytes, self.nbytes, self.release = at_address(address, max(nbytes, 1)), nbytes, release
        self.address = address

    def __del__(self) -> None:
        self.release()


def foreign(address: int, shape: tuple[int, ...], steps: tuple[int, ...], dtype: np.dtype, release: Any) -> DeviceArray:
    """An array on another library's memory; `steps` are strides in elements, none below 0."""
    strides = tuple(step * dtype.itemsize for step in steps)
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + dtype.itemsize
    owner = _Foreign(address, reach, release)
    if 0 in shape:
        return empty(shape, dtype)
    return DeviceArray(np.ndarray(shape, dtype, owner.bytes, 0, strides), owner)  # type: ignore[arg-type]


_constants: dict[int, tuple[np.ndarray, DeviceArray]] = {}


def constant(array: np.ndarray) -> DeviceArray:
    """A host array that never changes, as the tables of a plan are, on the device; sent once."""
    if id(array) not in _constants:
        _constants[id(array)] = array, sent(array)
    return _constants[id(array)][1]


def resent(array: np.ndarray) -> DeviceArray:
    """A host array whose numbers may be others each time, on the device; a replay sends it again."""
    moved = sent(array)
    local.observer.host_call(DeviceArray.send, (moved, array))
    return moved


class Arrays:
    """Arrays of one dtype, each in C order, as a table of their addresses, `elements` of which a kernel takes."""

    def __init__(self, arrays: list[DeviceArray]):
        self.arrays = arrays
        self.table = sent(np.array([array.argument[1][4] for array in arrays], np.int64))
        local.observer.keep(self)


if driver.SIMULATED:

    def elements(address, count, like):
        """In a kernel: `count` elements at an address, of the dtype of the array `like`."""
        buffer = (ctypes.c_char * (int(count) * like.dtype.itemsize)).from_address(int(address))
        return np.ndarray(int(count), like.dtype, buffer)

else:
    from numba.cuda.extending import intrinsic

    @intrinsic
    def elements(typing, address, count, like):
        """In a kernel: `count` elements at an address, of the dtype of the array `like`."""
        from numba.cuda import types

        pointer = types.CPointer(like.dtype)

        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(pointer))

        return pointer(types.int64, types.int64, like), generate
