"""Modules that hold other modules: Sequential, ModuleList, ModuleDict."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Self

from ..errors import DtypeError
from .module import Module


class _ModuleSequence(Module):
    """Modules in order, with an index; a slice is made by `_part`, from names to modules."""

    _part: Callable[[dict[str, Module]], Any]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._part(dict(list(self._modules.items())[index]))
        return self._modules[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name(index), module)

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_ModuleSequence):
    """Layers one after the other: each gets the output of the one before.

    layers   modules, or one OrderedDict from names to modules

    Raises   DtypeError   one of them is not a Module
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model(mg.ones(8, 4)).shape
    (8, 2)
    >>> model[0]
    Linear(in_features=4, out_features=3, bias=True)
    """

    def __init__(self, *layers: Any):
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                self.add_module(name, layer)
        else:
            self.extend(layers)

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules)

    def forward(self, x: Any) -> Any:
        """The last layer's output."""
        for layer in self:
            x = layer(x)
        return x


class ModuleList(_ModuleSequence):
    """Modules in a list, so that the model that holds it finds their parameters; it has no forward of its own.

    modules   any number of modules, or None

    Raises   DtypeError   one of them is not a Module
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

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules.values())

    def _members(self) -> list[tuple[str, str]]:
        """Neighbours with the same text are shown once, with their number."""
        groups = groupby(super()._members(), key=lambda pair: pair[1])
        runs = [(text, [name for name, _ in group]) for text, group in groups]
        return [
            (names[0], text) if len(names) == 1 else (f"{names[0]}-{names[-1]}", f"{len(names)} x {text}")
            for text, names in runs
        ]


class ModuleDict(Module):
    """Modules by name, so that the model that holds it finds their parameters; it has no forward of its own.

    modules   a mapping from names to modules, or None

    Raises   DtypeError   one of them is not a Module
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
            raise DtypeError(f"ModuleDict: expected a dict of modules, got {type(modules).__name__}")
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, name: str) -> Any:
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

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()
