"""Modules that hold other modules: Sequential, ModuleList, ModuleDict."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import count, groupby
from typing import Any, Self, overload

from ..checks import index_in_range
from ..errors import DtypeError
from .module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]
__dir__ = __all__.copy


class _ModuleSequence(Module):
    """Modules in order, reached by index."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            return self._from_modules(dict(list(self._modules.items())[index]))
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        """Remove a module, or those of a slice; modules named by their number are numbered again."""
        for name in list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]:
            del self._modules[name]
        left = list(self._modules.items())
        self._modules.clear()
        self._modules.update({str(i) if name.isdigit() else name: module for i, (name, module) in enumerate(left)})

    def _from_modules(self, modules: dict[str, Module]) -> Self:
        raise NotImplementedError

    def _name_at(self, index: int) -> str:
        kind = type(self).__name__
        return list(self._modules)[index_in_range(kind, index, len(self), "modules", " or a slice")]

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(next(name for name in map(str, count(len(self))) if name not in self._modules), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_ModuleSequence):
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
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                self.add_module(name, layer)
        else:
            self.extend(layers)

    def _from_modules(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules)

    def forward(self, x: Any) -> Any:
        """Return the output of the last layer."""
        for layer in self:
            x = layer(x)
        return x


class ModuleList(_ModuleSequence):
    """A list of modules whose parameters belong to the model that holds it; it has no forward.

    modules   modules, or None

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

    def _from_modules(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules.values())

    def _members(self) -> list[tuple[str, str]]:
        """Return the members for repr(); neighbours with the same text form one entry with their number."""
        groups = groupby(super()._members(), key=lambda pair: pair[1])
        runs = [(text, [name for name, _ in group]) for text, group in groups]
        return [
            (names[0], text) if len(names) == 1 else (f"{names[0]}-{names[-1]}", f"{len(names)} x {text}")
            for text, names in runs
        ]


class ModuleDict(Module):
    """Modules by name whose parameters belong to the model that holds it; it has no forward.

    modules   a mapping from names to modules, or None

    Raises   DtypeError   a value is not a Module
    Example
    >>> from minigrad import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(84, 10), "parity": nn.Linear(84, 2)})
    >>> list(heads)
    ['digit', 'parity']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add or replace several modules."""
        if not isinstance(modules, Mapping):
            raise DtypeError(f"ModuleDict: expected a dict of modules, got {type(modules).__name__}; name each module")
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> KeysView[str]:
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        return self._modules.values()

    def items(self) -> ItemsView[str, Module]:
        return self._modules.items()
