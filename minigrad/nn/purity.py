"""Whether a call of a module only computes tensors, so that a replay may take its place.

While the call is recorded, Python reports every function that it enters (sys.setprofile).  minigrad's functions tell
the recording themselves what a replay must know.  Of the user's functions this must be found out here.  They may

- call functions of the user, of minigrad and of NumPy, and builtin functions without other effects;
- read global variables and attributes of classes that hold plain values, functions, classes, tensors or modules.  These
  variables are Guards: they must hold the same objects at each replay;
- read attributes of modules, which the recording observes, if their values can be compared.

Everything else makes a call impure: print(), Python's random numbers, the clock, files, lists in global variables,
variables of an enclosing function, attributes of other objects.
"""

import dis
import functools
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..dependency import Dependency
from ..element_type import dtype
from ..runtime.device import device

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range, np.generic, dtype, np.dtype)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType, np.ufunc)
DESCRIPTORS = (property, staticmethod, classmethod, types.MemberDescriptorType, functools.cached_property)
BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bin",
        "callable",
        "chr",
        "divmod",
        "format",
        "getattr",
        "hasattr",
        "hash",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "max",
        "min",
        "next",
        "ord",
        "pow",
        "repr",
        "round",
        "sorted",
        "sum",
    ]
)
PURE_MODULES = ("math", "cmath", "_operator", "operator", "_functools", "itertools", "_collections")
CONTAINERS = (list, tuple, dict, set, frozenset)
OWNERS = (*CONTAINERS, str, bytes, int, float, complex, range, np.ndarray, np.generic, types.MappingProxyType)
TRUSTED = ("minigrad", "numpy", "math", "operator", "functools", "itertools", "typing", "collections")
STATEFUL = frozenset(("random", "load", "loadtxt", "fromfile", "seterr", "geterr", "errstate"))  # names in NumPy

Guard = tuple[Any, str, Any]  # a namespace, a name in it, and the object that it must hold

_OURS = str(Path(__file__).resolve().parents[1])
_NUMPY = str(Path(np.__file__).resolve().parent)
_LIBRARIES = tuple(
    {
        _NUMPY,
        sysconfig.get_path("stdlib"),
        *[str(Path(np.__file__).parents[1] / name) for name in ("numba", "llvmlite")],
    }
)


@functools.cache
def _origin(filename: str) -> str:
    """Where code comes from: "ours", "numpy", "library" (of Python, or what minigrad is built on), or "user"."""
    if filename.startswith((_OURS, "<minigrad ")):
        return "ours"
    if filename.startswith(_NUMPY):
        return "numpy"
    is_library = filename.startswith((*_LIBRARIES, "<frozen")) and (
        "site-packages" not in filename or filename.startswith(_LIBRARIES[1:])
    )
    return "library" if is_library else "user"


@functools.cache
def _names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the global variables and of the attributes that code uses."""
    found = [(i.opname, i.argval) for i in dis.get_instructions(code)]
    return (
        frozenset(name for op, name in found if op.endswith(("_GLOBAL", "_NAME"))),
        frozenset(name for op, name in found if op.startswith(("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"))),
    )


class Watcher:
    """The function for sys.setprofile during one call; see above.

    impure       what a replay could not stand for; None as long as there is nothing
    guards       the variables that were read
    attributes   the names of all attributes that the user's functions use
    """

    def __init__(self, root: types.FrameType):
        self.impure: str | None = None
        self.guards: dict[tuple[int, str], Guard] = {}
        self.attributes: set[str] = set()
        self._root, self._seen = root, set[types.CodeType]()

    def __call__(self, frame: types.FrameType, event: str, arg: Any) -> None:
        """Look at a call: of a Python function for event "call", of one written in C for "c_call"."""
        if self.impure is not None or event not in ("call", "c_call"):
            return
        origin = _origin(frame.f_code.co_filename)
        if event == "c_call":
            if origin == "user" and not _is_pure(arg):
                self.impure = f"{getattr(arg, '__qualname__', arg)}() is called"
        elif origin == "user" and frame.f_code not in self._seen:
            self._seen.add(frame.f_code)
            self._look_at(frame)
        elif origin == "library" and frame.f_back and _origin(frame.f_back.f_code.co_filename) == "user":
            self.impure = f"{frame.f_code.co_qualname}() is called"

    def _look_at(self, frame: types.FrameType) -> None:
        """Note what a function of the user reads."""
        code = frame.f_code
        variables, attributes = _names(code)
        self.attributes |= attributes
        cells = _cells(frame)
        for name in code.co_freevars:
            if name in cells:
                self._guard(_Cell(cells[name]), name, attributes)
            elif not self._is_local_of_a_caller(frame, name):
                self.impure = f"{name!r} is a variable of an enclosing function"
        for name in variables & frame.f_globals.keys():
            self._guard(frame.f_globals, name, attributes)

    def _is_local_of_a_caller(self, frame: types.FrameType, name: str) -> bool:
        """Whether a variable belongs to a function that runs inside the call, and that contains this function."""
        caller = frame.f_back
        while caller is not None and caller is not self._root:
            if name in caller.f_code.co_cellvars and frame.f_code in caller.f_code.co_consts:
                return True
            caller = caller.f_back
        return False

    def _guard(self, space: Any, name: str, attributes: Iterable[str]) -> None:
        """Add a variable to the guards, and those that are read through it if it holds a module or a class."""
        value = space.get(name)
        key = id(getattr(space, "cell", space)), name
        if key in self.guards:
            return
        self.guards[key] = space, name, value
        if isinstance(value, types.ModuleType):
            trusted = value.__name__.split(".")[0] in TRUSTED
            if trusted and STATEFUL.intersection(attributes) and value.__name__.startswith("numpy"):
                self.impure = "a function of NumPy with a state is used"
            for part in [] if trusted else vars(value).keys() & set(attributes):
                self._guard(vars(value), part, attributes)
        elif isinstance(value, type):
            self.look_at_class(value, attributes)
        elif isinstance(value, types.FunctionType):
            if not all(map(_is_constant, [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()])):
                self.impure = f"a default argument of {name}() can change"
        elif not _is_constant(value):
            self.impure = f"the global variable {name!r} holds {type(value).__name__}"

    def look_at_class(self, kind: type, attributes: Iterable[str]) -> None:
        """Guard the attributes of a class of the user, with those that it inherits from other classes of the user."""
        for owner in kind.__mro__:
            if owner.__module__.split(".")[0] in (*TRUSTED, "builtins"):
                continue
            space = vars(owner)
            for name in space.keys() & set(attributes):
                if isinstance(space[name], DESCRIPTORS):
                    self.guards[id(space), name] = space, name, space[name]
                else:
                    self._guard(space, name, attributes)

    def look_at_modules(self, modules: Iterable[Any]) -> None:
        """Guard the classes of the modules that were used, and look at the attributes that were read."""
        self.attributes.add("forward")
        for module in modules:
            kind = type(module)
            space = next(vars(owner) for owner in kind.__mro__ if "forward" in vars(owner))
            self.guards[id(space), "forward"] = space, "forward", space["forward"]
            if kind.__module__.split(".")[0] == "minigrad":
                continue
            self.look_at_class(kind, self.attributes)
            for name, value in vars(module).items():
                if name in self.attributes and not _is_comparable(value):
                    self.impure = f"the attribute {name!r} of {kind.__name__} is a {type(value).__name__}"

    def finish(self) -> list[Guard]:
        """The guards; they must hold after the call, too."""
        if any(space.get(name, self) is not value for space, name, value in self.guards.values()):
            self.impure = self.impure or "a global variable is changed"
        return list(self.guards.values())


class _Cell:
    """A variable of an enclosing function, as a namespace."""

    def __init__(self, cell: types.CellType):
        self.cell = cell

    def get(self, name: str, default: Any = None) -> Any:
        """The value of the variable."""
        try:
            return self.cell.cell_contents
        except ValueError:  # it is not assigned
            return default


def _cells(frame: types.FrameType) -> dict[str, types.CellType]:
    """The variables of enclosing functions, by name, if the frame belongs to a method or a global function."""
    code, found = frame.f_code, [frame.f_globals.get(frame.f_code.co_name)]
    if code.co_freevars and code.co_argcount:
        kind = type(frame.f_locals.get(code.co_varnames[0]))
        found += [vars(owner).get(code.co_name) for owner in kind.__mro__]
    function = next((x for x in found if getattr(x, "__code__", None) is code), None)
    return dict(zip(code.co_freevars, function.__closure__ or (), strict=True)) if function else {}


def _is_pure(function: Any) -> bool:
    """Whether a function written in C has no effect but its result, and changes to containers that are compared."""
    owner, module = getattr(function, "__self__", None), getattr(function, "__module__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        name = getattr(function, "__name__", "")
        if module == "builtins" or module is None:
            return name in BUILTINS
        return module in PURE_MODULES or (module.split(".")[0] == "numpy" and name not in STATEFUL)
    return isinstance(owner, OWNERS) or (isinstance(owner, type) and owner in OWNERS)


def _is_constant(value: Any) -> bool:
    """Whether a variable that holds this object has the same meaning as long as it holds it."""
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, value))
    if isinstance(value, functools.partial):
        return all(map(_is_constant, [value.func, *value.args, *value.keywords.values()]))
    return isinstance(value, (*PLAIN, *FUNCTIONS, type, types.ModuleType, Dependency, device))


def _is_comparable(value: Any) -> bool:
    """Whether a snapshot shows every change of an attribute."""
    return all(map(_is_constant, _parts(value)))


def _parts(value: Any, depth: int = 8) -> Iterator[Any]:
    """What containers hold, or the value itself."""
    if depth and isinstance(value, CONTAINERS):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
    else:
        yield value
