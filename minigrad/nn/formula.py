"""Whether a module is a formula: its forward only computes tensors, from its arguments and from its own attributes.

A replay may take the place of such a call, because it does all that the call would do.  Here the texts of forward and
of the user's functions that it calls are read, before anything is recorded.  A formula has

- names of arguments and local variables; global variables with plain values, functions, or minigrad, math and NumPy;
- attributes of `self`, of modules in it, and of minigrad; of other values what tensors have and changes nothing else;
- calls of modules inside, of functions and methods that are formulas, of minigrad's functions, and of some builtins;
- operators, indices, containers, comprehensions; assignments to local variables; if, for, while, assert, raise, return,
  and `with` for no_grad and the like.

Everything else is refused: other statements, functions in functions, attributes of other objects, changes of `self`,
and modules, classes and functions as values, because it would not be known what is called.

The names that a formula reads outside are Guards: they must hold the same objects at each replay.
"""

import ast
import builtins
import functools
import inspect
import math
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from ..element_type import dtype
from ..runtime.device import device
from ..shapes import Size
from ..tensors import Tensor

Guard = tuple[Any, str, Any]  # a namespace, a name in it, and the object that it must hold

CONSTANTS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range, Size, Tensor)
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
STANDARD = ("builtins", "typing", "abc", "collections", "collections.abc")  # modules of bases that containers have
REPLACEABLE = frozenset(  # names of a user's class that no method of minigrad's modules needs in forward
    (
        *("forward", "extra_repr", "reset_parameters", "__init__", "__repr__", "__doc__", "__module__", "__dict__"),
        *("__annotations__", "__annotate_func__", "__weakref__", "__static_attributes__", "__firstlineno__"),
        "__qualname__",
    )
)
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
    *(ast.DictComp, ast.SetComp),
)
COMPREHENSIONS = ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp
VARARGS, VARKEYWORDS = 4, 8  # bits of co_flags


class NotAFormulaError(Exception):
    """What keeps a module from being a formula."""


class _Unknown:
    """A value that is computed at each call: a tensor, a number, a container of these."""


class _AModule(_Unknown):
    """One of the modules inside, which may be called."""


UNKNOWN, A_MODULE = _Unknown(), _AModule()


# ---- namespaces of guards


class _Attributes:
    """The attributes of an object."""

    def __init__(self, owner: Any):
        self.owner = owner

    def get(self, name: str) -> Any:
        """The attribute; None if there is none."""
        return getattr(self.owner, name, None)


class _OwnOfClass(_Attributes):
    """The attributes of a class without its bases."""

    def get(self, name: str) -> Any:
        """The attribute; None if there is none."""
        return vars(self.owner).get(name)


class _Cell:
    """A variable of an enclosing function."""

    def __init__(self, cell: types.CellType):
        self.owner = cell

    def get(self, name: str) -> Any:
        """The value; None if it is not assigned."""
        try:
            return self.owner.cell_contents
        except ValueError:
            return None


# ---- reading


def read_formula(module: Any) -> list[Guard]:
    """The guards of a module that is a formula.

    Raises   NotAFormulaError   it is none
    """
    reader = _Reader(module)
    for part in reader.inside:
        reader.read_module(part)
    return list(reader.guards.values())


def read_formulas(model: Any, functions: list[Any]) -> list[Guard]:
    """The guards of a module and of functions, or modules, that are called beside it, if all are formulas.

    Raises   NotAFormulaError   one is none
    """
    reader = _Reader(model)
    for function in functions:
        if hasattr(function, "modules"):
            reader.inside += function.modules()
    for part in reader.inside:
        reader.read_module(part)
    for function in functions:
        if not (hasattr(function, "modules") or is_ours(function)):
            reader.read_function(function, None)
    return list(reader.guards.values())


def hold(guards: list[Guard]) -> bool:
    """Whether the names that formulas read outside hold the same objects as when they were read."""
    return all(space.get(name) is value for space, name, value in guards)


class _Reader:
    """Reads the modules and functions of one formula.

    inside   the module and all modules in it
    guards   by kind of namespace, the identity of its owner, and name
    """

    def __init__(self, module: Any):
        self.base = next(kind for kind in type(module).__mro__ if kind.__qualname__ == "Module" and is_ours(kind))
        self.inside = list(module.modules())
        self.guards: dict[Any, Guard] = {}
        self.seen: set[tuple[int, int]] = set()

    def guard(self, space: Any, name: str) -> Any:
        """Note a variable; return its value."""
        value = space.get(name)
        self.guards[type(space), id(getattr(space, "owner", space)), name] = space, name, value
        return value

    def guard_class(self, kind: type, name: str) -> Any:
        """Note an attribute of a class; return it as it is, such as a static method itself."""
        self.guard(_Attributes(kind), name)
        return inspect.getattr_static(kind, name, None)

    def read_module(self, module: Any) -> None:
        """Read the class of a module, and its forward if that is the user's."""
        kind = self.guard(_Attributes(module), "__class__")
        mine = [owner for owner in kind.__mro__ if not is_ours(owner) and owner.__module__ not in STANDARD]
        for name in {name for owner in mine for name in vars(owner)} - REPLACEABLE:
            special = name.startswith("__") and name.endswith("__")
            if special or any(name in vars(owner) for owner in kind.__mro__ if is_ours(owner)):
                raise NotAFormulaError(f"{kind.__name__} has a {name} of its own")
        if "forward" in vars(module) or module._has_hooks():
            raise NotAFormulaError(f"{kind.__name__} has hooks, or a forward of its own")
        if sum(1 for value in vars(module).values() for _ in _parts(value)) > MOST_PARTS:
            raise NotAFormulaError(f"{kind.__name__} has attributes with too many parts")
        forward = self.guard_class(kind, "forward")
        if not is_ours(forward):
            self.read_function(forward, module)
            return
        for name, value in vars(module).items():
            known = any(value is part for part in self.inside) or is_ours(value)
            if callable(value) and not known:
                raise NotAFormulaError(f"{name} of {kind.__name__} is a function that is not minigrad's")

    def read_function(self, function: Any, owner: Any) -> None:
        """Read a function, or a method of the module `owner`."""
        if not isinstance(function, types.FunctionType):
            raise NotAFormulaError(f"{function!r} is not a plain function")
        if (id(function), id(owner)) in self.seen:
            return
        self.seen.add((id(function), id(owner)))
        self.guard(_Attributes(function), "__code__")
        defaults = self.guard(_Attributes(function), "__defaults__")
        if self.guard(_Attributes(function), "__kwdefaults__") or not all(map(_is_constant, defaults or ())):
            raise NotAFormulaError(f"a default argument of {function.__qualname__} can change")
        _FunctionReader(self, function, owner).read()


class _FunctionReader:
    """Reads one function.

    arguments   names of its arguments
    locals      of these and of its variables
    stored      what is assigned to, once for each place
    fresh       variables that only ever hold containers made in the function, which it may change
    modules     variables that hold one of the modules inside
    """

    def __init__(self, reader: _Reader, function: types.FunctionType, owner: Any):
        self.reader, self.function, self.owner = reader, function, owner
        self.tree, code = _parse(function), function.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & VARARGS) + bool(code.co_flags & VARKEYWORDS)
        self.arguments = set(code.co_varnames[:count])
        self.self_name = code.co_varnames[0] if owner is not None and code.co_argcount else ""
        stores = [x for x in ast.walk(self.tree) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)]
        self.stored = [x.id for x in stores]
        own = {*code.co_varnames, *code.co_cellvars}
        self.locals, self.modules = {*own, *self.stored}, set[str]()
        for name in self.locals - own:  # a variable of a comprehension alone
            if name in function.__globals__ or hasattr(builtins, name):
                self.refuse(self.tree, f"the name {name!r} for two variables")
        if self.self_name in self.stored:
            self.refuse(self.tree, "it assigns to self")
        mine = set(self.stored) - self.arguments
        self.fresh = {name for name in mine if all(map(_makes_container, self.values_of(name)))}

    def refuse(self, node: Any, what: str) -> NoReturn:
        """Say where the function is no formula."""
        line = self.function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        raise NotAFormulaError(f"{self.function.__qualname__}, line {line}: {what}")

    def values_of(self, name: str) -> Iterator[ast.AST | None]:
        """What is assigned to a variable; None where that is not a simple assignment."""
        simple = {id(x): node for node in ast.walk(self.tree) if isinstance(node, ast.Assign) for x in node.targets}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
                yield simple[id(node)].value if id(node) in simple else None

    def read(self) -> None:
        """Read all statements."""
        for statement in self.tree.body:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        """Read one statement, and those inside."""
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self.target(target)
            if node.value is not None:
                self.operand(node.value)
        elif isinstance(node, ast.For):
            self.iteration(node.target, node.iter)
        elif isinstance(node, ast.With):
            for item in node.items:
                self.context(item)
        elif isinstance(node, STATEMENTS):
            for field in ("test", "value", "exc", "cause", "msg"):
                if isinstance(getattr(node, field, None), ast.expr):
                    self.operand(getattr(node, field))
        else:
            self.refuse(node, f"a statement {type(node).__name__}")
        for part in [*getattr(node, "body", ()), *getattr(node, "orelse", ())]:
            self.statement(part)

    def context(self, item: ast.withitem) -> None:
        """Read what is written behind `with`."""
        call: Any = item.context_expr
        found = self.value(call.func) if isinstance(call, ast.Call) else None
        known = is_ours(found) and getattr(found, "__name__", "") in CONTEXTS
        if not known or call.keywords or item.optional_vars:
            self.refuse(call, "a with block")
        for argument in call.args:
            self.operand(argument)

    def target(self, node: Any) -> None:
        """Read what is assigned to: a variable, or a place in a container or tensor that the function made."""
        if isinstance(node, ast.Tuple | ast.List | ast.Starred):
            for part in node.elts if isinstance(node, ast.Tuple | ast.List) else [node.value]:
                self.target(part)
        elif isinstance(node, ast.Subscript):
            name = node.value.id if isinstance(node.value, ast.Name) else ""
            if name not in self.locals - self.arguments or not all(map(_makes_value, self.values_of(name))):
                self.refuse(node, "an assignment to a part of a value that was not made here")
            self.operand(node.slice)
        elif not isinstance(node, ast.Name):
            self.refuse(node, "an assignment to an attribute")

    def iteration(self, target: Any, iterable: Any) -> None:
        """Read a loop's variables and what they go through."""
        self.target(target)
        if not self.holds_modules(iterable):
            self.operand(iterable)
            return
        called = iterable.func if isinstance(iterable, ast.Call) else None
        pairs = getattr(called, "attr", "") in ("items", "named_children") or getattr(called, "id", "") == "enumerate"
        if pairs and not (isinstance(target, ast.Tuple) and len(target.elts) == 2):
            self.refuse(target, "one variable for pairs")
        names = [x.id for x in ast.walk(target.elts[1] if pairs else target) if isinstance(x, ast.Name)]
        if any(self.stored.count(name) > 1 for name in names):
            self.refuse(target, "a variable for modules and for something else")
        self.modules |= set(names)

    def holds_modules(self, node: Any) -> bool:
        """Whether an iterable, or a part of one, gives modules inside, or pairs of which the second is one."""
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in OF_MODULES:
                return not node.args and self.holds_modules(node.func.value)
            over = isinstance(node.func, ast.Name) and node.func.id in ("enumerate", "reversed", "zip")
            return over and bool(node.args) and not node.keywords and all(map(self.holds_modules, node.args))
        if isinstance(node, ast.Subscript):
            return self.holds_modules(node.value)
        found = self.value(node) if isinstance(node, ast.Attribute | ast.Name) else None
        parts = list(_parts(found)) if type(found) in CONTAINERS else [found]
        return bool(parts) and all(self.is_inside(part) for part in parts)

    def is_inside(self, value: Any) -> bool:
        """Whether a value is one of the modules inside."""
        return any(value is module for module in self.reader.inside)

    def operand(self, node: Any) -> None:
        """Read an expression whose value is used, which must not be a module, a class or a function."""
        found = self.value(node)
        if not (type(found) is _Unknown or _is_constant(found) or _is_data(found)):
            self.refuse(node, "a module, class, function or other object as a value")

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
        if isinstance(node, COMPREHENSIONS):
            for generator in node.generators:
                self.iteration(generator.target, generator.iter)
                for condition in generator.ifs:
                    self.operand(condition)
        if isinstance(node, ast.Subscript) and self.holds_modules(node.value):
            self.operand(node.slice)
            return A_MODULE
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self.operand(part)
        return UNKNOWN

    def name(self, node: ast.Name) -> Any:
        """The object of a variable."""
        name, code = node.id, self.function.__code__
        if name in self.locals:
            return self.owner if name == self.self_name else A_MODULE if name in self.modules else UNKNOWN
        if name in code.co_freevars and name != "__class__":
            cells: Any = self.function.__closure__
            found = self.reader.guard(_Cell(cells[code.co_freevars.index(name)]), name)
        else:
            found = self.reader.guard(self.function.__globals__, name)
            if found is None and name not in self.function.__globals__:
                return getattr(builtins, name) if name in BUILTINS else self.refuse(node, f"the name {name!r}")
        if not (
            _is_constant(found) or isinstance(found, types.ModuleType | type | types.FunctionType) or is_ours(found)
        ):
            self.refuse(node, f"the variable {name!r} holds a {type(found).__name__}")
        return found

    def attribute(self, node: ast.Attribute) -> Any:
        """The object of an attribute."""
        name, owner = node.attr, self.value(node.value)
        if self.is_inside(owner):
            return self.member(node, owner, name)
        if isinstance(owner, types.ModuleType):
            if not (_is_our_name(owner.__name__) or owner is math or (owner is np and name in OF_NUMPY)):
                self.refuse(node, f"{owner.__name__}.{name}")
            return self.reader.guard(_Attributes(owner), name)
        if type(owner) is not _Unknown and not _is_constant(owner):
            self.refuse(node, f"the attribute {name!r} of a {type(owner).__name__}")
        if isinstance(node.value, ast.Name) and node.value.id in self.fresh and name in OF_CONTAINERS:
            return UNKNOWN
        found = self.reader.guard_class(Tensor, name)
        ours = any(name in vars(kind) for kind in Tensor.__mro__ if is_ours(kind)) and _is_method(found)
        if name.startswith("_") or name in NOT_OF_TENSORS or not ours:
            self.refuse(node, f"the attribute {name!r} of a value")
        return UNKNOWN

    def member(self, node: ast.AST, module: Any, name: str) -> Any:
        """The object of an attribute of a module inside."""
        found = self.reader.guard_class(type(module), name)
        if name.startswith("__"):
            self.refuse(node, f"the attribute {name!r}")
        for table in (module._modules, module._parameters, module._buffers):
            if name in table:
                if found is not None:
                    self.refuse(node, f"the name {name!r} for two attributes")
                return UNKNOWN if table is not module._modules else table[name]
        if name in vars(module) and not hasattr(type(found), "__set__"):
            value = self.reader.guard(vars(module), name)
            known = _is_constant(value) or all(_is_constant(x) or self.is_inside(x) for x in _parts(value))
            if not known and not isinstance(value, types.FunctionType) and not is_ours(value):
                self.refuse(node, f"the attribute {name!r} is a {type(value).__name__}")
            return value
        if isinstance(found, types.FunctionType):
            if is_ours(found) and name not in OF_MODULES:
                self.refuse(node, f"the method {name!r}")
            return types.MethodType(found, module)
        if found is None or not _is_constant(found):
            self.refuse(node, f"the attribute {name!r} of the class is a {type(found).__name__}")
        return found

    def call(self, node: ast.Call) -> Any:
        """Read a call."""
        function = self.parent_method(node.func) or self.value(node.func)
        asks_type, over = function is isinstance, any(function is x for x in (len, enumerate, reversed, zip, list))
        for part in [*node.args[: 1 if asks_type else None], *[keyword.value for keyword in node.keywords]]:
            if not (over and self.holds_modules(part)):
                self.operand(part)
        if asks_type and (len(node.args) != 2 or type(self.value(node.args[1])) is not type):
            self.refuse(node, "isinstance with other than one class")
        if isinstance(function, types.MethodType) and self.is_inside(function.__self__):
            if not is_ours(function.__func__):
                self.reader.read_function(function.__func__, function.__self__)
        elif isinstance(function, types.FunctionType) and not is_ours(function):
            self.reader.read_function(function, None)
        elif isinstance(function, _Unknown):
            if not (function is A_MODULE or isinstance(node.func, ast.Attribute)):
                self.refuse(node, "a call of a value")
        elif not (self.is_inside(function) or self.may_call(function)):
            self.refuse(node, f"a call of {getattr(function, '__qualname__', type(function).__name__)}")
        made_layer = isinstance(function, type) and issubclass(function, self.reader.base)
        return A_MODULE if made_layer else UNKNOWN

    def may_call(self, function: Any) -> bool:
        """Whether a function of Python, NumPy or minigrad has no effect but its result."""
        module = getattr(function, "__module__", None) or ""
        if isinstance(function, types.FunctionType):
            module = function.__globals__.get("__name__", "")
        if module == "builtins":
            return getattr(function, "__name__", "") in BUILTINS
        if isinstance(function, type) and issubclass(function, self.reader.base):
            return module in [f"minigrad.nn.{name}" for name in LAYERS]
        if function is getattr(sys.modules.get("minigrad"), "tensor", None):
            return True
        return module in ("math", "numpy") or module.startswith(("numpy.", *FUNCTIONS))

    def parent_method(self, node: Any) -> Any:
        """The method that super().name stands for; None for other expressions."""
        call = node.value if isinstance(node, ast.Attribute) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "super"):
            return None
        code, kinds, cells = self.function.__code__, type(self.owner).__mro__, self.function.__closure__ or ()
        if call.args or "__class__" not in code.co_freevars:
            self.refuse(node, "super() with arguments")
        mine = cells[code.co_freevars.index("__class__")].cell_contents
        for kind in kinds[kinds.index(mine) + 1 :] if mine in kinds else ():
            found = self.reader.guard(_OwnOfClass(kind), node.attr)
            if found is not None:
                if not isinstance(found, types.FunctionType) or (is_ours(found) and node.attr not in OF_MODULES):
                    break
                return types.MethodType(found, self.owner)
        return self.refuse(node, f"super().{node.attr}")


# ---- kinds of objects


def is_ours(thing: Any) -> bool:
    """Whether a class or function, or a partial call of one with plain values, belongs to minigrad."""
    if type(thing) is functools.partial:
        return is_ours(thing.func) and all(map(_is_constant, [*thing.args, *thing.keywords.values()]))
    if isinstance(thing, types.FunctionType):  # its __module__ can be copied from another function
        name = thing.__globals__.get("__name__", "")
    else:
        name = thing.__module__ if isinstance(thing, type) else ""
    return _is_our_name(name)


def _is_our_name(module: str) -> bool:
    """Whether a module of Python with this name is minigrad or a part of it."""
    return module == "minigrad" or module.startswith("minigrad.")


def _is_constant(value: Any) -> bool:
    """Whether a name that holds this object means the same as long as it holds it."""
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, value))
    return type(value) in (*CONSTANTS, dtype) or isinstance(value, np.generic | np.dtype | device)


def _is_data(value: Any) -> bool:
    """Whether a value is a container of constants."""
    return type(value) in CONTAINERS and all(map(_is_constant, _parts(value)))


def _is_method(found: Any) -> bool:
    """Whether an attribute of class Tensor is minigrad's, and not one that a program has put there."""
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    return not isinstance(found, types.FunctionType) or is_ours(found)


def _parts(value: Any, depth: int = 8) -> Iterator[Any]:
    """What containers hold, or the value itself."""
    if depth and type(value) in CONTAINERS:
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
    else:
        yield value


# ---- texts


def _parse(function: types.FunctionType) -> Any:
    """The text of a function."""
    where = function.__qualname__
    try:
        found = ast.parse(textwrap.dedent(inspect.getsource(function.__code__))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        raise NotAFormulaError(f"the text of {where} is not available") from None
    if not isinstance(found, ast.FunctionDef) or found.name != function.__code__.co_name or found.decorator_list:
        raise NotAFormulaError(f"{where} is not defined by def alone")
    made = compile(ast.Module([found], []), "", "exec").co_consts
    if not any(_content(code) == _content(function.__code__) for code in made if isinstance(code, types.CodeType)):
        raise NotAFormulaError(f"the text of {where} has changed since it was loaded")
    return found


def _content(code: types.CodeType) -> Any:
    """What two codes of the same text have in common, inside and outside of a class."""
    constants = [repr(x) for x in code.co_consts if not isinstance(x, types.CodeType)]
    return {*code.co_names, *code.co_freevars} - {"__class__"}, {*code.co_varnames, *code.co_cellvars}, constants


def _makes_container(node: Any) -> bool:
    """Whether an expression makes a new list, dict or set."""
    made = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "dict", "set")
    return isinstance(node, made) or called


def _makes_value(node: Any) -> bool:
    """Whether an expression makes a new value: not another name of an old one, nor a part of it."""
    return node is not None and not isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.IfExp | ast.BoolOp)
