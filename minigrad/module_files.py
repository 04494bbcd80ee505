"""Whole modules in files: the name of each class, and all attributes.

A module is rebuilt without calling its class.  Names of classes and functions are looked up among minigrad's layers and
functions, and those that the caller has confirmed; nothing is imported because a file names it.
"""

from collections.abc import Iterable
from typing import Any

from .errors import DataError, DtypeError


def module_state(module: Any, path: str) -> dict[str, Any]:
    """Return the attributes of a module; refuse one with hooks."""
    hooks = [name for name in vars(module) if name.endswith("_hooks")]
    if any(vars(module)[name] for name in hooks):
        raise DtypeError(f"save: {path or 'the module'} has hooks, which a file cannot hold; remove them first")
    return {name: value for name, value in vars(module).items() if name not in hooks}


def new_module(name: str, classes: Iterable[Any]) -> Any:
    """Return a module of a class, without attributes."""
    from .nn.module import Module

    module = Module.__new__(find_name(name, classes))
    Module.__init__(module)
    return module


def as_parameter(data: Any, requires_grad: bool) -> Any:
    """Return a Parameter."""
    from .nn.parameter import Parameter

    return Parameter(data, bool(requires_grad))


def name_of(value: Any) -> str | None:
    """Return the name of a class or function, as 'package.file:Class'; None if it has none, as a lambda."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "<>")
    nameless = "<" in name and not isinstance(value, type)
    return None if module is None or nameless else f"{module}:{name}"


def find_name(name: str, classes: Iterable[Any]) -> Any:
    """Return the class or function of a name, if it is minigrad's or confirmed."""
    module, _, own = name.partition(":")
    for known in classes:  # a script is __main__ when it runs, and has another name when it is imported
        if known.__qualname__ == own and (known.__module__ == module or "__main__" in (known.__module__, module)):
            return known
    if module.startswith("minigrad."):
        from . import functions, models, nn

        if module.startswith("minigrad.models."):
            place = getattr(models, module.rpartition(".")[2], None)
            found = getattr(place, own, None)
            if isinstance(found, type) and issubclass(found, nn.Module):
                return found
        for place in (nn, nn.functional, functions):
            found = getattr(place, own) if own in place.__all__ else None
            if getattr(found, "__module__", None) == module:
                return found
    raise DataError(
        f"load: the file has a module that uses {name.replace(':', '.')}; if you trust its author, load it with "
        f"classes=[{own.rpartition('.')[2]}]"
    )
