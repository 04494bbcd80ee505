"""Devices: where the memory of a tensor is, and which backend computes.

`cpu` runs kernels compiled by Numba.  `numpy` runs the reference implementations.  Both use NumPy arrays.  `cuda` is a
GPU; it is opened at its first use (see ../cuda.py).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError
from .kernel import ArrayList
from .memory import allocate_on_host, clone
from .program import Program
from .threads import call_on_host


class device:
    """A device for tensors: 'cpu', 'cuda' (an NVIDIA GPU) or 'numpy' (the slow reference implementations).

    name   one of these, a device, or None for 'cpu'

    There is one object per device.  It equals its name: `x.device == "cpu"`.

    Raises   DeviceError   this machine has no such device; the message says what is missing
    Example
    >>> device("cpu")
    device('cpu')
    """

    type = "cpu"
    index: int | None = None  # of a GPU
    array_type: Any = np.ndarray
    moving_program: Any = Program  # the class that replays calls of modules, see nn/calls.py; None if there is none

    def __new__(cls, name: "str | int | device | None" = None, index: int | None = None) -> "device":
        if isinstance(name, device):
            return name
        wanted = "cpu" if name is None else f"cuda:{name}" if isinstance(name, int) else str(name)
        wanted = wanted if index is None or wanted == "cpu" else f"{wanted}:{index}"
        if wanted not in _opened and wanted.split(":")[0] in openers:
            _opened[wanted] = openers[wanted.split(":")[0]](wanted)
        if wanted not in _opened:
            raise DeviceError(f"device {name!r} is unknown; use 'cpu', 'cuda' or 'numpy'")
        return _opened[wanted]

    def __repr__(self) -> str:
        return f"device('{self.type}')"

    def __str__(self) -> str:
        return self.type

    def __eq__(self, other: object) -> bool:
        return self is other or self.type == other

    def __hash__(self) -> int:
        return hash(self.type)

    def __reduce__(self) -> Any:
        return device, (self.type,)

    allocate: Any = staticmethod(allocate_on_host)  # (shape, dtype): an uninitialised array in C order

    def placement(self, array: Any) -> Any:
        """What the choice of kernels depends on besides shapes, dtypes and strides: the device, and on a GPU whether
        the address is aligned.  None where calls of modules are not replayed."""
        return self

    def arrays(self, arrays: list[Any]) -> Any:
        """A list of C-contiguous arrays of one dtype, as one argument of a kernel."""
        return ArrayList(arrays)

    def borrow(self, capsule: Any) -> Any:
        """An array on the memory of another library's DLPack capsule."""
        raise DeviceError(f"device '{self}': DLPack capsules are for the GPU; give the array itself")

    def adopt(self, interface: dict[str, Any], holder: Any) -> Any:
        """An array on the memory that a CUDA array interface describes; it keeps `holder` alive."""
        raise DeviceError(f"device '{self}': memory of the GPU is for device 'cuda'")

    def lend(self, array: Any, **asked: Any) -> Any:
        """A DLPack capsule for an array."""
        return array.__dlpack__(**asked)

    def from_host(self, array: np.ndarray) -> Any:
        """Convert a NumPy array to an array of this device; on the host, return it."""
        return array

    def receive(self, array: np.ndarray) -> Any:
        """Copy a NumPy array to this device; each replay copies it again."""
        return clone(array)

    def to_host(self, array: Any) -> np.ndarray:
        """Convert an array of this device to a NumPy array; on the host, return it."""
        return array

    def full(self, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> Any:
        """An array filled with one number."""
        return np.full(shape, value, dtype)

    def expect_range(
        self, values: Any, low: int, high: int, ignore: int, error: Callable[..., Exception], *about: Any
    ) -> None:
        """Raise error(value, *about) for the first of the whole numbers that is not in low ... high-1 and not `ignore`.

        Each replay checks the numbers again, before its launches.
        """
        call_on_host(_expect_range, values, low, high, ignore, error, *about)


def _expect_range(values, low, high, ignore, error, *about):
    values = np.asarray(values)
    if not values.size or (np.minimum.reduce(values, None) >= low and np.maximum.reduce(values, None) < high):
        return  # the methods min and max take twice as long
    wrong = values[((values < low) | (values >= high)) & (values != ignore)]
    if wrong.size:
        raise error(wrong[0], *about)


_expect_range.is_check = True  # type: ignore[attr-defined]  # see program.py


class _NumpyDevice(device):
    type, moving_program = "numpy", None

    def placement(self, array: Any) -> Any:
        return None


CPU, NUMPY = object.__new__(device), object.__new__(_NumpyDevice)
_opened: dict[str, device] = {"cpu": CPU, "numpy": NUMPY}
openers: dict[str, Callable[[str], device]] = {}  # by type: functions that open a device at its first use
