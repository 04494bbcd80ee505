"""Declarations of element-wise operations: from formulas to operations with kernels on every backend.

A formula is a function of numbers, in the subset of Python that Numba compiles.  Numbers in it are written
`const(0.5, x)`, in the dtype of x: a bare 0.5 would turn float32 arithmetic into float64.  Functions such as exp are
those of runtime/math.py.  A reference is the same in NumPy, on arrays.
"""

import inspect

import numpy as np

from ..runtime import memory
from ..runtime.kernel import Bytes, Memory
from ..shapes import broadcast
from .op import Dispatch, Op
from .promotion import (
    BOOL,
    INT64,
    as_float,
    cast_all,
    common_dtype,
    expect_fits,
    expect_float,
    fits,
    like,
    prepare,
    result_type,
)


def unary(name, formula, reference, convert=as_float, derivative=None) -> Op:
    """An operation on one array, which convert(name, array) may convert or refuse; whole numbers become float32.

    derivative   g times the derivative, in terms of operations: a function of (do, g), and of a, out or both
    """
    dispatch = Dispatch(name, fill_by(reference), formula=formula)

    def forward(device, a):
        a = convert(name, a)
        out = memory.empty_like(a)
        dispatch[device.type](a, out)
        return out

    operation = Op(forward, name=name, elementwise=True)
    if derivative is not None:
        needs = tuple(inspect.signature(derivative).parameters)[2:]
        operation.gradient(lambda do, g, **values: (lambda: derivative(do, g, **values),), needs)
    return operation


def binary(name, formula, reference, dtype_of=common_dtype) -> Op:
    """An operation on two arrays or numbers, computed in the dtype dtype_of(name, a, b)."""
    dispatch = Dispatch(name, fill_by(reference), formula=formula)

    def forward(device, a, b):
        (a, b), out = prepare(name, device, dtype_of(name, a, b), a, b)
        dispatch[device.type](a, b, out)
        return out

    operation = Op(forward, name=name, elementwise=True)
    operation.dispatch = dispatch
    return operation


def activation(
    name, label, *, formula, backward, reference, reference_backward, second=None, convert=expect_float
) -> Op:
    """An activation, and the operation `name`_backward of its gradient.

    label               its name in pictures
    formula             of x, and of settings, which become keyword arguments of the operation
    backward            of g and either x or out, as its second parameter is named, and of the settings: g times the
                        derivative
    reference, reference_backward
                        the same in NumPy, on arrays
    second              the derivative of `backward` by its second argument, in terms of operations; None if it is 0:
                        second(do, g, x, **settings)
    convert             convert(name, x) may convert or refuse x; whole numbers are refused
    """
    settings = tuple(inspect.signature(formula).parameters)[1:]
    kept = list(inspect.signature(backward).parameters)[1]
    numbers = (float,) * len(settings)
    forward_dispatch = Dispatch(name, fill_by(reference), formula=formula, kinds=(Memory, *numbers, Memory))
    backward_dispatch = Dispatch(
        f"{name}_backward", fill_by(reference_backward), formula=backward, kinds=(Memory, Memory, *numbers, Memory)
    )

    def forward(device, x, **given):
        x = convert(name, x)
        out = memory.empty_like(x)
        forward_dispatch[device.type](x, *[given[setting] for setting in settings], out)
        return out

    def backward_forward(device, g, x, **given):
        dx = memory.empty_like(x)
        backward_dispatch[device.type](g, x, *[given[setting] for setting in settings], dx)
        return dx

    operation = Op(forward, name=name, elementwise=True, activation=label)
    gradient = Op(backward_forward, name=f"{name}_backward", inputs=("g", kept), elementwise=True)

    def rule(do, g, **needs):
        value = needs.pop(kept)
        return (lambda: getattr(do, gradient.name)(g, value, **needs),)

    def second_rule(do, h, **needs):
        g, value = needs.pop("g"), needs.pop(kept)
        by_value = None if second is None else lambda: do.mul(h, second(do, g, value, **needs))
        return lambda: getattr(do, gradient.name)(h, value, **needs), by_value

    operation.gradient(rule, (kept, *settings))
    gradient.gradient(second_rule, ("g", kept, *settings))
    return operation


def comparison(name, formula, reference) -> Op:
    """An operation on two arrays or numbers that gives bool and has no gradient."""
    kinds = (Memory, Memory, Bytes)
    dispatch = Dispatch(name, fill_by(reference), formula=formula, kinds=kinds)

    def forward(device, a, b):
        dtype = result_type(name, a, b)
        numbers = [side for side in (a, b) if not memory.is_array(side)]
        if dtype.kind in "iu" and not all(fits(number, dtype) for number in numbers):
            dtype = INT64  # comparing uint8 with 300 is allowed
            for number in numbers:
                expect_fits(name, number, dtype)
        a, b = (side if memory.is_array(side) else np.array(side, dtype) for side in cast_all(dtype, a, b))
        out = like(device, broadcast(name, a.shape, b.shape), BOOL, a, b)
        dispatch[device.type](a, b, out)
        return out

    return Op(forward, name=name)


def fill_by(reference):
    """A function of arrays as an implementation, which writes to its last argument."""
    if isinstance(reference, np.ufunc):
        return lambda *arrays: reference(*arrays[:-1], out=arrays[-1])
    return lambda *arrays: np.copyto(arrays[-1], reference(*arrays[:-1]))
