"""Functions that are made from generated text, or from the text of another function.

Text is generated for a launch, because Python written out for a kernel's parameters takes 2 us and a loop over them 5
us (one core of a Xeon, 2025); and for element-wise kernels, because Numba compiles functions with a fixed number of
parameters.
"""

import ast
import inspect
import linecache
import textwrap
from itertools import count
from types import FunctionType
from typing import Any

_numbers = count()


def define_function(text: str, **scope: Any) -> Any:
    """Return the first function that a text defines, with `scope` as its globals.  Tracebacks show its lines."""
    file = f"<minigrad {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    return scope[text.split("def ", 1)[1].split("(", 1)[0]]


def with_other_parameters(function: FunctionType, parameters: str, first_line: str, **scope: Any) -> Any:
    """Return a function with the body of another one, other parameters and a first line that sets the old ones.

    It has the lines and the globals of the other function, and also `scope`.

    Raises   OSError   the text of the function is not known
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    head: Any = ast.parse(f"def {function.__name__}({parameters}):\n    {first_line}").body[0]
    definition: Any = tree.body[0]
    head.body += definition.body
    tree.body[0] = ast.copy_location(head, definition)
    ast.increment_lineno(ast.fix_missing_locations(tree), function.__code__.co_firstlineno - 1)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = {**function.__globals__, **dict(zip(function.__code__.co_freevars, cells, strict=True)), **scope}
    exec(compile(tree, function.__code__.co_filename, "exec"), names)
    return names[function.__name__]
