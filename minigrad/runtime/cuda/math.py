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

        source, kind = kinds.unliteral(value), like.dtype if hasattr(like, "dtype") else kinds.unliteral(like)

        def generate(context, builder, signature, args):
            return context.cast(builder, args[0], source, kind)

        return kind(source, like), generate


pi = math.pi
if driver.SIMULATED:  # NumPy's functions keep float32
    exp, log, tanh, sqrt, sin, cos, tan = np.exp, np.log, np.tanh, np.sqrt, np.sin, np.cos, np.tan
    asin, acos, atan, sinh, cosh, atan2 = np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.arctan2
    asinh, acosh, atanh, fmod = np.arcsinh, np.arccosh, np.arctanh, np.fmod
    expm1, log1p, log2, log10 = np.expm1, np.log1p, np.log2, np.log10
    floor, ceil, trunc, rint = np.floor, np.ceil, np.trunc, np.rint

    def erf(x):
        """The error function of x."""
        return type(x)(math.erf(x))

else:  # Numba compiles these for the type of x
    from math import *  # noqa: F403

    from numba.cuda import libdevice
    from numba.cuda.extending import overload

    def _from_libdevice(name):
        """A function of NVIDIA's library, which has one name for float32 and one for float64."""

        def function(x):
            raise NotImplementedError(f"{name}: only kernels compute it")

        @overload(function, target="cuda")
        def _choose(x):
            chosen = getattr(libdevice, f"{name}f" if x.bitwidth == 32 else name)
            return lambda x: chosen(x)

        return function

    floor, ceil, trunc, rint = (_from_libdevice(name) for name in ("floor", "ceil", "trunc", "rint"))


@helper
def larger(a, b):
    """The larger of two numbers of one type."""
    return a if a > b else b


@helper
def smaller(a, b):
    """The smaller of two numbers of one type."""
    return a if a < b else b


@helper
def where(condition, a, b):
    """a if the condition holds, else b."""
    return a if condition else b


@helper
def log1p_exp(x):
    """log(1 + e**x), without overflow."""
    return larger(x, const(0, x)) + log1p(exp(-abs(x)))


@helper
def normal(x):
    """The normal distribution function of x."""
    return const(0.5, x) * (const(1, x) + erf(x * const(0.5**0.5, x)))


@helper
def precedes(value, best):
    """Whether `value` replaces `best` in a search for the first largest: it is larger, or the first nan."""
    return value > best or (value != value and best == best)


@helper
def compensated_total(total, lost):
    """The value of a compensated sum; total alone where `lost` is infinite or nan, as it is once total is."""
    return total + lost if lost - lost == 0 else total


INSTEAD = {id(getattr(host_math, f.__name__)): f for f in (const, larger, smaller, where)}


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
