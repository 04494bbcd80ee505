"""Functions made from generated text.

Text is generated where a loop over arguments costs too much: a launch takes 2 us of Python written out for its
parameters, and 5 us with a loop over them (one core of a Xeon, 2025).  A kernel needs one parameter for each operand,
because Numba compiles functions of fixed arity.
"""

import linecache
from itertools import count
from typing import Any

_numbers = count()


def define(text: str, **scope: Any) -> Any:
    """The function that the text defines, with `scope` as its global names.  Tracebacks show its lines."""
    file = f"<generated {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    return scope[text.split("def ", 1)[1].split("(", 1)[0]]
