"""Anomaly detection: the operation and the layer that make the first nan, in the forward or the backward pass."""

import sys
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..checks import brief
from ..errors import DtypeError, GraphError
from ..runtime.threads import local
from ..tape import mode as state

__all__ = ["detect_anomaly", "set_detect_anomaly"]

PACKAGE = str(Path(__file__).parents[1])


class set_detect_anomaly:
    """Switch the search for nan on or off: at once, as a function, or until the end of a `with` block.

    mode        True: a recorded operation stops at the first nan that it makes, and so does a backward; both get slower
    check_nan   False: only note where operations are called

    Example
    >>> import minigrad as mg
    >>> with mg.autograd.set_detect_anomaly(True):
    ...     mg.tensor([-1.0], requires_grad=True).sqrt()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    minigrad.errors.GraphError: sqrt: the result is the first with nan, called at ...
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        if not isinstance(mode, bool):
            raise DtypeError(f"set_detect_anomaly: mode is {brief(mode)}, expected True or False")
        self.check_nan = check_nan
        self._before, state.anomaly = state.anomaly, self if mode else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        state.anomaly = self._before

    def check_result(self, node: Any, results: list[Any], inputs: list[Any]) -> None:
        """Note where a node was made, and refuse the first nan."""
        node.origin = _find_origin()
        if self._has_nan(node, results) and not self._has_nan(node, inputs):
            what = f"the result is the first with nan{node.origin}"
            raise GraphError(f"{node.op.name}: {what}; look at the values that it gets")

    def check_gradient(self, node: Any, position: int, part: Any) -> None:
        """Refuse a gradient with nan."""
        if self._has_nan(node, [getattr(part, "array", part)]):
            unknown = "; switch detect_anomaly on before the forward pass to see where it is called"
            where = getattr(node, "origin", unknown)
            raise GraphError(
                f"backward: the gradient of {node.op.name} by its input {node.op.input_name(position)!r} is the first "
                f"with nan{where}; look at the values that it gets"
            )

    def _has_nan(self, node: Any, arrays: list[Any]) -> bool:
        if self.check_nan:
            local.observer.refuse("looking for nan", "switch detect_anomaly off, or call the function plainly")
        floats = [x for x in arrays if getattr(x, "dtype", None) in ("float32", "float64")]
        return self.check_nan and any(np.isnan(node.device.to_host(x)).any() for x in floats)


class detect_anomaly(set_detect_anomaly):
    """set_detect_anomaly(True) for a `with` block."""

    def __init__(self, check_nan: bool = True):
        super().__init__(True, check_nan)


def _find_origin() -> str:
    """The path of the layer and the line of the program that run now."""
    line, modules = "", []
    frame: Any = sys._getframe(1)
    while frame is not None:
        name, owner = frame.f_code.co_filename, frame.f_locals.get("self")
        if not line and not name.startswith(PACKAGE):
            line = f", called at {name}:{frame.f_lineno}"
        if frame.f_code.co_name == "__call__" and hasattr(owner, "named_modules"):
            modules.append(owner)
        frame = frame.f_back
    if not modules:
        return line
    path = next((path for path, module in modules[-1].named_modules() if module is modules[0]), "")
    return f", in layer {path!r} ({type(modules[0]).__name__}){line}"
