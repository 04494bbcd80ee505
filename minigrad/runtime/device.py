"""Devices: where arrays live and which column of each kernel runs.

`cpu` runs kernels compiled by Numba, `numpy` runs plain NumPy, the judge of all others.  Both keep NumPy arrays.
`cuda` is a GPU (see cuda/), looked for when a script asks for it.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError
from .kernel import Arrays
from .memory import host_memory
from .threads import call_on_host


class Device:
    """A place for tensors.  Compares equal to its name: `x.device == "cpu"`."""

    def __init__(self, name: str, launches: bool):
        self.type = name
        self.launches = launches  # whether its columns run kernels
        self.only_launches = False  # whether they do nothing else, whatever the operation
        self.index: int | None = None

    def __repr__(self) -> str:
        return f"device('{self.type}')"

    def __str__(self) -> str:
        return self.type

    def __eq__(self, other: object) -> bool:
        return self is other or self.type == other

    def __hash__(self) -> int:
        return hash(self.type)

    def run(self, column: Callable[..., None], *arguments: Any) -> None:
        """Call one of this device's columns."""
        if self.launches:
            column(*arguments)
        else:
            call_on_host(column, *arguments)

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """An uninitialised array in C order."""
        return host_memory(shape, dtype)

    def arrays(self, arrays: list[Any]) -> Any:
        """Arrays of one dtype, each in C order, as one argument of a kernel."""
        return Arrays(arrays)

    def borrow(self, capsule: Any) -> Any:
        """The array of another library's DLPack capsule, on the same memory."""
        raise DeviceError(f"device '{self}': DLPack capsules are for the GPU; give the array itself")

    def adopt(self, interface: dict[str, Any], holder: Any) -> Any:
        """An array on the memory that a CUDA array interface describes, which `holder` keeps."""
        raise DeviceError(f"device '{self}': memory of the GPU is for device 'cuda'")

    def lend(self, array: Any, **asked: Any) -> Any:
        """A DLPack capsule for an array."""
        return array.__dlpack__(**asked)

    def from_host(self, array: np.ndarray) -> Any:
        """A NumPy array as an array of this device."""
        return array

    def to_host(self, array: Any) -> np.ndarray:
        """An array of this device as a NumPy array."""
        return array

    def full(self, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> Any:
        """An array full of one number."""
        return np.full(shape, value, dtype)

    def expect_range(
        self, values: Any, low: int, high: int, ignore: int, error: Callable[..., Exception], *about: Any
    ) -> None:
        """Check whole numbers, before anything else runs: error(value, *about) is raised for one that is neither from
        `low` to `high` - 1 nor `ignore`."""
        call_on_host(_expect_range, values, low, high, ignore, error, *about)


def _expect_range(values, low, high, ignore, error, *about):
    values = np.asarray(values)
    if not values.size or (values.min() >= low and values.max() < high):
        return
    wrong = values[((values < low) | (values >= high)) & (values != ignore)]
    if wrong.size:
        raise error(wrong[0], *about)


CPU, NUMPY = Device("cpu", launches=True), Device("numpy", launches=False)
_devices = {"cpu": CPU, "numpy": NUMPY}


def device(name: "str | Device | None") -> Device:
    """The device called `name`: 'cpu', also for None; 'cuda', an NVIDIA GPU; or 'numpy', the slow judge.

    Raises   DeviceError   there is no such device here: the message says what was looked for and what was found
    Example
    >>> device("cpu")
    device('cpu')
    """
    if name is None or isinstance(name, Device):
        return name or CPU
    found = _devices.get(str(name))
    if found is None and str(name).split(":")[0] == "cuda":
        found = _devices[str(name)] = _gpu(str(name))
    if found is None:
        raise DeviceError(f"device {name!r} is unknown; use 'cpu', 'cuda' or 'numpy'")
    return found


def _gpu(name: str) -> Device:
    if name not in ("cuda", "cuda:0"):
        raise DeviceError(
            f"device {name!r}: one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through; set that to "
            "the number of the one you want, and use 'cuda'"
        )
    return importlib.import_module(".cuda.device", __package__).gpu()  # only scripts that ask for a GPU wait for this
