"""Module: the base class of layers and models.  It registers parameters, buffers and submodules."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from ..checks import brief, type_with_article
from ..dependency import CountedDict, Dependency, can_change_unseen, changed, snapshot
from ..errors import DtypeError, MinigradError, StateError, ValidationError
from ..runtime.threads import IDLE, local
from ..tape import HookHandle, in_order
from ..tensors import Tensor, float32, float64, tensor as as_tensor
from . import calls
from .hooks import BackwardHooks
from .parameter import Parameter, Uninitialized


class IncompatibleKeys(NamedTuple):
    """The keys that load_state_dict did not use: those that only the model has, and those that only the state has."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        shown = f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        return shown if any(self) else "<All keys matched successfully>"


class Module(Dependency):
    """A layer or a model: it has parameters and computes something in `forward`.

    Write a subclass.  Parameters and modules that are assigned to attributes are registered, so that parameters(),
    state_dict() and to() find them.  Call the module itself, not its forward: this runs the hooks and adds the path of
    the layer to error messages.

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

    __slots__ = ("__dict__", "__weakref__", "_calls")
    _calls: calls.ModuleCalls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        object.__setattr__(self, "_calls", calls.ModuleCalls())
        return self

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)  # a copy has recordings of its own

    def __init__(self) -> None:
        local.observer.makes(self, constant=False)
        self.training = True
        self._parameters: dict[str, Parameter | None] = CountedDict()
        self._buffers: dict[str, Tensor | None] = CountedDict()
        self._modules: dict[str, Any] = CountedDict()  # modules, or None
        self._non_persistent: set[str] = set()  # names of the buffers that state_dict leaves out
        self._forward_hooks: dict[int, Callable[..., Any]] = CountedDict()
        self._forward_pre_hooks: dict[int, Callable[..., Any]] = CountedDict()
        self._backward_hooks: dict[int, Callable[..., Any]] = CountedDict()
        self._backward_pre_hooks: dict[int, Callable[..., Any]] = CountedDict()

    # ---- running

    @property
    def _replay_counted(self) -> bool:  # type: ignore[override]
        """Whether every change is counted: no attribute is a list or another object that changes unnoticed."""
        return not any(can_change_unseen(value) for name, value in vars(self).items() if name != "_non_persistent")

    def _replay_parts(self) -> Iterator[Dependency]:
        for table in (self._modules, self._parameters, self._buffers):
            yield from (part for part in table.values() if part is not None)

    def _replay_state(self) -> Any:
        return snapshot(vars(self))

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def _missing_forward(self, *_: Any) -> Any:
        kind = type(self).__name__
        raise NotImplementedError(f"{kind}: there is no forward; define forward(self, x) in class {kind}")

    forward: Callable[..., Any] = _missing_forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if local.in_module:
            return self._run(args, kwargs)
        return (calls.call if local.observer is IDLE else calls.run_first)(self, args, kwargs)

    def _has_hooks(self) -> bool:
        return bool(self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call forward, with the hooks."""
        local.observer.uses(self)
        try:
            if self._has_hooks():
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except MinigradError as error:
            _add_path(error, self)
            raise

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in in_order(self._forward_pre_hooks):
            args, kwargs = hook(self, args, kwargs) or (args, kwargs)
        boundary = BackwardHooks(self, args) if self._backward_hooks or self._backward_pre_hooks else None
        out = self.forward(*(boundary.inputs if boundary else args), **kwargs)
        for hook in in_order(self._forward_hooks):
            result = hook(self, args, kwargs, out)
            out = out if result is None else result
        return boundary.around_output(out) if boundary else out

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call hook(module, args, output) after each forward.  A result other than None replaces the output.

        prepend       call it before the hooks that are there; so in the other methods
        with_kwargs   call hook(module, args, kwargs, output)

        Example
        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer = nn.Linear(3, 2)
        >>> with layer.register_forward_hook(lambda module, args, output: print(output.shape)):
        ...     y = layer(mg.ones(5, 3))
        (5, 2)
        """
        return HookHandle(self._forward_hooks, hook if with_kwargs else partial(_without_kwargs, hook), prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call hook(module, args) before each forward.  A result other than None replaces the arguments.

        with_kwargs   call hook(module, args, kwargs); a result is a pair of both
        """
        return HookHandle(self._forward_pre_hooks, hook if with_kwargs else partial(_pre_without_kwargs, hook), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_input, grad_output) when the gradients by the arguments of forward are computed.

        Both are tuples, with None for what has no gradient.  A result other than None replaces grad_input.
        """
        return HookHandle(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_output) before backward passes the module; a result replaces grad_output."""
        return HookHandle(self._backward_pre_hooks, hook, prepend)

    # ---- registering members

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name, as the bias of a layer without bias.

        Raises   ValidationError   the name is empty, has a dot, or is taken; so in the next two methods
        """
        self._register(self._parameters, Parameter, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not learned but moves with the module; state_dict includes it if it is persistent."""
        self._register(self._buffers, Tensor, name, tensor)
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name; None reserves it."""
        self._register(self._modules, Module, name, module)

    register_module = add_module

    def _register(self, table: dict[str, Any], kind: type, name: str, value: Any) -> None:
        owner = type(self).__name__
        if not isinstance(name, str) or not name or "." in name:
            raise ValidationError(f"{owner}: {name!r} cannot name a member; use a word without dots")
        if hasattr(type(self), name) or any(name in other for other in self._tables() if other is not table):
            raise ValidationError(f"{owner}: the name {name!r} is taken by another attribute; choose another name")
        if value is not None and not isinstance(value, kind):
            raise DtypeError(f"{owner}: {name!r} is a {kind.__name__}, {_explain_refusal(value)}")
        table[name] = value

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return vars(self), self._parameters, self._modules, self._buffers

    def __setattr__(self, name: str, value: Any) -> None:
        is_member = isinstance(value, Parameter | Module)
        if "_modules" in vars(self):
            local.observer.uses(self)  # its state before the change
            tables: Any = (self._parameters, Parameter), (self._modules, Module), (self._buffers, Tensor)
            for table, kind in tables:
                if isinstance(value, kind) if is_member else name in table:
                    for other in self._tables():
                        if other is not table:
                            other.pop(name, None)
                    return self._register(table, kind, name, value)
        elif is_member:
            raise AttributeError(
                f"{type(self).__name__}: {name!r} is assigned too early; call super().__init__() first"
            )
        object.__setattr__(self, name, value)
        changed()

    def __getattr__(self, name: str) -> Any:  # called only if there is no plain attribute of this name
        if "_modules" in self.__dict__:
            local.observer.uses(self)
            for table in (self._parameters, self._modules, self._buffers):
                if name in table:
                    return table[name]
        if hasattr(type(self), name):
            return object.__getattribute__(self, name)  # a property failed: raise its own error
        message = f"{type(self).__name__} has no attribute {name!r}{self._suggest(name)}"
        raise AttributeError(message, name=None, obj=self)  # name=None: Python would add its own "Did you mean"

    def _suggest(self, name: str) -> str:
        if "_modules" not in vars(self):
            return "; call super().__init__() first"
        near = [] if name.startswith("__") else get_close_matches(name, dir(self), 1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def __delattr__(self, name: str) -> None:
        for table in self._tables():
            if name in table:
                del table[name]
                changed()
                return
        self.__getattr__(name)  # raises the error

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._modules, *self._buffers]

    # ---- finding members; a shared one appears once

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Return all parameters, or only those of this module itself."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Return pairs (path, parameter), as ("features.conv1.weight", ...)."""
        return self._named("_parameters", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Return all buffers, or only those of this module itself."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Return pairs (path, buffer)."""
        return self._named("_buffers", prefix, recurse)

    def _named(self, table: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield _join(path, name), tensor

    def children(self) -> "Iterator[Module]":
        """Return the modules directly inside."""
        return (child for _, child in self.named_children())

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """Return pairs (name, module) of the modules directly inside."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def modules(self) -> "Iterator[Module]":
        """Return this module and all modules inside it, at any depth."""
        return (module for _, module in self.named_modules())

    def named_modules(self, memo: "set[Module] | None" = None, prefix: str = "") -> "Iterator[tuple[str, Module]]":
        """Return pairs (path, module) of this module, whose path is `prefix`, and all inside it; skip those in memo."""
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
        """Return the module at a path, as in get_submodule("features.0"); an AttributeError if there is none."""
        module: Any = self
        for name in filter(None, target.split(".")):
            module = getattr(module, name)
            if not isinstance(module, Module):
                kind = type_with_article(module)
                raise AttributeError(f"get_submodule: {name!r} in {target!r} is {kind}, not a Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a path, as in get_parameter("conv1.weight"); an AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"get_parameter: {target!r} is {type_with_article(found)}, not a Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at a path; an AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if name not in owner._buffers:
            raise AttributeError(f"get_buffer: {type(owner).__name__} has no buffer {name!r}")
        return getattr(owner, name)

    # ---- changing all members; these methods return the module itself

    def apply(self, fn: "Callable[[Module], object]") -> Self:
        """Call fn on every module inside and then on this module, for example to set initial weights."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, in which dropout is active; mode=False switches to evaluation mode."""
        if not isinstance(mode, bool):
            raise DtypeError(
                f"train: mode is {brief(mode)}, expected True or False; train() sets the mode, it does not run a "
                "training"
            )
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode, in which dropout does nothing."""
        return self.train(False)

    def to(self, *targets: Any, **named: Any) -> Self:
        """Move all members to a device, and convert float tensors to a dtype; parameters stay the same objects.

        model.to("numpy"), model.to(mg.float64), model.to("cpu", mg.float32), model.to(other_tensor)

        Raises   DeviceError   the device is not available
                 DtypeError    the dtype is not a float dtype
        """
        dtype = Tensor(0.0).to(*targets, **named).dtype
        if dtype.kind != "f":
            raise DtypeError(f"to: a module cannot become {dtype}, because it learns fractions; use float32 or float64")
        for tensor in [*self.parameters(), *self.buffers()]:
            if isinstance(tensor, Uninitialized):
                tensor.convert(lambda values: _move(values, targets, named))
                continue
            values = tensor.detach()
            moved = _move(values, targets, named)
            if moved is not values:
                tensor.data = moved
                tensor.grad = None if tensor.grad is None else _move(tensor.grad, targets, named)
        return self

    def cpu(self) -> Self:
        """Move all members to the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """Move all members to the GPU; a DeviceError if there is none."""
        return self.to("cuda" if device is None or isinstance(device, int) else device)

    def float(self) -> Self:
        """Convert float tensors to float32."""
        return self.to(float32)

    def double(self) -> Self:
        """Convert float tensors to float64, for example to check gradients."""
        return self.to(float64)

    def half(self) -> Self:
        """Refuse float16, in which nothing is computed here."""
        raise DtypeError(f"half: {type(self).__name__} computes in float32 or float64; leave the call out")

    bfloat16 = half

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set requires_grad of all parameters; False freezes them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None, or with set_to_none=False fill them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = param.grad.detach().zero_()

    # ---- saving and loading

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Return parameters and persistent buffers by path.  They share memory; keys and layouts are PyTorch's.

        keep_vars   whether to return the parameters themselves, not tensors outside of graphs

        Example
        >>> from minigrad import nn
        >>> {name: tensor.shape for name, tensor in nn.Conv2d(3, 6, 5).state_dict().items()}
        {'weight': (6, 3, 5, 5), 'bias': (6,)}
        """
        kept = {name: buffer for name, buffer in self._buffers.items() if name not in self._non_persistent}
        own = [(prefix + name, x) for name, x in {**self._parameters, **kept}.items() if x is not None]
        state = {path: x if keep_vars else x.detach() for path, x in own}
        for name, child in self._modules.items():
            if child is not None:
                state |= child.state_dict(prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor | np.ndarray], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into the parameters and buffers with the same paths.  All is checked before anything changes.

        state_dict   paths and their tensors or NumPy arrays, as from state_dict()
        strict       True: missing and unexpected keys are an error; False: they are skipped
        assign       use the memory, the dtype and the device of the given tensors, in place of copying them
        returns      the missing and unexpected keys

        Raises   StateError   a shape differs, or, if strict, a key is missing or unexpected
        Example
        >>> from minigrad import nn
        >>> first, second = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> second.load_state_dict(first.state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            got = type_with_article(state_dict)
            raise StateError(
                f"load_state_dict: expected a dict of tensors, got {got}; give the state_dict() of a model"
            )
        for path, module in self.named_modules():
            module._prepare_to_load(state_dict, _join(path, ""))
        own = self.state_dict()
        keys = IncompatibleKeys(
            [name for name in own if name not in state_dict], [name for name in state_dict if name not in own]
        )
        pairs = [(name, own[name], state_dict[name]) for name in own if name in state_dict]
        _check_fit(type(self).__name__, keys if strict else IncompatibleKeys([], []), pairs)
        if assign:
            members = self.state_dict(keep_vars=True)
            for name, _, value in pairs:
                members[name].data = value if isinstance(value, Tensor) else as_tensor(value)
            return keys
        ready = [(tensor, Tensor(value, dtype=tensor.dtype, device=tensor.device)) for _, tensor, value in pairs]
        for tensor, values in ready:
            tensor.copy_(values)
        return keys

    def _prepare_to_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Called before a state is loaded, with the part of the keys that stands for this module."""

    # ---- showing

    def extra_repr(self) -> str:
        """Return the settings that repr() shows in parentheses."""
        return ""

    def _members(self) -> list[tuple[str, str]]:
        """Pairs (label, text) of the modules inside, for repr()."""
        return [(name, repr(child)) for name, child in self._modules.items()]

    def __repr__(self) -> str:
        settings, name = self.extra_repr(), type(self).__name__
        inside = [f"({name}): {text}".replace("\n", "\n  ") for name, text in self._members()]
        if not inside and "\n" not in settings:
            return f"{name}({settings})"
        return "\n  ".join([f"{name}(", *settings.splitlines(), *inside]) + "\n)"


def _without_kwargs(hook: Callable[..., Any], module: Any, args: Any, kwargs: Any, out: Any) -> Any:
    return hook(module, args, out)


def _pre_without_kwargs(hook: Callable[..., Any], module: Any, args: Any, kwargs: Any) -> Any:
    result = hook(module, args)
    return None if result is None else (result if isinstance(result, tuple) else (result,), kwargs)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _explain_refusal(value: Any) -> str:
    if isinstance(value, type):
        return f"so it cannot be the class {value.__name__}; create an instance: {value.__name__}(...)"
    if isinstance(value, Tensor):
        return "so it cannot be a plain Tensor; wrap it in nn.Parameter(...), or assign to .data"
    return f"so it cannot be {type_with_article(value)}; use None to leave it out"


def _move(tensor: Tensor, targets: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """Return tensor.to(...); a tensor of whole numbers changes only its device."""
    moved = tensor.to(*targets, **named)
    return moved if tensor.dtype.kind == "f" else tensor.to(moved.device)


def _check_fit(model: str, keys: IncompatibleKeys, pairs: list[tuple[str, Tensor, Any]]) -> None:
    """Raise one StateError that names all keys, and all triples (path, tensor, new value) that differ in shape."""
    lists = zip(("missing", "unexpected"), keys, strict=True)
    problems = [f"{word}: {', '.join(names)}" for word, names in lists if names]
    problems += [
        f"{name}: {getattr(value, 'shape', type_with_article(value))} in the state, {tensor.shape} in the model"
        for name, tensor, value in pairs
        if getattr(value, "shape", None) != tensor.shape
    ]
    if problems:
        advice = "; strict=False skips missing and unexpected keys" if any(keys) else ""
        message = "\n  ".join([f"load_state_dict: the state does not fit {model}:", *problems])
        raise StateError(f"{message}\nbuild the model with the settings it was saved with{advice}")


def _add_path(error: Any, module: Module) -> None:
    """Put the path of the layer that raised `error`, as seen from `module`, before the message.

    Every module that the error passes through adds its part: `conv1: ...` becomes `features.conv1: ...`.
    """
    layer, path, message = getattr(error, "_location", (module, "", str(error)))
    name = next((name for name, found in module.named_modules() if found is layer), "")
    path = ".".join(filter(None, (name, path)))
    error._location = module, path, message
    error.args = (f"{path}: {message}" if path else message,)
