"""Functions of each element, comparison, logic and bits, with their forms that write in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..checks import brief
from ..errors import DtypeError, ValidationError
from ..ops.op import Op
from .base import InPlace, Methods, composed

if TYPE_CHECKING:
    from ..tensors import Tensor


def _unary(operation: Op, text: str) -> Callable[[Any], Tensor]:
    """The method that runs an operation on one tensor."""
    return composed(operation.name, lambda self: self._run(operation), text)


def _binary(operation: Op, text: str) -> Callable[[Any, Any], Tensor]:
    """The method that runs an operation on a tensor and another tensor or number."""
    return composed(operation.name, lambda self, other: self._run(operation, other), text)


def _logical(name: str, operation: Op, text: str) -> Callable[[Any, Any], Tensor]:
    """The method that runs an operation on whether elements differ from 0; nan does."""
    return composed(name, lambda self, other: self._run(ops.ne, 0)._run(operation, other._run(ops.ne, 0)), text)


def _operators(operation: Op) -> tuple[Callable[[Any, Any], Tensor], ...]:
    """The operators x + y, y + x with a number y, and x += y."""
    return (
        lambda self, other: self._run(operation, other),
        lambda self, other: self._run_after(operation, other),
        lambda self, other: self._change(operation, other),
    )


class Elementwise(Methods):
    """Functions of each element, comparison and logic."""

    __slots__ = ()

    # ---- operators

    __mod__, __rmod__, __imod__ = _operators(ops.remainder)
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operators(ops.floor_divide)
    __and__, __rand__, __iand__ = _operators(ops.bitwise_and)
    __or__, __ror__, __ior__ = _operators(ops.bitwise_or)
    __xor__, __rxor__, __ixor__ = _operators(ops.bitwise_xor)
    __lshift__, __rlshift__, __ilshift__ = _operators(ops.bitwise_left_shift)
    __rshift__, __rrshift__, __irshift__ = _operators(ops.bitwise_right_shift)
    *_, __ipow__ = _operators(ops.pow)
    __invert__ = _unary(ops.bitwise_not, "")

    def __pos__(self) -> Tensor:
        return self.positive()

    # ---- comparison, logic, bits

    eq = _binary(ops.eq, "Whether elements are equal, as ==.")
    ne = not_equal = _binary(ops.ne, "Whether elements differ, as !=.")
    gt = greater = _binary(ops.gt, "self > other.")
    ge = greater_equal = _binary(ops.ge, "self >= other.")
    lt = less = _binary(ops.lt, "self < other.")
    le = less_equal = _binary(ops.le, "self <= other.")
    bitwise_and = _binary(ops.bitwise_and, "self & other, of whole numbers or bool.")
    bitwise_or = _binary(ops.bitwise_or, "self | other, of whole numbers or bool.")
    bitwise_xor = _binary(ops.bitwise_xor, "self ^ other, of whole numbers or bool.")
    bitwise_not = _unary(ops.bitwise_not, "~self: every bit inverted; of bool, the opposite.")
    bitwise_left_shift = _binary(ops.bitwise_left_shift, "self << other, of whole numbers.")
    bitwise_right_shift = _binary(ops.bitwise_right_shift, "self >> other, of whole numbers; the sign is kept.")

    logical_and = _logical("logical_and", ops.bitwise_and, "Whether both elements differ from 0; nan does.")
    logical_or = _logical("logical_or", ops.bitwise_or, "Whether one of both elements differs from 0.")
    logical_xor = _logical("logical_xor", ops.bitwise_xor, "Whether exactly one of both elements differs from 0.")
    logical_not = composed("logical_not", lambda x: x._run(ops.eq, 0), "Whether elements are 0, or False.")

    isnan = composed("isnan", lambda x: x._run(ops.ne, x), "Whether elements are nan.")
    isposinf = composed("isposinf", lambda x: x == math.inf, "Whether elements are inf.")
    isneginf = composed("isneginf", lambda x: x == -math.inf, "Whether elements are -inf.")
    isinf = composed("isinf", lambda x: x.isposinf() | x.isneginf(), "Whether elements are inf or -inf.")
    isfinite = composed("isfinite", lambda x: (x > -math.inf) & (x < math.inf), "Neither nan, inf nor -inf.")

    # ---- functions of one tensor; whole numbers give float32

    sin = _unary(ops.sin, "The sine of an angle in radians.")
    cos = _unary(ops.cos, "The cosine of an angle in radians.")
    tan = _unary(ops.tan, "The tangent of an angle in radians.")
    asin = arcsin = _unary(ops.asin, "The angle from -pi/2 to pi/2 with this sine; nan beyond -1 to 1.")
    acos = arccos = _unary(ops.acos, "The angle from 0 to pi with this cosine; nan beyond -1 to 1.")
    atan = arctan = _unary(ops.atan, "The angle from -pi/2 to pi/2 with this tangent.")
    sinh = _unary(ops.sinh, "The hyperbolic sine.")
    cosh = _unary(ops.cosh, "The hyperbolic cosine.")
    asinh = arcsinh = _unary(ops.asinh, "The number with this hyperbolic sine.")
    acosh = arccosh = _unary(ops.acosh, "The number from 0 up with this hyperbolic cosine; nan below 1.")
    atanh = arctanh = _unary(ops.atanh, "The number with this hyperbolic tangent; nan beyond -1 to 1.")
    expm1 = _unary(ops.expm1, "e**x - 1, exact near 0.")
    log1p = _unary(ops.log1p, "log(1 + x), exact near 0.")
    log2 = _unary(ops.log2, "The logarithm to base 2.")
    log10 = _unary(ops.log10, "The logarithm to base 10.")
    erf = _unary(ops.erf, "The error function, 2/sqrt(pi) times the integral of e**(-t*t) from 0 to x.")
    erfc = _unary(ops.erfc, "1 - erf(x), exact for large x.")

    exp2 = composed("exp2", lambda x: x._run_after(ops.pow, 2.0), "2**x.")
    rsqrt = composed("rsqrt", lambda x: x.sqrt().reciprocal(), "1 / sqrt(x).")
    reciprocal = composed("reciprocal", lambda x: x._run_after(ops.div, 1.0), "1 / x.")
    deg2rad = composed("deg2rad", lambda x: x * (math.pi / 180), "Degrees as radians.")
    rad2deg = composed("rad2deg", lambda x: x * (180 / math.pi), "Radians as degrees.")

    def logit(self, eps: float | None = None) -> Tensor:
        """log(x / (1 - x)), the inverse of sigmoid; with eps, x is first limited to eps..1-eps."""
        x = self._run(ops.mul, 1.0) if eps is None else self.clip(eps, 1 - eps)
        return (x / (1 - x)).log()

    # ---- rounding and sign; whole numbers keep their dtype

    floor = _unary(ops.floor, "The largest whole number that is not above; the gradient is 0.")
    ceil = _unary(ops.ceil, "The smallest whole number that is not below; the gradient is 0.")
    trunc = fix = _unary(ops.trunc, "Without the fraction, rounded towards 0; the gradient is 0.")
    sign = sgn = _unary(ops.sign, "1, 0 or -1: the sign, 0 for nan; the gradient is 0.")

    def round(self, *, decimals: int = 0) -> Tensor:
        """Rounded to a number of decimals, halves to the even digit; the gradient is 0.

        decimals   only of floats, or DtypeError; negative for tens, hundreds, ...
        """
        if decimals == 0:
            return self._run(ops.round)
        if self.dtype.kind != "f":
            raise DtypeError(f"round: decimals is {decimals} for {self.dtype} numbers; convert them with .float()")
        scale = 10.0 ** abs(decimals)
        return (self * scale).round() / scale if decimals > 0 else (self / scale).round() * scale

    frac = composed("frac", lambda x: x - x.trunc(), "The fraction, with the sign of x.")
    absolute = _unary(ops.abs, "The absolute value; the gradient at 0 is 0.")
    negative = _unary(ops.neg, "-self.")

    def positive(self) -> Tensor:
        """The tensor itself, as +x; DtypeError for bool, which has no sign."""
        if self.dtype.kind == "b":
            raise DtypeError("positive: a bool tensor has no sign; convert it with .long()")
        return self  # type: ignore[return-value]

    def nan_to_num(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """With numbers in place of nan, inf and -inf; None stands for the largest and the smallest of the dtype."""
        if self.dtype.kind != "f":
            return self.clone()
        high = float(np.finfo(self.dtype).max) if posinf is None else posinf
        low = float(np.finfo(self.dtype).min) if neginf is None else neginf
        found = self.isneginf()._run(ops.where, low, self)
        return self.isnan()._run(ops.where, nan, self.isposinf()._run(ops.where, high, found))

    # ---- functions of two tensors, or a tensor and a number

    subtract = composed("subtract", lambda x, other, *, alpha=1: x.sub(other, alpha=alpha), "self - alpha * other.")

    def divide(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """self / other, rounded as by div."""
        return self.div(other, rounding_mode=rounding_mode)

    multiply = _binary(ops.mul, "self * other.")
    true_divide = _binary(ops.div, "self / other; whole numbers give float32.")
    remainder = _binary(ops.remainder, "self % other, with the sign of `other`.")
    floor_divide = _binary(ops.floor_divide, "self // other, rounded down.")
    fmod = _binary(ops.fmod, "What remains of self / other, with the sign of self.")

    def _divide_rounded(self, other: Any, mode: str) -> Tensor:
        if mode not in ("trunc", "floor"):
            raise ValidationError(f"div: rounding_mode is {brief(mode)}; use None, 'trunc' or 'floor'")
        if mode == "floor":
            return self.floor_divide(other)
        rest = self.fmod(other)
        return (self / other).trunc() if rest.dtype.kind == "f" else (self - rest).floor_divide(other)

    atan2 = arctan2 = _binary(ops.atan2, "The angle, in radians from -pi to pi, of the point (other, self).")
    hypot = _binary(ops.hypot, "sqrt(self**2 + other**2), without overflow.")
    logaddexp = _binary(ops.logaddexp, "log(e**self + e**other), without overflow.")
    fmax = _binary(ops.fmax, "The larger of two elements; where one is nan, the other.")
    fmin = _binary(ops.fmin, "The smaller of two elements; where one is nan, the other.")

    def clamp_min(self, min: Any) -> Tensor:
        """No element below `min`."""
        return self.clip(min=min)

    def clamp_max(self, max: Any) -> Tensor:
        """No element above `max`."""
        return self.clip(max=max)

    def lerp(self, end: Tensor, weight: Any) -> Tensor:
        """self + weight * (end - self): self at weight 0, `end` at weight 1."""
        if isinstance(weight, float | int) and weight >= 0.5:
            return end - (end - self) * (1 - weight)
        return self + (end - self) * weight

    def addcmul(self, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
        """self + value * tensor1 * tensor2."""
        return self.add(tensor1 * tensor2, alpha=value)

    def addcdiv(self, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
        """self + value * tensor1 / tensor2."""
        return self.add(tensor1 / tensor2, alpha=value)

    # ---- in place

    abs_ = absolute_ = acos_ = acosh_ = addcdiv_ = addcmul_ = arccos_ = arccosh_ = arcsin_ = arcsinh_ = InPlace()
    arctan_ = arctan2_ = arctanh_ = asin_ = asinh_ = atan_ = atan2_ = atanh_ = ceil_ = clamp_ = clamp_max_ = InPlace()
    bitwise_and_ = bitwise_left_shift_ = bitwise_not_ = bitwise_or_ = bitwise_right_shift_ = bitwise_xor_ = InPlace()
    clamp_min_ = clip_ = cos_ = cosh_ = deg2rad_ = div_ = divide_ = eq_ = erf_ = erfc_ = exp_ = exp2_ = InPlace()
    expm1_ = fix_ = floor_ = floor_divide_ = fmod_ = frac_ = ge_ = greater_ = greater_equal_ = gt_ = InPlace()
    hypot_ = le_ = lerp_ = less_ = less_equal_ = log_ = log10_ = log1p_ = log2_ = logical_and_ = InPlace()
    logical_not_ = logical_or_ = logical_xor_ = logit_ = lt_ = multiply_ = nan_to_num_ = ne_ = neg_ = InPlace()
    negative_ = not_equal_ = pow_ = rad2deg_ = reciprocal_ = remainder_ = round_ = rsqrt_ = sgn_ = InPlace()
    sigmoid_ = sign_ = sin_ = sinh_ = sqrt_ = square_ = subtract_ = tan_ = tanh_ = true_divide_ = trunc_ = InPlace()
