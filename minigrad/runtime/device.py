"""Devices: where arrays live and which column of each kernel runs.

`cpu` runs kernels compiled by Numba, `numpy` runs plain NumPy, the judge of all others.  Both keep NumPy arrays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError
from .threads import host


class Device:
    """A place for tensors.  Compares equal to its name: `x.device == "cpu"`."""

    def __init__(self, name: str, launches: bool):
        self.type = name
        self.launches = launches  # whether its columns run kernels
        self.index = None

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
            host(column, *arguments)

    def from_host(self, array: np.ndarray) -> Any:
        """A NumPy array as an array of this device."""
        return array

    def to_host(self, array: Any) -> np.ndarray:
        """An array of this device as a NumPy array."""
        return array

    def write(self, array: Any, values: Any) -> None:
        """Overwrite an array of this device."""
        array[...] = values


CPU, NUMPY = Device("cpu", launches=True), Device("numpy", launches=False)
_devices = {"cpu": CPU, "numpy": NUMPY}


def device(name: "str | Device | None") -> Device:
    """The device called `name`: 'cpu', also for None, or 'numpy', the slow judge.

    Raises   DeviceError   there is no such device here
    Example
    >>> device("cpu")
    device('cpu')
    """
    if name is None or isinstance(name, Device):
        return name or CPU
    found = _devices.get(str(name))
    if found is None and str(name).split(":")[0] == "cuda":
        raise DeviceError(f"device {name!r}: this version of minigrad has no CUDA kernels; use 'cpu' or 'numpy'")
    if found is None:
        raise DeviceError(f"device {name!r} is unknown; use {' or '.join(map(repr, _devices))}")
    return found
