"""Checks of whole numbers, ranges and indices, and the words of their errors."""

import operator
from typing import Any

from .errors import DtypeError, OutOfRangeError, ValidationError

LARGEST_SEED = 2**64 - 1
LONGEST_VALUE = 120  # letters of a value in a message


def whole_number(where: str, name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int; refuse a number that is not whole, a bool, and a number out of the range."""
    number = _as_int(value)
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        raise ValidationError(f"{where}: {name} is {brief(value)}; use a whole number{_range(least, most)}")
    return number


def number_in_range(where: str, name: str, value: float, least: float, most: float | None = None) -> None:
    """Refuse a number out of the range, nan, and a value that is not a number."""
    try:
        fits = value >= least and (most is None or value <= most)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValidationError(f"{where}: {name} is {brief(value)}; use a number{_range(least, most)}")


def index_in_range(where: str, index: Any, size: int, items: str, advice: str = "") -> int:
    """Return an index, counted from the end if it is negative, as an int from 0 to size - 1."""
    number = _as_int(index)
    if number is None:
        raise DtypeError(f"{where}: index is {brief(index)}; use a whole number{advice}")
    if not -size <= number < size:
        use = f"use {-size} to {size - 1}" if size else "there is nothing to index"
        raise OutOfRangeError(f"{where}: index {index} is out of range for {size} {items}; {use}")
    return number % size


def brief(value: Any) -> str:
    """Return a value as messages show it: its repr, cut in the middle if it is long; of arrays, type and shape.

    >>> from numpy import zeros
    >>> brief("mean"), brief([1, 2]), brief(zeros((2, 3, 4)))
    ("'mean'", '[1, 2]', 'an ndarray of shape (2, 3, 4)')
    >>> brief(list(range(1000)))
    'a list of 1000: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 … , 993, 994, 995, 996, 997, 998, 999]'
    """
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and len(shape) and not isinstance(value, type):
        return f"{type_with_article(value)} of shape {shape}"
    text = " ".join(repr(value).split())
    if len(text) <= LONGEST_VALUE:
        return text
    if not isinstance(value, str | bytes | list | tuple | set | dict):
        return type_with_article(value)
    return f"{type_with_article(value)} of {len(value)}: {text[:33]} … {text[-36:]}"


def type_with_article(value: Any) -> str:
    """Return the type of a value with its article, as 'an int' or 'a list'; for None, return 'None'."""
    name = type(value).__name__
    article = "an" if name[0] in "aeiouAEIO" or name == "ndarray" else "a"
    return "None" if value is None else f"{article} {name}"


def _as_int(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError):
        return None


def _range(least: float | None, most: float | None) -> str:
    if most is None:
        return "" if least is None else f" of {least} or more"
    return f" from {least} to {'2**64 - 1' if most == LARGEST_SEED else most}"


def failed_check(_: int, message: str) -> ValidationError:
    """Return the error of a check whose wrong value says nothing, for `device.expect_range`."""
    return ValidationError(message)
