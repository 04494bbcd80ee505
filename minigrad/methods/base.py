"""What a group of methods may use of the Tensor that it becomes a part of."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .. import ops
from ..errors import DtypeError, ShapeError
from ..ops.promotion import CATEGORIES
from ..tape import mode

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


def composed(name: str, function: Callable[Params, Any], text: str) -> Callable[Params, Tensor]:
    """Return the function as a method with a name and a docstring."""
    function.__name__, function.__qualname__, function.__doc__ = name, f"Tensor.{name}", text
    return function


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """Return the key of a part of an axis."""
    return (slice(None),) * axis + (part,)


class InPlace:
    """Methods x.name_(...) that write x.name(...) to x and return x: `sin_ = cos_ = InPlace()` makes two of them.

    view   whether x takes the shape of the result, which is a view of it
    """

    def __init__(self, view: bool = False):
        self.view = view

    def __set_name__(self, owner: type, name: str) -> None:
        text = f"{name[:-1]} in place; the arguments are the same."
        setattr(owner, name, composed(name, _reshaping(name) if self.view else _writing(name[:-1]), text))

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Tensor: ...


def _reshaping(name: str) -> Callable[..., Tensor]:
    return lambda self, *args, **kwargs: self._become(name, getattr(self, name[:-1])(*args, **kwargs))


def _writing(name: str) -> Callable[..., Tensor]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        given = (self, *args, *kwargs.values())
        recorded = mode.grad_enabled and any(getattr(value, "requires_grad", False) for value in given)
        self._refuse_change(name, recorded)
        before = self.clone() if recorded and self._storage.shared else self  # the gradient may need the old value
        result = getattr(before, name)(*args, **kwargs)
        if result.shape != self.shape:
            raise ShapeError(
                f"{name} in place: the result has shape {result.shape}, the tensor {self.shape}; use x.{name}(...)"
            )
        if CATEGORIES[result.dtype.kind] > CATEGORIES[self.dtype.kind]:
            raise DtypeError(
                f"{name} in place: the result is {result.dtype}, the tensor {self.dtype}; "
                f"convert it first, with .to(mg.{result.dtype})"
            )
        return self._change(ops.assign, result)

    return method


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

        # operation(self, *others); operation(other, self); and self becomes operation(self, *others) in its own memory
        def _run(self, operation: Op, *others: Any, **settings: Any) -> Tensor: ...
        def _run_after(self, operation: Op, other: Any) -> Tensor: ...
        def _change(self, operation: Op, *others: Any, **settings: Any) -> Tensor: ...
