"""Checks for tests: values that must agree, and gradients that must be right."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .autograd import gradcheck, gradgradcheck
from .errors import ValidationError
from .tensors import Tensor

__all__ = ["assert_close", "gradcheck", "gradgradcheck"]

TOLERANCES = {"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}  # rtol, atol; 0 for others


def assert_close(
    actual: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
    check_device: bool = True, check_dtype: bool = True, msg: str | None = None,
) -> None:  # fmt: skip
    """Check that |actual - expected| <= atol + rtol * |expected| for every element.

    actual, expected   tensors, arrays, numbers, or lists and dicts of them
    rtol, atol         by default 1.3e-6 and 1e-5 for float32, 1e-7 for float64, and 0 for whole numbers and bool
    equal_nan          whether nan equals nan

    Raises   AssertionError   shapes, dtypes, devices or elements differ; the message names the largest difference
    Example
    >>> import minigrad as mg
    >>> assert_close(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 2.0000001]))
    """
    if (rtol is None) != (atol is None):
        raise ValidationError("assert_close: rtol and atol belong together; give both or none")
    for at, one, other in _pairs("", actual, expected):
        a, b = (x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (one, other))
        facts = [("shape", a.shape, b.shape), ("dtype", a.dtype, b.dtype if check_dtype else a.dtype)]
        if check_device and isinstance(one, Tensor) and isinstance(other, Tensor):
            facts += [("device", one.device, other.device)]
        tolerances = max(TOLERANCES.get(str(x.dtype), (0.0, 0.0)) for x in (a, b)) if rtol is None else (rtol, atol)
        problems = [f"the {what}{at} is {x}, expected {y}" for what, x, y in facts if x != y]
        problem = problems[0] if problems else _difference(at, a, b, *tolerances, equal_nan)
        if problem:
            raise AssertionError(msg or f"assert_close: {problem}")


def _pairs(at: str, actual: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values of lists and dicts, with their places."""
    if not (isinstance(actual, dict | list | tuple) and isinstance(expected, type(actual))):
        yield at, actual, expected
        return
    a, b = (x if isinstance(x, dict) else dict(enumerate(x)) for x in (actual, expected))
    if a.keys() != b.keys():
        raise AssertionError(f"assert_close: the keys{at} are {list(a)}, expected {list(b)}")
    for key in a:
        yield from _pairs(f"{at or ' at '}[{key!r}]", a[key], b[key])


def _difference(at: str, a: Any, b: Any, rtol: Any, atol: Any, equal_nan: bool) -> str:
    """What differs, or an empty string."""
    exact = not (rtol or atol or "f" in (a.dtype.kind, b.dtype.kind))  # int64 does not fit float64
    with np.errstate(all="ignore"):
        same = a == b if exact else np.isclose(a.astype(float), b.astype(float), rtol, atol, equal_nan)
        gaps = np.where(same, -1.0, np.nan_to_num(np.abs(a.astype(float) - b.astype(float)), nan=np.inf))
    if same.all():
        return ""
    place = tuple(np.argwhere(gaps == gaps.max())[0].tolist())
    return (
        f"{int((~same).sum())} of {same.size} elements{at} differ by more than rtol {rtol:g} and atol {atol:g}; the "
        f"largest difference is at {place}: {a[place]!s}, expected {b[place]!s}"
    )
