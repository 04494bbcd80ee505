"""What a group of methods may use of the Tensor that it becomes a part of."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from ..ops.op import Op
    from ..tensors import Tensor

Params = ParamSpec("Params")
Result = TypeVar("Result")
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(method: Callable[Params, Result]) -> Callable[Params, Result]:
    """A decorator for methods that also take NumPy's names of arguments, as PyTorch's do."""

    @wraps(method)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        if not kwargs:
            return method(*args)  # type: ignore[call-arg]
        renamed: Any = {NUMPY_NAMES[name]: kwargs.pop(name) for name in kwargs.keys() & NUMPY_NAMES}
        return method(*args, **kwargs, **renamed)

    return run


def along_axis(method: Callable[Params, Result]) -> Callable[Params, Result]:
    """A decorator for methods along one axis: a single number counts as a line of one element.

    They also take NumPy's names of arguments.
    """

    @wraps(method)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> Any:
        self: Any = args[0]
        if self.ndim:
            return method(*args, **kwargs)
        out: Any = method(self.unsqueeze(0), *args[1:], **kwargs)  # type: ignore[arg-type]
        return type(out)(*[part.reshape(()) for part in out]) if isinstance(out, tuple) else out.reshape(())

    return numpy_names(run)


class Methods:
    """Base of the groups of methods."""

    __slots__ = ()

    if TYPE_CHECKING:
        array: Any

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __pow__(self, exponent: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __getitem__(self, key: Any) -> Any: ...

    def _run(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        """operation(self, *others), recorded if one of them requires grad."""
        raise NotImplementedError

    def _run_after(self, operation: Op, other: Any) -> Tensor:
        """operation(other, self)."""
        raise NotImplementedError

    def _change(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        """self becomes operation(self, *others), in its own memory."""
        raise NotImplementedError
