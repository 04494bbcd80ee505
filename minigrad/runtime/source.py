"""Functions that are made from generated text.

Text is generated for a launch, because Python written out for a kernel's parameters takes 2 us and a loop over them 5
us (one core of a Xeon, 2025); and for element-wise kernels, because Numba compiles functions with a fixed number of
parameters.
"""

import linecache
from itertools import count
from typing import Any

_numbers = count()


def define_function(text: str, **scope: Any) -> Any:
    """Return the first function that a text defines, with `scope` as its globals.  Tracebacks show its lines."""
    file = f"<minigrad {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    return scope[text.split("def ", 1)[1].split("(", 1)[0]]
