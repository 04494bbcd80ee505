"""Numbers of the right type and elementary functions in CUDA kernels; and the formulas of the CPU's kernels made to use
them, so that an operation's formula is written once.
"""

import math
import sys
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import math as host_math
from . import driver

if driver.SIMULATED:

    def const(value, like):
        """The number `value` in the type of `like`, a number or an array."""
        return (like.dtype.type if hasattr(like, "dtype") else type(like))(value)

    exp, log, tanh, sqrt = np.exp, np.log, np.tanh, np.sqrt

    def erf(x):
        """The error function of x."""
        return type(x)(math.erf(x))

    larger, smaller = max, min

    def settled(total, lost):
        """total + lost, see host_math.added; total alone where lost is infinite or nan, as it is once total is."""
        return total + lost if lost - lost == 0 else total

else:
    from numba.cuda.extending import intrinsic

    from .driver import cuda

    @intrinsic
    def const(typing, value, like):
        """The number `value` in the type of `like`, a number or an array."""
        from numba.cuda import types as kinds

        source, kind = kinds.unliteral(value), like.dtype if isinstance(like, kinds.Array) else kinds.unliteral(like)

        def generate(context, builder, signature, args):
            return context.cast(builder, args[0], source, kind)

        return kind(source, like), generate

    @cuda.jit(device=True)
    def exp(x):
        """e to the power of x."""
        return math.exp(x)

    @cuda.jit(device=True)
    def log(x):
        """The natural logarithm of x."""
        return math.log(x)

    @cuda.jit(device=True)
    def tanh(x):
        """The hyperbolic tangent of x."""
        return math.tanh(x)

    @cuda.jit(device=True)
    def erf(x):
        """The error function of x."""
        return math.erf(x)

    @cuda.jit(device=True)
    def sqrt(x):
        """The square root of x."""
        return math.sqrt(x)

    @cuda.jit(device=True)
    def larger(a, b):
        """The larger of two numbers of one kind."""
        return a if a > b else b

    @cuda.jit(device=True)
    def smaller(a, b):
        """The smaller of two numbers of one kind."""
        return a if a < b else b

    @cuda.jit(device=True)
    def settled(total, lost):
        """total + lost, see host_math.added; total alone where lost is infinite or nan, as it is once total is."""
        return total + lost if lost - lost == 0 else total


INSTEAD = {id(host_math.const): const, id(host_math.larger): larger, id(host_math.smaller): smaller}


@cache
def translated(formula: Callable[..., Any]) -> Callable[..., Any]:
    """A formula written for the CPU's kernels as a function for those of the GPU: the same instructions, with the
    functions of this file."""
    formula = getattr(formula, "py_func", formula)
    names = formula.__code__.co_names
    scope: dict[str, Any] = {"__builtins__": __builtins__, "__name__": formula.__module__}
    for name in names:
        value = formula.__globals__.get(name)
        if value is host_math:
            scope[name] = sys.modules[__name__]
        elif id(value) in INSTEAD:
            scope[name] = INSTEAD[id(value)]
        elif hasattr(value, "py_func"):
            scope[name] = translated(value)
        elif value is not None:
            scope[name] = value
    function = types.FunctionType(formula.__code__, scope, formula.__name__)
    return function if driver.SIMULATED else driver.cuda.jit(device=True)(function)


added = translated(host_math.added)
