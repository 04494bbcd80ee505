"""PyTorch's torch.compiler: calls of modules are recorded and replayed without being asked, see nn/calls.py."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from .runtime.threads import local

__all__ = ["disable", "is_compiling", "run_plainly"]
__dir__ = __all__.copy


def run_plainly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return function(*args, **kwargs); calls of modules in it are neither recorded nor replayed.

    Example
    >>> import minigrad as mg
    >>> model = mg.nn.Linear(2, 1)
    >>> mg.compiler.run_plainly(model, mg.ones(3, 2)).shape
    (3, 1)
    """
    before, local.in_module = local.in_module, True
    try:
        return function(*args, **kwargs)
    finally:
        local.in_module = before


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A decorator: run_plainly for each call of the function.

    recursive, reason   for PyTorch's scripts, without effect
    """
    return partial(disable, recursive=recursive) if fn is None else update_wrapper(partial(run_plainly, fn), fn)


def is_compiling() -> bool:
    """Return False: a recorded call is a plain one, too."""
    return False
