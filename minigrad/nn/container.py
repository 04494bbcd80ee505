"""Modules that hold other modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import count, groupby
from typing import Any, Generic, Self, TypeVar, overload

from ..checks import index_in_range
from ..errors import DtypeError
from ..names import warn_once
from ..tensors import Tensor
from .module import Module
from .parameter import Parameter

__all__ = ["DataParallel", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]
__dir__ = __all__.copy

Member = TypeVar("Member")


class _Container(Module, Generic[Member]):
    """Members by name, in one of the tables of a Module."""

    _what = "modules"  # that it holds, for messages

    @property
    def _held(self) -> dict[str, Any]:
        return self._modules

    def _hold(self, name: str, member: Any) -> None:
        self.add_module(name, member)

    def __len__(self) -> int:
        return len(self._held)


class _Parameters(_Container[Parameter]):
    """The same for parameters."""

    _what = "parameters"

    @property
    def _held(self) -> dict[str, Any]:
        return self._parameters

    def _hold(self, name: str, member: Any) -> None:
        plain = isinstance(member, Tensor) and not isinstance(member, Parameter)
        self.register_parameter(name, Parameter(member) if plain else member)

    def _members(self) -> list[tuple[str, str]]:
        return [(name, f"Parameter {p.dtype} {p.shape}") for name, p in self._held.items()]


class _Sequence(_Container[Member]):
    """Members in order, reached by index."""

    def __iter__(self) -> Iterator[Member]:
        return iter(self._held.values())

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Member | Self:
        if isinstance(index, slice):
            return self._from_members(dict(list(self._held.items())[index]))
        return self._held[self._name_at(index)]

    def __setitem__(self, index: int, member: Member) -> None:
        self._hold(self._name_at(index), member)

    def __delitem__(self, index: int | slice) -> None:
        """Remove a member, or those of a slice; members named by their number are numbered again."""
        for name in list(self._held)[index] if isinstance(index, slice) else [self._name_at(index)]:
            del self._held[name]
        left = list(self._held.items())
        self._held.clear()
        self._held.update({str(i) if name.isdigit() else name: member for i, (name, member) in enumerate(left)})

    def __add__(self, others: Iterable[Member]) -> Self:
        return self[:].extend(others)

    def _from_members(self, members: dict[str, Member]) -> Self:
        return type(self)(members.values())  # type: ignore[call-arg]

    def _name_at(self, index: int) -> str:
        return list(self._held)[index_in_range(type(self).__name__, index, len(self), self._what, " or a slice")]

    def append(self, member: Member) -> Self:
        """Add a member at the end."""
        self._hold(next(name for name in map(str, count(len(self))) if name not in self._held), member)
        return self

    def extend(self, members: Iterable[Member]) -> Self:
        """Add several members at the end."""
        for member in list(members):
            self.append(member)
        return self

    __iadd__ = extend

    def insert(self, index: int, member: Member) -> Self:
        """Add a member before the one at `index`; the later ones move up by one name."""
        members = list(self)
        self.append(member)
        members.insert(index, self[-1])
        self._held.update(zip(list(self._held), members, strict=True))
        return self

    def pop(self, index: int = -1) -> Member:
        """Remove a member and return it."""
        member = self[index]
        del self[index]
        return member


class Sequential(_Sequence[Module]):
    """Layers in a chain: each takes the output of the one before.

    layers   modules, or one mapping from names to modules

    Raises   DtypeError   a layer is not a Module
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model(mg.ones(8, 4)).shape
    (8, 2)
    >>> model[0]
    Linear(in_features=4, out_features=3, bias=True)
    """

    @overload
    def __init__(self, *layers: Module) -> None: ...
    @overload
    def __init__(self, layers: Mapping[str, Module], /) -> None: ...
    def __init__(self, *layers: Any) -> None:
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], Mapping) and not isinstance(layers[0], Module):
            for name, layer in layers[0].items():
                self.add_module(name, layer)
        else:
            self.extend(layers)

    def _from_members(self, members: dict[str, Module]) -> Self:
        return type(self)(members)

    def forward(self, x: Any) -> Any:
        """Return the output of the last layer."""
        for layer in self:
            x = layer(x)
        return x


class ModuleList(_Sequence[Module]):
    """A list of modules whose parameters belong to the model that holds it; it has no forward.

    Raises   DtypeError   an element is not a Module
    Example
    >>> from minigrad import nn
    >>> nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
    ModuleList(
      (0-1): 2 x Linear(in_features=3, out_features=3, bias=True)
    )
    """

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    def _members(self) -> list[tuple[str, str]]:
        """The same, but neighbours with the same text form one entry with their number."""
        members = []
        for text, group in groupby(super()._members(), key=lambda pair: pair[1]):
            first, *others = [name for name, _ in group]
            run = (f"{first}-{others[-1]}", f"{len(others) + 1} x {text}") if others else (first, text)
            members.append(run)
        return members


class ParameterList(_Parameters, _Sequence[Parameter]):
    """A list of parameters that belong to the model that holds it; tensors become parameters.

    Example
    >>> import minigrad as mg
    >>> [name for name, _ in ParameterList([mg.ones(2), mg.zeros(3)]).named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[Tensor] | None = None):
        super().__init__()
        self.extend(values or ())  # type: ignore[arg-type]  # _hold makes parameters of tensors


class _Mapping(_Container[Member], MutableMapping[str, Member]):
    """Members reached by name; items(), pop() and so on are those of every mapping."""

    __eq__, __hash__ = object.__eq__, object.__hash__  # a module equals only itself

    def __init__(self, members: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None):
        super().__init__()
        self.update(members or {})

    def update(self, members: Any = (), /, **named: Any) -> None:
        """Add or replace several members: of a mapping, or pairs (name, member)."""
        try:
            pairs = dict(members, **named)
        except (TypeError, ValueError):
            kind, got = type(self).__name__, type(members).__name__
            raise DtypeError(f"{kind}: expected a dict of {self._what}, got {got}; name each of them") from None
        for name, member in pairs.items():
            self[name] = member

    def __getitem__(self, name: str) -> Member:
        return self._held[name]

    def __setitem__(self, name: str, member: Any) -> None:
        self._hold(name, member)

    def __delitem__(self, name: str) -> None:
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)


class ModuleDict(_Mapping[Module]):
    """Modules by name whose parameters belong to the model that holds it; it has no forward.

    Raises   DtypeError   a value is not a Module
    Example
    >>> from minigrad import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(84, 10), "parity": nn.Linear(84, 2)})
    >>> list(heads)
    ['digit', 'parity']
    """


class ParameterDict(_Parameters, _Mapping[Parameter]):
    """Parameters by name that belong to the model that holds it; tensors become parameters."""


class DataParallel(Module):
    """A model that would run on several devices; it runs on one, which is said once.

    module   the model, whose parameters have "module." before their names, as in PyTorch
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0):
        super().__init__()
        warn_once("DataParallel: minigrad uses one device; the model runs as it is")
        self.module = module

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Return the output of the model."""
        return self.module(*inputs, **kwargs)
