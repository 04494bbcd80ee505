"""Typed constants and elementary functions for CUDA kernels, and the formulas of the CPU kernels compiled to use them,
so that each operation's formula is written once.
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
from .driver import helper

if driver.SIMULATED:

    def const(value, like):
        """The number `value` in the type of `like`, a number or an array."""
        return (like.dtype.type if hasattr(like, "dtype") else type(like))(value)

else:
    from numba.cuda.extending import intrinsic

    @intrinsic
    def const(typing, value, like):
        """The number `value` in the type of `like`, a number or an array."""
        from numba.cuda import types as kinds

        source, kind = kinds.unliteral(value), like.dtype if isinstance(like, kinds.Array) else kinds.unliteral(like)

        def generate(context, builder, signature, args):
            return context.cast(builder, args[0], source, kind)

        return kind(source, like), generate


_library = np if driver.SIMULATED else math  # np keeps float32; Numba compiles math's functions for the type of x
pi = math.pi
exp, log, tanh, sqrt = _library.exp, _library.log, _library.tanh, _library.sqrt
erf = (lambda x: type(x)(math.erf(x))) if driver.SIMULATED else math.erf


@helper
def larger(a, b):
    """The larger of two numbers of one type."""
    return a if a > b else b


@helper
def smaller(a, b):
    """The smaller of two numbers of one type."""
    return a if a < b else b


@helper
def precedes(value, best):
    """Whether `value` replaces `best` in a search for the first largest: it is larger, or the first nan."""
    return value > best or (value != value and best == best)


@helper
def compensated_total(total, lost):
    """The value of a compensated sum; total alone where `lost` is infinite or nan, as it is once total is."""
    return total + lost if lost - lost == 0 else total


INSTEAD = {id(host_math.const): const, id(host_math.larger): larger, id(host_math.smaller): smaller}


@cache
def translated(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a formula of the CPU kernels for CUDA kernels: the same instructions with the functions of this file."""
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
    return helper(function)


compensated_add = translated(host_math.compensated_add)
