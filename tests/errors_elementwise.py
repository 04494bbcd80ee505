"""Rows of test_errors.py: functions of each element, bits, dtypes."""

import minigrad as mg
from minigrad.errors import DtypeError, GraphError, ShapeError, ValidationError

x2, x23, whole, flags = mg.zeros(2), mg.zeros(2, 3), mg.tensor([1, 2]), mg.tensor([True, False])
BY_ZERO = "whole numbers cannot be divided by 0; convert them with .float() for inf and nan"
KNOWN = "use float32, float64, int64, int32, uint8, bool"

MESSAGES = [
    (lambda: ~x2, DtypeError, "bitwise_not: expected whole numbers or bool, got float32; compare first, or use -x"),
    (lambda: x2 & whole, DtypeError, "bitwise_and: expected whole numbers or bool, got float32; convert with .long()"),
    (lambda: 1.5 | whole, DtypeError, "bitwise_or: expected whole numbers or bool, got float32; convert with .long()"),
    (lambda: flags << 1.0, DtypeError, "bitwise_left_shift: expected whole numbers, got float32; convert with .long()"),
    (lambda: flags >> flags, DtypeError, "bitwise_right_shift: expected whole numbers, got bool; convert with .long()"),
    (lambda: whole & None, DtypeError, "bitwise_and: expected a Tensor or a real number, got NoneType"),
    (lambda: whole % 0, ValidationError, f"remainder: {BY_ZERO}"),
    (lambda: whole // mg.tensor([1, 0]), ValidationError, f"floor_divide: {BY_ZERO}"),
    (lambda: mg.fmod(1, 0), DtypeError, "fmod: expected a Tensor, got int; use mg.tensor(...)"),
    (lambda: whole.fmod(0), ValidationError, f"fmod: {BY_ZERO}"),
    (lambda: flags % True, DtypeError, "remainder: bool tensors cannot be divided; convert one with .long()"),
    (
        lambda: x2.div(2, rounding_mode="up"),
        ValidationError,
        "div: rounding_mode is 'up'; use None, 'trunc' or 'floor'",
    ),
    (lambda: whole.round(decimals=1), DtypeError, "round: decimals is 1 for int64 numbers; convert them with .float()"),
    (lambda: +flags, DtypeError, "positive: a bool tensor has no sign; convert it with .long()"),
    (
        lambda: x2.atan2_(x23[:, :2]),
        ShapeError,
        "atan2 in place: the result has shape (2, 2), the tensor (2,); use x.atan2(...)",
    ),
    (
        lambda: whole.sin_(),
        DtypeError,
        "sin in place: the result is float32, the tensor int64; convert it first, with .to(mg.float32)",
    ),
    (
        lambda: mg.zeros(1).expand(2).cos_(),
        GraphError,
        "cos in place: the tensor is expanded, so several of its elements share memory; change x.clone()",
    ),
    (lambda: x2.clamp_(), ValidationError, "clip: min and max are both None; give at least one"),
    (lambda: x2.half(), DtypeError, f"half: there is no dtype float16; {KNOWN}"),
    (lambda: x2.bfloat16(), DtypeError, f"bfloat16: there is no dtype bfloat16; {KNOWN}"),
    (lambda: x2.short(), DtypeError, f"short: there is no dtype int16; {KNOWN}"),
    (
        lambda: x2.type("torch.HalfTensor"),
        DtypeError,
        "type: HalfTensor is not supported; use FloatTensor, DoubleTensor, LongTensor, IntTensor, ByteTensor, "
        "BoolTensor",
    ),
]
