"""Names that do not exist: errors with the nearest ones.  Settings without effect: warnings, each given once."""

import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from types import ModuleType

_said: set[str] = set()


def unknown_name(where: str, name: str, names: Iterable[str], **about: object) -> AttributeError:
    """Return the error `where has no 'name'; there is A, B`, with the names that are nearest, in any case of letters.

    about   obj=, the object without the attribute
    """
    by_lower: dict[str, list[str]] = {}
    for known in names:
        if not known.startswith("_"):
            by_lower.setdefault(known.lower(), []).append(known)
    near = [] if name.startswith("_") else get_close_matches(name.lower(), by_lower, 3)
    listed = ", ".join(known for lower in near for known in by_lower[lower])
    text = f"{where} has no {name!r}" + (f"; there is {listed}" if listed else "")
    return AttributeError(text, name=None, **about)  # name=None: Python would add its own "Did you mean"


def explain_unknown_names(*modules: ModuleType) -> None:
    """Make modules refuse names that they do not have with the nearest names of their `__all__`."""
    for module in modules:  # not by a def in each: type checkers would then accept every name
        vars(module)["__getattr__"] = partial(_refuse, module)


def _refuse(module: ModuleType, name: str) -> object:
    raise unknown_name(module.__name__.replace("minigrad", "mg", 1), name, module.__all__)


def warn_once(message: str, level: int = 3) -> None:
    """Warn about a setting without effect, once in a process, at the line that many calls above."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, stacklevel=level)
