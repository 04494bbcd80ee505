"""Checks of whole numbers, ranges and indices, and the words of their errors."""

import operator
from typing import Any

from .errors import DtypeError, OutOfRangeError, ValidationError

LARGEST_SEED = 2**64 - 1


def whole_number(where: str, name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int, if it is a whole number from `least` to `most`; a bool is not one.

    Raises   ValidationError   it is not
    Example
    >>> whole_number("DataLoader", "batch_size", 32, least=1)
    32
    """
    number = _as_int(value)
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        raise ValidationError(f"{where}: {name} is {value!r}; use a whole number{_range(least, most)}")
    return number


def number_in_range(where: str, name: str, value: float, least: float, most: float | None = None) -> None:
    """Refuse a number below `least` or above `most`, nan, and anything that is not a number.

    Raises   ValidationError   naming the setting
    Example
    >>> number_in_range("Dropout", "p", 0.5, 0, 1)
    """
    try:
        fits = value >= least and (most is None or value <= most)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValidationError(f"{where}: {name} is {value!r}; use a number{_range(least, most)}")


def index_in_range(where: str, index: Any, size: int, items: str, advice: str = "") -> int:
    """Return an index as an int from 0 to size - 1; a negative one counts from the end.

    items    what is counted, for messages
    advice   added to the message where the index is not a whole number

    Raises   DtypeError        the index is not a whole number
             OutOfRangeError   there is no such item
    Example
    >>> index_in_range("Sequential", -1, 3, "modules")
    2
    """
    number = _as_int(index)
    if number is None:
        raise DtypeError(f"{where}: index is {index!r}; use a whole number{advice}")
    if not -size <= number < size:
        use = f"use {-size} to {size - 1}" if size else "there is nothing to index"
        raise OutOfRangeError(f"{where}: index {index} is out of range for {size} {items}; {use}")
    return number % size


def type_with_article(value: Any) -> str:
    """Return the type of a value as text, with its article; None is its own name.

    Example
    >>> type_with_article(3), type_with_article([])
    ('an int', 'a list')
    """
    name = type(value).__name__
    article = "an" if name[0] in "aeiouAEIO" or name == "ndarray" else "a"
    return "None" if value is None else f"{article} {name}"


def _as_int(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError):
        return None


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return ""
    if most is None:
        return f" of {least} or more"
    return f" from {least} to {'2**64 - 1' if most == LARGEST_SEED else most}"
