"""An ONNX graph that is being made: nodes, constants, and sizes that depend on the batch.

    y = graph.Conv(x, w, b, strides=[1, 1])     # adds a node, returns the name of its output

An operand is the name of a value, an array, which becomes a constant, or None for an input that is left out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .trace import Repeated, Size, Value, Weight

END = np.iinfo(np.int64).max  # of a slice: the end of an axis


class Graph:
    """The nodes of a graph, in order, and the step that they are made for.

    batch    name of the input, and its axis, that give the size of the batch
    step     the step that is being converted
    nodes    dicts of helper.make_node's arguments
    weights  names of those that are used
    momenta  by the name of a running mean: the share of a batch in it
    """

    step: Any = None  # a Step

    def __init__(
        self, inputs: Sequence[str], taken: Sequence[str], batch: tuple[int, int] | None, momenta: dict[str, float]
    ):
        self.inputs, self.batch, self.momenta = list(inputs), batch, momenta
        self.nodes: list[dict[str, Any]] = []
        self.weights: dict[str, None] = {}
        self.names: list[str] = list(inputs)  # by Value.number
        self._taken = {*inputs, *taken}
        self._constants: dict[Any, str] = {}
        self._sizes: dict[Any, str] = {}

    def __getattr__(self, kind: str) -> Callable[..., str]:
        if not kind[:1].isupper():
            raise AttributeError(kind)
        return partial(self.add, kind)

    def add(self, kind: str, *operands: Any, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        inputs = [self.name_of(operand) for operand in operands]
        while inputs and not inputs[-1]:
            inputs.pop()
        out = self._new_name(kind.lower())
        path = self.step.path.replace(".", "/") if self.step else ""
        self.nodes.append({"op_type": kind, "inputs": inputs, "outputs": [out], "name": f"{path}/{out}", **attributes})
        return out

    def _new_name(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def name_of(self, operand: Any) -> str:
        """The name of an operand; "" for None."""
        if operand is None or isinstance(operand, str):
            return operand or ""
        array = np.ascontiguousarray(operand).reshape(np.shape(operand))
        key = array.tobytes(), array.dtype, array.shape
        if key not in self._constants:
            self._constants[key] = self.add("Constant", value=array)
        return self._constants[key]

    def operand(self, reference: Any) -> Any:
        """The operand for a reference of a trace; numbers stay numbers."""
        if isinstance(reference, Value):
            return self.names[reference.number]
        if isinstance(reference, Weight):
            self.weights[reference.name] = None
            return reference.name
        if isinstance(reference, Repeated):
            return self.Expand(reference.array, self.shape(reference.shape, [1] * len(reference.shape)))
        return reference

    # ---- types

    def cast(self, operand: Any, position: int, dtype: Any = None) -> Any:
        """Input `position` of the step in a dtype, that of the result if None; a number becomes a constant."""
        dtype = np.dtype(self.step.dtype if dtype is None else dtype)
        if isinstance(operand, Size):
            return self.to(self.Squeeze(self._size(operand)), dtype)
        kind = self.step.types[position]
        if kind is None:
            return None if operand is None else np.array(operand, dtype)
        return operand if kind[0] == dtype else self.to(operand, dtype)

    def to(self, operand: Any, dtype: Any) -> Any:
        """An operand converted to a dtype."""
        return self.Cast(operand, to=np.dtype(dtype))

    def number(self, value: float) -> np.ndarray:
        """A constant of the dtype of the result."""
        return np.array(value, self.step.dtype)

    def given_shape(self, position: int = 0) -> tuple[Any, ...]:
        """The shape of an input of the step."""
        shape: tuple[Any, ...] = self.step.types[position][1]
        return shape

    # ---- sizes

    def reshape(self, x: Any, old: Sequence[Any], new: Sequence[Any]) -> str:
        """x in another shape.  0 keeps the size of an axis, and -1 stands for one size that depends on the batch."""
        kept = [
            isinstance(size, Size) and size == before
            for size, before in zip(new, [*old, *[None] * len(new)], strict=False)
        ]
        sizes = [0 if keep else -1 if isinstance(size, Size) else size for size, keep in zip(new, kept, strict=True)]
        return self.Reshape(x, np.array(sizes, np.int64) if sizes.count(-1) < 2 else self.shape(new))

    def shape(self, sizes: Sequence[Any], kept: Sequence[Any] = ()) -> Any:
        """Sizes as an operand (len(sizes)), 1 in place of those that are equal to `kept`."""
        same = dict(enumerate(kept))
        sizes = [1 if isinstance(size, Size) and same.get(i) == size else size for i, size in enumerate(sizes)]
        if not any(isinstance(size, Size) for size in sizes):
            return np.array(sizes, np.int64)
        return self.Concat(*[self._size(size) for size in sizes], axis=0)

    def _size(self, size: Any) -> Any:
        """A size as an operand (1)."""
        if not isinstance(size, Size):
            return np.array([size], np.int64)
        if size not in self._sizes:
            assert self.batch is not None  # there are no Sizes without it
            index, axis = self.batch
            name = self.Shape(self.inputs[index], start=axis, end=axis + 1)
            name = name if size.factor == 1 else self.Mul(name, np.array([size.factor], np.int64))
            self._sizes[size] = name if not size.offset else self.Add(name, np.array([size.offset], np.int64))
        return self._sizes[size]
