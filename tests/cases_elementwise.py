"""Cases of elementary functions, rounding, remainders and bits; see cases.py.

A case calls several functions at once; parity_elementwise.py has each alone.
"""

import math

import numpy as np
from cases import PLAIN, draw_broadcastable_shapes, draw_call, draw_values, register_case, shapes


def _erf(x):
    """The error function; its derivative by a small imaginary part is exact."""
    values = np.vectorize(math.erf, otypes=[float])(x.real)
    return values + 2 / math.sqrt(math.pi) * np.exp(-x.real * x.real) * x.imag * 1j if np.iscomplexobj(x) else values


def _rounded(x):
    return np.floor(x) + 2 * np.ceil(x) + 4 * np.trunc(x) + 8 * np.rint(x) + 16 * np.sign(x)


def _rounded_by_tensor(x):
    return x.floor() + 2 * x.ceil() + 4 * x.trunc() + 8 * x.round() + 16 * x.sign()


OFF = 0.01 * math.sqrt(2)  # added to a drawn number, it is no multiple of a half
UNARY = {  # name: run, reference
    "sin, cos, tan": (
        lambda x: x.sin() + 2 * x.cos() + (x / 2).tan(),
        lambda x: np.sin(x) + 2 * np.cos(x) + np.tan(x / 2),
    ),
    "sinh, cosh, asinh": (
        lambda x: x.sinh() + 2 * x.cosh() + 3 * x.asinh(),
        lambda x: np.sinh(x) + 2 * np.cosh(x) + 3 * np.log(x + np.sqrt(x * x + 1)),
    ),
    "asin, acos, atan, atanh": (
        lambda x: (x / 3).asin() + 3 * (x / 3).acos() + 2 * x.atan() + (x / 3).atanh(),
        lambda x: 3 * math.pi / 2 - 2 * np.arcsin(x / 3) + 2 * np.arctan(x) + np.arctanh(x / 3),
    ),
    "acosh, log1p, log2, log10": (
        lambda x: (x + 4).acosh() + (x + 4).log1p() + (x + 4).log2() + 2 * (x + 4).log10(),
        lambda x: np.arccosh(x + 4) + np.log(x + 5) + np.log(x + 4) * (1 / math.log(2) + 2 / math.log(10)),
    ),
    "erf, erfc, expm1": (
        lambda x: 3 * x.erf() + (x / 2).erfc() + x.expm1(),
        lambda x: 3 * _erf(x) + 1 - _erf(x / 2) + np.exp(x) - 1,
    ),
    "floor, ceil, trunc, round, sign": (
        lambda x: x * _rounded_by_tensor(x + OFF),
        lambda x: x * _rounded(x.real + OFF),
    ),
}
BINARY = {  # of numbers from -2 to 2, and from 2.5 to 4
    "atan2, hypot, logaddexp": (
        lambda a, b: a.atan2(b) + a.hypot(b) + a.logaddexp(b),
        lambda a, b: np.arctan(a / b) + np.sqrt(a * a + b * b) + np.log(np.exp(a) + np.exp(b)),
    ),
    "fmax, fmin": (
        lambda a, b: a.fmax(b - 3) + 2 * a.fmin(b - 3),
        lambda a, b: np.where(a.real > b.real - 3, a + 2 * (b - 3), b - 3 + 2 * a),
    ),
    "remainder, fmod, floor_divide": (
        lambda a, b: a % b + 2 * a.fmod(b) + a * (a // b),
        lambda a, b: np.where(a.real < 0, a + b, a) + 2 * a + 0 * b + np.where(a.real < 0, -a, 0),
    ),
}
BITS = {
    "bitwise_and": (lambda a, b: a & b, np.bitwise_and),
    "bitwise_or": (lambda a, b: a | b, np.bitwise_or),
    "bitwise_xor": (lambda a, b: a ^ b, np.bitwise_xor),
    "bitwise_not": (lambda a, b: ~a + 0 * b, lambda a, b: ~a + 0 * b),
    "bitwise_left_shift": (lambda a, b: a << abs(b), lambda a, b: a << abs(b)),
    "bitwise_right_shift": (lambda a, b: a >> abs(b), lambda a, b: a >> abs(b)),
}


def _register_unary(name, run, reference):
    @register_case(name)
    def strategy(draw):
        (x,) = draw_values(draw, draw(shapes))
        return draw_call(draw, run, reference, x)


def _register_binary(name, run, reference):
    @register_case(name)
    def strategy(draw):
        a, b = draw_values(draw, *draw_broadcastable_shapes(draw, 2))
        return draw_call(draw, run, reference, a, 3.25 + 0.375 * b)


def _register_bits(name, run, reference):
    @register_case(name, PLAIN)
    def strategy(draw):
        a, b = draw_values(draw, *draw_broadcastable_shapes(draw, 2), low=-20, high=20)
        return draw_call(
            draw,
            lambda a, b: run(a.long(), b.long()),
            lambda a, b: reference(a.astype(np.int64), b.astype(np.int64)),
            np.round(a),
            np.round(b),
        )


for _table, _register in ((UNARY, _register_unary), (BINARY, _register_binary), (BITS, _register_bits)):
    for _name, _row in _table.items():
        _register(_name, *_row)
