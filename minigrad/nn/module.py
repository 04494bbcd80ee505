"""Module: what every layer and model is made of.  It keeps account of parameters, buffers and the modules inside."""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import count
from typing import Any, Self

from ..dependency import CountedDict, Dependency, can_change_unseen, changed, snapshot
from ..errors import DtypeError, MinigradError, StateError, ValidationError
from ..runtime.threads import IDLE, local
from ..tensors import Tensor, float32, float64
from .parameter import Parameter

_hook_numbers = count()


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What load_state_dict left out."""

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"


class HookHandle:
    """Takes a hook away again: by remove(), or at the end of a `with` block."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]):
        self.hooks, self.number = hooks, next(_hook_numbers)
        hooks[self.number] = hook

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self.hooks.pop(self.number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module(Dependency):
    """A layer or a model: parameters to learn, and a `forward` that uses them.

    Write a subclass.  Parameters and modules assigned to its attributes are found by parameters(), state_dict(), to()
    and the rest.  Call the module itself, not its forward: that runs the hooks, and names the layer in error messages.

    Raises   AttributeError        an attribute is misspelt, or assigned before super().__init__()
             NotImplementedError   the class has no forward
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = nn.Linear(2, 2)
    ...
    ...     def forward(self, x):
    ...         return self.linear(self.linear(x))
    >>> Twice()
    Twice(
      (linear): Linear(in_features=2, out_features=2, bias=True)
    )
    >>> [name for name, _ in Twice().named_parameters()]
    ['linear.weight', 'linear.bias']
    """

    def __init__(self) -> None:
        local.observer.makes(self, constant=False)
        self.training = True
        self._parameters: dict[str, Parameter | None] = CountedDict()
        self._buffers: dict[str, Tensor | None] = CountedDict()
        self._modules: dict[str, Any] = CountedDict()  # modules, or None
        self._transient: set[str] = set()  # names of the buffers that state_dict leaves out
        self._forward_hooks: dict[int, Callable[..., Any]] = CountedDict()
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = CountedDict()

    # ---- running

    @property
    def _replay_counted(self) -> bool:  # type: ignore[override]
        """Whether no attribute can change without a word to the module, as a list does."""
        return not any(can_change_unseen(value) for name, value in vars(self).items() if name != "_transient")

    def _replay_parts(self) -> Iterator[Dependency]:
        for table in (self._modules, self._parameters, self._buffers):
            yield from (part for part in table.values() if part is not None)

    def _replay_state(self) -> Any:
        return snapshot(vars(self))

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def _no_forward(self, *_: Any) -> Any:
        kind = type(self).__name__
        raise NotImplementedError(f"{kind}: there is nothing to compute; define forward(self, x) in class {kind}")

    forward: Callable[..., Any] = _no_forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        local.observer.uses(self)
        try:
            if self._forward_hooks or self._forward_pre_hooks:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except MinigradError as error:
            _add_path(error, self)
            raise

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        for pre_hook in list(self._forward_pre_hooks.values()):
            changed = pre_hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, out)
            out = out if changed is None else changed
        return out

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call hook(module, args, output) after each forward; what it returns, unless None, replaces the output.

        Example
        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer = nn.Linear(3, 2)
        >>> with layer.register_forward_hook(lambda module, args, output: print(output.shape)):
        ...     y = layer(mg.ones(5, 3))
        (5, 2)
        """
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call hook(module, args) before each forward; what it returns, unless None, replaces the arguments."""
        return HookHandle(self._forward_pre_hooks, hook)

    # ---- keeping account

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps the name for one that is left out, as a layer without bias does.

        Raises   ValidationError   the name is empty, has a dot, or is taken
                 DtypeError        param is not a Parameter
        """
        self._register(self._parameters, Parameter, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not learned but belongs to the module: to() moves it.

        persistent   whether state_dict has it

        Raises   ValidationError   the name is empty, has a dot, or is taken
                 DtypeError        not a Tensor
        """
        self._register(self._buffers, Tensor, name, tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name.

        Raises   ValidationError   the name is empty, has a dot, or is taken
                 DtypeError        not a Module
        """
        self._register(self._modules, Module, name, module)

    register_module = add_module

    def _register(self, table: dict, kind: type, name: str, value: Any) -> None:
        owner = type(self).__name__
        if not isinstance(name, str) or not name or "." in name:
            raise ValidationError(f"{owner}: {name!r} cannot name a member; use a word without dots")
        if hasattr(type(self), name) or any(name in place for place in self._places() if place is not table):
            raise ValidationError(f"{owner}: the name {name!r} is taken by another attribute; choose another one")
        if value is not None and not isinstance(value, kind):
            raise DtypeError(f"{owner}: {name!r} is a {kind.__name__}, {_cannot_hold(value)}")
        table[name] = value

    def _places(self) -> tuple[dict, ...]:
        return vars(self), self._parameters, self._modules, self._buffers

    def __setattr__(self, name: str, value: Any) -> None:
        if local.observer is not IDLE and "_modules" in vars(self):
            local.observer.uses(self)  # its state before the change
        found = self._table(name, value)
        if found is None:
            object.__setattr__(self, name, value)
            return changed()
        table, kind = found
        for place in self._places():
            if place is not table:
                place.pop(name, None)
        return self._register(table, kind, name, value)

    def _table(self, name: str, value: Any) -> tuple[dict, type] | None:
        """Where `value` is to be kept and what that place takes; None for a plain attribute."""
        member = isinstance(value, Parameter | Module)
        if "_modules" not in vars(self):
            if member:
                raise AttributeError(
                    f"{type(self).__name__}: {name!r} is assigned too early; call super().__init__() first"
                )
            return None
        tables = (self._parameters, Parameter), (self._modules, Module), (self._buffers, Tensor)
        if member:
            return next(pair for pair in tables if isinstance(value, pair[1]))
        return next((pair for pair in tables if name in pair[0]), None)

    def __getattr__(self, name: str) -> Any:  # called only for what is not a plain attribute
        if "_modules" in self.__dict__:
            local.observer.uses(self)
            for table in (self._parameters, self._modules, self._buffers):
                if name in table:
                    return table[name]
        if hasattr(type(self), name):
            return object.__getattribute__(self, name)  # a property failed: let its own error through
        message = f"{type(self).__name__} has no attribute {name!r}{self._advice(name)}"
        raise AttributeError(message, name=None, obj=self)  # name=None: Python would add its own "Did you mean"

    def _advice(self, name: str) -> str:
        if "_modules" not in vars(self):
            return "; call super().__init__() first"
        near = [] if name.startswith("__") else get_close_matches(name, dir(self), 1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def __delattr__(self, name: str) -> None:
        for place in self._places():
            if name in place:
                del place[name]
                return changed()
        self.__getattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._modules, *self._buffers]

    # ---- finding; what is shared appears once

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, or those of this module alone."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths, as ('features.conv1.weight', ...)."""
        return self._named("_parameters", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, or those of this module alone."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths."""
        return self._named("_buffers", prefix, recurse)

    def _named(self, table: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield _join(path, name), tensor

    def children(self) -> "Iterator[Module]":
        """The modules directly inside."""
        return (child for _, child in self.named_children())

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """The modules directly inside, with their names."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def modules(self) -> "Iterator[Module]":
        """This module and all inside it, at any depth."""
        return (module for _, module in self.named_modules())

    def named_modules(self, memo: "set[Module] | None" = None, prefix: str = "") -> "Iterator[tuple[str, Module]]":
        """This module and all inside it, with their paths; its own is `prefix`.  Those in `memo` are left out."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        memo.add(self)
        local.observer.uses(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _join(prefix, name))

    def get_submodule(self, target: str) -> "Module":
        """The module at a path, as in get_submodule("features.0").

        Raises   AttributeError   there is none
        """
        module: Any = self
        for name in filter(None, target.split(".")):
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"get_submodule: {name!r} in {target!r} is a {type(module).__name__}, no Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path, as in get_parameter("conv1.weight").

        Raises   AttributeError   there is none
        """
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"get_parameter: {target!r} is a {type(found).__name__}, no Parameter")
        return found

    # ---- changing everything at once; these return the module itself

    def apply(self, fn: "Callable[[Module], Any]") -> Self:
        """Call fn on every module inside and then on this one, for example to set initial weights.

        Example
        >>> from minigrad import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> model = model.apply(lambda module: print(type(module).__name__))
        Linear
        ReLU
        Sequential
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Behave as in training: dropout is on.

        Raises   DtypeError   mode is not True or False
        """
        if not isinstance(mode, bool):
            raise DtypeError(
                f"train: mode is {mode!r}, expected True or False; this switches layers, it does not run the training"
            )
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Behave as in use: dropout is off."""
        return self.train(False)

    def to(self, *targets: Any, **named: Any) -> Self:
        """Move everything to another device, and float tensors to another dtype; parameters stay the same objects.

        model.to("numpy"), model.to(mg.float64), model.to("cpu", mg.float32), model.to(other_tensor)

        Raises   DeviceError   there is no such device here
                 DtypeError    a dtype without fractions
        """
        if Tensor(0.0).to(*targets, **named).dtype.kind != "f":
            raise DtypeError("to: a module can only become float32 or float64, because whole numbers cannot be learned")
        for tensor in [*self.parameters(), *self.buffers()]:
            values = tensor.detach()
            moved = _moved(values, targets, named)
            if moved is not values:
                tensor.data = moved
                tensor.grad = None if tensor.grad is None else _moved(tensor.grad, targets, named)
        return self

    def cpu(self) -> Self:
        """Move everything to the CPU."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move everything to the GPU.

        Raises   DeviceError   there is none here
        """
        return self.to("cuda")

    def float(self) -> Self:
        """Make float tensors float32."""
        return self.to(float32)

    def double(self) -> Self:
        """Make float tensors float64, for checks of gradients."""
        return self.to(float64)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn all parameters, or freeze them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients; with set_to_none=False keep their memory, filled with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = param.grad.detach().zero_()

    # ---- saving and loading

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by path, sharing memory; keys and layouts are PyTorch's.

        Example
        >>> from minigrad import nn
        >>> {name: tensor.shape for name, tensor in nn.Conv2d(3, 6, 5).state_dict().items()}
        {'weight': (6, 3, 5, 5), 'bias': (6,)}
        """
        state = {prefix + name: param.detach() for name, param in self._parameters.items() if param is not None}
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                state[prefix + name] = buffer.detach()
        for name, child in self._modules.items():
            if child is not None:
                state |= child.state_dict(f"{prefix}{name}.")
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into the parameters and buffers of the same paths; all is checked before anything changes.

        state_dict   paths to tensors or NumPy arrays, as from state_dict()
        strict       refuse missing and unexpected keys; they are returned otherwise

        Raises   StateError   a shape differs, or, if strict, a key is missing or unexpected
        Example
        >>> from minigrad import nn
        >>> first, second = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> second.load_state_dict(first.state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise StateError(
                f"load_state_dict: expected a dict of tensors, got {type(state_dict).__name__}; "
                "give it the state_dict() of a model"
            )
        own = self.state_dict()
        keys = IncompatibleKeys(
            [name for name in own if name not in state_dict], [name for name in state_dict if name not in own]
        )
        pairs = [(name, own[name], state_dict[name]) for name in own if name in state_dict]
        _refuse_misfits(type(self).__name__, keys if strict else IncompatibleKeys([], []), pairs)
        ready = [(tensor, Tensor(value, dtype=tensor.dtype, device=tensor.device)) for _, tensor, value in pairs]
        for tensor, values in ready:
            tensor.copy_(values)
        return keys

    # ---- showing

    def extra_repr(self) -> str:
        """The settings shown between the brackets of repr()."""
        return ""

    def _members(self) -> list[tuple[str, str]]:
        """Label and text of each module inside, for repr()."""
        return [(name, repr(child)) for name, child in self._modules.items()]

    def __repr__(self) -> str:
        settings = self.extra_repr()
        inside = ["({}): {}".format(name, text.replace("\n", "\n  ")) for name, text in self._members()]
        if not inside and "\n" not in settings:
            return f"{type(self).__name__}({settings})"
        lines = [*settings.splitlines(), *inside]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _cannot_hold(value: Any) -> str:
    if isinstance(value, type):
        return f"so it cannot be the class {value.__name__}; make one of it: {value.__name__}(...)"
    if isinstance(value, Tensor):
        return "so it cannot be a plain Tensor; wrap it in nn.Parameter(...), or change the values by .data"
    return f"so it cannot be of type {type(value).__name__}; use None to leave it out"


def _moved(tensor: Tensor, targets: tuple, named: dict) -> Tensor:
    """tensor.to(...); whole numbers change their device only."""
    moved = tensor.to(*targets, **named)
    return moved if tensor.dtype.kind == "f" else tensor.to(moved.device)


def _refuse_misfits(model: str, keys: IncompatibleKeys, pairs: list[tuple[str, Tensor, Any]]) -> None:
    """Raise one StateError for all keys and for all of the pairs (path, tensor, new value) that differ in shape."""
    problems = [
        f"{word}: {', '.join(names)}"
        for word, names in (("missing", keys.missing_keys), ("unexpected", keys.unexpected_keys))
        if names
    ]
    problems += [
        f"{name}: {_kind(value)} in the state, {tensor.shape} in the model"
        for name, tensor, value in pairs
        if getattr(value, "shape", None) != tensor.shape
    ]
    if problems:
        advice = "; strict=False leaves out missing and unexpected keys" if any(keys) else ""
        raise StateError(
            "\n  ".join([f"load_state_dict: the state does not fit {model}:", *problems])
            + f"\nbuild the model with the settings it was saved with{advice}"
        )


def _kind(value: Any) -> str:
    return str(getattr(value, "shape", f"a {type(value).__name__}"))


def _add_path(error: Any, module: Module) -> None:
    """Put the path of the layer that raised `error`, as seen from `module`, before the message.

    Every module that the error passes does so, inside out: `conv1: ...` becomes `features.conv1: ...`.
    """
    layer, path, message = getattr(error, "trail", (module, "", str(error)))
    name = next((name for name, found in module.named_modules() if found is layer), "")
    path = ".".join(filter(None, (name, path)))
    error.trail = module, path, message
    error.args = (f"{path}: {message}" if path else message,)
