"""Whether a module is a formula: its forward only computes tensors, from its arguments and from its own attributes.

A replay may take the place of such a call, because it does all that the call would do.  Here the texts of forward and
of the user's functions that it calls are read, before anything is recorded.  A formula has

- names of arguments and local variables; global variables with plain values, functions, or minigrad, math and NumPy;
- attributes of `self`, of modules in it, and of minigrad; of other values what tensors have and changes nothing else;
- calls of modules inside, of functions and methods that are formulas, of minigrad's functions, and of some builtins;
- operators, indices, containers, comprehensions; assignments to local variables; if, for, while, assert, raise, return,
  and `with` for no_grad and the like.

Everything else is refused: other statements, functions in functions, attributes of other objects, changes of `self`.

The names that a formula reads outside are Guards: they must hold the same objects at each replay.
"""

import ast
import builtins
import inspect
import math
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..element_type import dtype
from ..runtime.device import device
from ..tensors import Tensor

Guard = tuple[Any, str, Any]  # a namespace, a name in it, and the object that it must hold

CONSTANTS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range, np.generic, dtype, device)
CONTAINERS = (tuple, list, dict, set, frozenset)
MOST_PARTS = 64  # of the lists and dicts of a module, which are compared at each replay
BUILTINS = frozenset(
    (
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "int", "isinstance", "len", "list", "max", "min"),
        *("range", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip"),
    )
)
OF_NUMPY = frozenset(
    ("prod", "sqrt", "log", "log2", "exp", "ceil", "floor", "pi", "inf", "float32", "float64", "int64")
)
FUNCTIONS = (
    "minigrad.functions",
    "minigrad.creation",
    "minigrad.linalg",
    "minigrad.products",
    "minigrad.nn.functional",
)
LAYERS = ("activation", "regularization", "pooling", "shaping", "padding", "resampling", "loss")  # without parameters
REPLACEABLE = {"forward", "__init__", "__doc__", "__module__", "__annotations__", "__repr__", "extra_repr", "__dict__"}
REPLACEABLE |= {
    "reset_parameters",
    "__weakref__",
    "__static_attributes__",
    "__firstlineno__",
    "__qualname__",
    "__hash__",
}
STANDARD = ("builtins", "typing", "abc", "collections", "collections.abc")  # modules of bases that containers have
CONTEXTS = ("no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "autocast")
OF_MODULES = ("children", "modules", "named_children", "parameters", "values", "items", "keys", "forward")
OF_CONTAINERS = ("append", "extend", "insert", "pop", "get", "items", "keys", "values", "update")
NOT_OF_TENSORS = frozenset(
    (
        *("apply_", "array", "backward", "data", "data_ptr", "detach_", "grad", "grad_fn", "is_leaf", "item", "map_"),
        *("node", "numpy", "register_hook", "register_post_accumulate_grad_hook", "requires_grad", "requires_grad_"),
        *("resize_", "retain_grad", "retains_grad", "set_", "share_memory_", "squeeze_", "swapaxes_", "t_", "tolist"),
        *("transpose_", "unsqueeze_", "untyped_storage", "storage", "pin_memory"),
    )
)
STATEMENTS = (ast.Pass, ast.Break, ast.Continue, ast.If, ast.While, ast.Assert, ast.Raise, ast.Return, ast.Expr)
EXPRESSIONS = (
    *(ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.Slice, ast.Tuple),
    *(ast.List, ast.Dict, ast.Set, ast.Starred, ast.JoinedStr, ast.FormattedValue, ast.ListComp, ast.GeneratorExp),
    *(ast.DictComp, ast.SetComp, ast.comprehension, ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


class NotAFormulaError(Exception):
    """What keeps a module from being a formula."""


class _Unknown:
    """A value that is computed at each call: a tensor, a number, a container of these."""


class _AModule(_Unknown):
    """One of the modules inside, which may be called."""


UNKNOWN, A_MODULE = _Unknown(), _AModule()


class _Attributes:
    """The attributes of an object, as a namespace for a guard."""

    def __init__(self, owner: Any):
        self.owner = owner

    def get(self, name: str) -> Any:
        """The attribute; None if there is none."""
        return getattr(self.owner, name, None)


class _Cell:
    """A variable of an enclosing function, as a namespace."""

    def __init__(self, cell: types.CellType):
        self.cell = cell

    def get(self, name: str) -> Any:
        """The value; None if it is not assigned."""
        try:
            return self.cell.cell_contents
        except ValueError:
            return None


def read_formula(module: Any) -> list[Guard]:
    """The guards of a module that is a formula.

    Raises   NotAFormulaError   it is none
    """
    reader = _Reader(module)
    for part in reader.inside:
        reader.read_module(part)
    return list(reader.guards.values())


def is_ours(thing: Any) -> bool:
    """Whether a class or function belongs to minigrad."""
    name = getattr(thing, "__module__", None) or ""
    return name == "minigrad" or name.startswith("minigrad.")


class _Reader:
    """Reads the modules and functions of one formula.

    inside   the module and all modules in it
    guards   by the identity of the namespace's owner, and name
    """

    def __init__(self, module: Any):
        self.base = next(kind for kind in type(module).__mro__ if kind.__qualname__ == "Module" and is_ours(kind))
        self.inside = list(module.modules())
        self.guards: dict[tuple[int, str], Guard] = {}
        self.seen: set[tuple[int, int]] = set()

    def guard(self, space: Any, name: str) -> Any:
        """Note a variable; return its value."""
        value = space.get(name)
        self.guards[id(getattr(space, "owner", getattr(space, "cell", space))), name] = space, name, value
        return value

    def read_module(self, module: Any) -> None:
        """Read the class of a module, and its forward if that is the user's."""
        kind = self.guard(_Attributes(module), "__class__")
        if any(
            getattr(kind, name) is not getattr(self.base, name) for name in ("__call__", "__getattr__", "__setattr__")
        ):
            raise NotAFormulaError(f"{kind.__name__} has its own __call__, __getattr__ or __setattr__")
        if "__getattribute__" in {name for owner in kind.__mro__[:-1] for name in vars(owner)}:
            raise NotAFormulaError(f"{kind.__name__} has its own __getattribute__")
        if "forward" in vars(module) or module._has_hooks():
            raise NotAFormulaError(f"{kind.__name__} has hooks, or a forward of its own")
        if sum(1 for value in vars(module).values() for _ in _parts(value)) > MOST_PARTS + len(module._parameters):
            raise NotAFormulaError(f"{kind.__name__} has attributes with too many parts")
        mine = [owner for owner in kind.__mro__ if not is_ours(owner) and owner.__module__ not in STANDARD]
        for name in {name for owner in mine for name in vars(owner)} - REPLACEABLE:
            if any(name in vars(owner) for owner in kind.__mro__ if is_ours(owner)):
                raise NotAFormulaError(f"{kind.__name__} replaces the method {name} of minigrad")
        forward = self.guard(_Attributes(kind), "forward")
        if is_ours(kind) and is_ours(forward):
            for name, value in vars(module).items():
                if (
                    callable(value)
                    and not any(value is part for part in self.inside)
                    and not is_ours(getattr(value, "func", value))
                ):
                    raise NotAFormulaError(f"{name} of {kind.__name__} is a function that is not minigrad's")
        elif not is_ours(forward):
            self.read_function(forward, module)

    def read_function(self, function: Any, owner: Any) -> None:
        """Read a function, or a method of the module `owner`."""
        if not isinstance(function, types.FunctionType):
            raise NotAFormulaError(f"{function!r} is not a plain function")
        if (id(function), id(owner)) in self.seen:
            return
        self.seen.add((id(function), id(owner)))
        self.guard(_Attributes(function), "__code__")
        defaults = (
            self.guard(_Attributes(function), "__defaults__"),
            self.guard(_Attributes(function), "__kwdefaults__"),
        )
        if not all(map(_is_constant, [*(defaults[0] or ()), *(defaults[1] or {}).values()])):
            raise NotAFormulaError(f"a default argument of {function.__qualname__} can change")
        _FunctionReader(self, function, owner).read()


class _FunctionReader:
    """Reads one function.

    arguments, locals   names of its arguments; of these and its variables
    fresh     variables that only ever hold containers made in the function, which it may change
    modules   variables that hold one of the modules inside
    """

    def __init__(self, reader: _Reader, function: types.FunctionType, owner: Any):
        self.reader, self.function, self.owner = reader, function, owner
        self.where = function.__qualname__
        self.tree = _parse(function)
        self.arguments = {argument.arg for argument in ast.walk(self.tree.args) if isinstance(argument, ast.arg)}
        self.self_name = self.tree.args.args[0].arg if owner is not None and self.tree.args.args else ""
        stored = [x.id for x in ast.walk(self.tree) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)]
        self.locals, self.modules = {*self.arguments, *stored}, set[str]()
        self.fresh = {
            name for name in stored if name not in self.arguments and all(map(_makes_container, self.values_of(name)))
        }
        if self.self_name in stored:
            self.refuse(self.tree, "it assigns to self")

    def refuse(self, node: Any, what: str) -> None:
        line = self.function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        raise NotAFormulaError(f"{self.where}, line {line}: {what}")

    def values_of(self, name: str) -> Iterator[ast.AST | None]:
        """What is assigned to a variable; None where that is not a simple assignment."""
        simple = {id(x): node for node in ast.walk(self.tree) if isinstance(node, ast.Assign) for x in node.targets}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
                yield simple[id(node)].value if id(node) in simple else None

    def read(self) -> None:
        """Read all statements."""
        if self.tree.decorator_list:
            self.refuse(self.tree, "it has a decorator")
        for statement in self.tree.body:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        """Read one statement, and those inside."""
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self.target(target)
            if node.value is not None:
                self.value(node.value)
        elif isinstance(node, ast.For):
            self.iteration(node.target, node.iter)
        elif isinstance(node, ast.With):
            for item in node.items:
                context: Any = item.context_expr
                found = self.value(context.func) if isinstance(context, ast.Call) else None
                if not is_ours(found) or getattr(found, "__name__", "") not in CONTEXTS:
                    self.refuse(node, "a with block")
                for argument in context.args:
                    self.value(argument)
        elif not isinstance(node, STATEMENTS):
            self.refuse(node, f"a statement {type(node).__name__}")
        else:
            for field in ("test", "value", "exc", "cause", "msg"):
                if isinstance(getattr(node, field, None), ast.expr):
                    self.value(getattr(node, field))
        for part in [*getattr(node, "body", ()), *getattr(node, "orelse", ())]:
            self.statement(part)

    def target(self, node: Any) -> None:
        """Read what is assigned to: a variable, or a place in a container or tensor that the function made."""
        if isinstance(node, ast.Tuple | ast.List | ast.Starred):
            for part in node.elts if isinstance(node, ast.Tuple | ast.List) else [node.value]:
                self.target(part)
        elif isinstance(node, ast.Subscript):
            name = node.value.id if isinstance(node.value, ast.Name) else ""
            if name not in self.locals - self.arguments or not all(map(_makes_value, self.values_of(name))):
                self.refuse(node, "an assignment to a part of a value that was not made here")
            self.value(node.slice)
        elif not isinstance(node, ast.Name):
            self.refuse(node, "an assignment to an attribute")

    def iteration(self, target: Any, iterable: Any) -> None:
        """Read a loop's variables and what they go through."""
        self.target(target)
        if self.holds_modules(iterable):
            self.modules |= {x.id for x in ast.walk(target) if isinstance(x, ast.Name)}
        self.value(iterable)

    def holds_modules(self, node: Any) -> bool:
        """Whether an iterable, or a part of one, gives modules inside."""
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in OF_MODULES:
                return self.holds_modules(node.func.value)
            return any(map(self.holds_modules, node.args))
        if isinstance(node, ast.Subscript):
            return self.holds_modules(node.value)
        found = self.value(node) if isinstance(node, ast.Attribute | ast.Name) else None
        parts = list(_parts(found)) if isinstance(found, CONTAINERS) else [found]
        return bool(parts) and all(self.is_inside(part) for part in parts)

    def is_inside(self, value: Any) -> bool:
        return any(value is module for module in self.reader.inside)

    def value(self, node: Any) -> Any:
        """Read an expression; return the object that it stands for at every call, or UNKNOWN or A_MODULE."""
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if not isinstance(node, EXPRESSIONS):
            self.refuse(node, f"an expression {type(node).__name__}")
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            for generator in node.generators:
                self.iteration(generator.target, generator.iter)
        if isinstance(node, ast.Subscript) and self.holds_modules(node.value):
            self.value(node.slice)
            return A_MODULE
        for part in ast.iter_child_nodes(node):
            if not isinstance(part, ast.expr_context):
                self.value(part)
        return UNKNOWN

    def name(self, node: ast.Name) -> Any:
        """The object of a variable."""
        name = node.id
        if name in self.locals:
            return self.owner if name == self.self_name else A_MODULE if name in self.modules else UNKNOWN
        code = self.function.__code__
        if name in code.co_freevars and name != "__class__":
            found = self.reader.guard(_Cell(self.function.__closure__[code.co_freevars.index(name)]), name)  # type: ignore[index]
        else:
            found = self.reader.guard(self.function.__globals__, name)
            if found is None and name not in self.function.__globals__:
                return getattr(builtins, name) if name in BUILTINS else self.refuse(node, f"the name {name!r}")
        if not (
            _is_constant(found) or isinstance(found, (types.ModuleType, type, types.FunctionType)) or is_ours(found)
        ):
            self.refuse(node, f"the variable {name!r} holds a {type(found).__name__}")
        return found

    def attribute(self, node: ast.Attribute) -> Any:
        """The object of an attribute."""
        name, owner = node.attr, self.value(node.value)
        if self.is_inside(owner):
            return self.member(node, owner, name)
        if isinstance(owner, types.ModuleType) and (is_ours_module(owner) or owner in (math, np)):
            if owner is np and name not in OF_NUMPY:
                self.refuse(node, f"numpy.{name}")
            return self.reader.guard(_Attributes(owner), name)
        if not isinstance(owner, _Unknown) and not _is_constant(owner):
            self.refuse(node, f"the attribute {name!r} of a {type(owner).__name__}")
        fresh = isinstance(node.value, ast.Name) and node.value.id in self.fresh and name in OF_CONTAINERS
        if not fresh and (name.startswith("_") or name in NOT_OF_TENSORS or not hasattr(Tensor, name)):
            self.refuse(node, f"the attribute {name!r} of a value")
        return UNKNOWN

    def member(self, node: ast.AST, module: Any, name: str) -> Any:
        """The object of an attribute of a module inside."""
        for table in (module._modules, module._parameters, module._buffers):
            if name in table:
                return UNKNOWN if table is not module._modules else table[name]
        if name in vars(module):
            value = self.reader.guard(vars(module), name)
            known = _is_constant(value) or all(_is_constant(x) or self.is_inside(x) for x in _parts(value))
            if not known and not isinstance(value, types.FunctionType) and not is_ours(getattr(value, "func", value)):
                self.refuse(node, f"the attribute {name!r} is a {type(value).__name__}")
            return value
        found = inspect.getattr_static(type(module), name, None)
        self.reader.guard(_Attributes(type(module)), name)
        if isinstance(found, types.FunctionType):
            if is_ours(found) and name not in OF_MODULES:
                self.refuse(node, f"the method {name!r}")
            return types.MethodType(found, module)
        if not _is_constant(found):
            self.refuse(node, f"the attribute {name!r} of the class is a {type(found).__name__}")
        return found

    def call(self, node: ast.Call) -> Any:
        """Read a call."""
        for part in [*node.args, *[keyword.value for keyword in node.keywords]]:
            self.value(part)
        function = self.parent_method(node.func) or self.value(node.func)
        if isinstance(function, types.MethodType) and self.is_inside(function.__self__):
            if not is_ours(function.__func__):
                self.reader.read_function(function.__func__, function.__self__)
        elif isinstance(function, types.FunctionType) and not is_ours(function):
            self.reader.read_function(function, None)
        elif isinstance(function, _Unknown):
            if not (function is A_MODULE or isinstance(node.func, ast.Attribute | ast.Call)):
                self.refuse(node, "a call of a value")
        elif not (self.is_inside(function) or self.may_call(function)):
            self.refuse(node, f"a call of {getattr(function, '__qualname__', type(function).__name__)}")
        made_layer = isinstance(function, type) and issubclass(function, self.reader.base)
        return A_MODULE if made_layer else UNKNOWN

    def may_call(self, function: Any) -> bool:
        """Whether a function of Python, NumPy or minigrad has no effect but its result."""
        module = getattr(function, "__module__", None) or ""
        if module == "builtins":
            return getattr(function, "__name__", "") in BUILTINS
        if isinstance(function, type) and issubclass(function, self.reader.base):
            return module in [f"minigrad.nn.{name}" for name in LAYERS]
        if function is getattr(sys.modules.get("minigrad"), "tensor", None):
            return True
        return module == "math" or module.startswith(("numpy", *FUNCTIONS))

    def parent_method(self, node: Any) -> Any:
        """The method that super().name stands for; None for other expressions."""
        call = node.value if isinstance(node, ast.Attribute) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "super"):
            return None
        kinds = type(self.owner).__mro__
        mine = next((i for i, kind in enumerate(kinds) if self.function in vars(kind).values()), None)
        if mine is None or call.args:
            self.refuse(node, "super() with arguments")
        found = next((vars(kind)[node.attr] for kind in kinds[mine + 1 :] if node.attr in vars(kind)), None)  # type: ignore[operator]
        if not isinstance(found, types.FunctionType) or (is_ours(found) and node.attr not in OF_MODULES):
            self.refuse(node, f"super().{node.attr}")
        return types.MethodType(found, self.owner)  # type: ignore[arg-type]


def is_ours_module(module: types.ModuleType) -> bool:
    """Whether a module is minigrad or a part of it."""
    return module.__name__ == "minigrad" or module.__name__.startswith("minigrad.")


def _parse(function: types.FunctionType) -> Any:
    """The text of a function."""
    try:
        found = ast.parse(textwrap.dedent(inspect.getsource(function.__code__))).body[0]
    except (OSError, TypeError, SyntaxError, IndentationError, IndexError):
        raise NotAFormulaError(f"the text of {function.__qualname__} is not available") from None
    if not isinstance(found, ast.FunctionDef) or found.name != function.__code__.co_name:
        raise NotAFormulaError(f"{function.__qualname__} is not defined by def")
    return found


def _is_constant(value: Any) -> bool:
    """Whether a name that holds this object means the same as long as it holds it."""
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, value))
    return isinstance(value, CONSTANTS) or type(value) is Tensor


def _parts(value: Any, depth: int = 8) -> Iterator[Any]:
    """What containers hold, or the value itself."""
    if depth and isinstance(value, CONTAINERS):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
    else:
        yield value


def _makes_container(node: Any) -> bool:
    """Whether an expression makes a new list, dict or set."""
    made = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "dict", "set")
    return isinstance(node, made) or called


def _makes_value(node: Any) -> bool:
    """Whether an expression makes a new value: not another name of an old one, nor a part of it."""
    return node is not None and not isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.IfExp | ast.BoolOp)
