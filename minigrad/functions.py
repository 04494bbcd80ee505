"""Methods of Tensor as functions: `mg.sum(x, dim=1)` is `x.sum(dim=1)`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from . import ops
from .errors import DtypeError
from .tensors import Tensor, apply

Params = ParamSpec("Params")
Result = TypeVar("Result")


def make_function(
    method: Callable[Concatenate[Tensor, Params], Result],
) -> Callable[Concatenate[Tensor, Params], Result]:
    """Return a method of Tensor as a function whose first argument is called `input`.

    method   a method of Tensor; its docstring and its other arguments are kept

    Raises   DtypeError   when the function is called with anything but a tensor
    Example
    >>> double = make_function(Tensor.double)
    >>> double(Tensor([1.0])).dtype
    dtype('float64')
    """
    name = method.__name__

    @wraps(method, assigned=("__name__", "__doc__"), updated=())
    def function(input: Tensor, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        if not isinstance(input, Tensor):
            raise DtypeError(f"{name}: expected a Tensor, got {type(input).__name__}; use mg.tensor(...)")
        if args or kwargs:
            return method(input, *args, **kwargs)
        return method(input)  # type: ignore[call-arg]  # without unpacking, which takes as long as two calls

    _, *others = [p.replace(annotation=p.empty) for p in inspect.signature(method).parameters.values()]
    first = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__qualname__ = name
    function.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return function


__all__: list[str] = []
__dir__ = __all__.copy


# ---- elementwise

__all__ += [
    "abs",
    "add",
    "clamp",
    "clip",
    "div",
    "exp",
    "log",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "sqrt",
    "sub",
]

exp = make_function(Tensor.exp)
log = make_function(Tensor.log)
sqrt = make_function(Tensor.sqrt)
abs = make_function(Tensor.abs)
neg = make_function(Tensor.neg)
add = make_function(Tensor.add)
sub = make_function(Tensor.sub)
mul = make_function(Tensor.mul)
div = make_function(Tensor.div)
maximum = make_function(Tensor.maximum)
minimum = make_function(Tensor.minimum)
clip = make_function(Tensor.clip)
clamp = clip


def pow(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """`input` to the power of `exponent`, element by element; one of them may be a number.

    Raises   DtypeError   neither is a tensor
    Example
    >>> pow(2, Tensor([3.0]))
    tensor([8.])
    """
    return apply(ops.pow, input, exponent)


# ---- activations

__all__ += ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]

relu = make_function(Tensor.relu)
sigmoid = make_function(Tensor.sigmoid)
tanh = make_function(Tensor.tanh)
softmax = make_function(Tensor.softmax)
log_softmax = make_function(Tensor.log_softmax)

# ---- reductions

__all__ += ["all", "amax", "amin", "any", "argmax", "argmin", "max", "mean", "min", "std", "sum", "var"]

sum = make_function(Tensor.sum)
mean = make_function(Tensor.mean)
var = make_function(Tensor.var)
std = make_function(Tensor.std)
max = make_function(Tensor.max)
min = make_function(Tensor.min)
amax = make_function(Tensor.amax)
amin = make_function(Tensor.amin)
argmax = make_function(Tensor.argmax)
argmin = make_function(Tensor.argmin)
any = make_function(Tensor.any)
all = make_function(Tensor.all)

# ---- linear algebra

__all__ += ["matmul"]

matmul = make_function(Tensor.matmul)

# ---- shapes

__all__ += ["flatten", "permute", "reshape", "squeeze", "transpose", "unsqueeze"]

reshape = make_function(Tensor.reshape)
flatten = make_function(Tensor.flatten)
permute = make_function(Tensor.permute)
transpose = make_function(Tensor.transpose)
squeeze = make_function(Tensor.squeeze)
unsqueeze = make_function(Tensor.unsqueeze)

# ---- selection

__all__ += []
