"""PyTorch's names for compiling models.  Functions and modules are returned as they are; functions with a warning."""

from functools import partial
from typing import Any

from .names import warn_once

__all__ = ["export", "ignore", "is_scripting", "is_tracing", "script", "trace", "unused"]
__dir__ = __all__.copy


def _keep(where: str, obj: Any = None, *_: Any, **__: Any) -> Any:
    if not callable(obj):  # given options only: a decorator
        return partial(_keep, where)
    if where != "jit" and not hasattr(obj, "named_modules"):  # calls of modules are recorded and replayed anyway
        warn_once(f"{where}: returns the function as it is; record training steps and inference with mg.graph")
    return obj


script, trace, compile = (partial(_keep, name) for name in ("jit.script", "jit.trace", "compile"))
export = ignore = unused = partial(_keep, "jit")
is_scripting = is_tracing = lambda: False
