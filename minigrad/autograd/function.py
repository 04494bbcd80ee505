"""Calls as single nodes: Function, an operation of the user with a gradient of its own.

A call has one CallNode.  Each of its results has an OutputNode, whose gradient it collects.
"""

import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import Any

from ..checks import type_with_article
from ..errors import DtypeError, GraphError, ShapeError
from ..shapes import broadcast
from ..tape import Node, OutputNode, is_grad_enabled, mode, no_grad
from ..tensors import Tensor, _make

__all__ = ["CallNode", "Function", "FunctionCtx", "once_differentiable"]


class CallNode(Node):
    """The node of a call.

    backward   function of this node and a dict of the gradients of results, by index; returns those of the inputs
    results    weak references to the nodes of the results, by index
    """

    __slots__ = ("backward", "results")

    def __init__(self, name: str, edges: list[Any], shapes: list[Any], dtypes: list[Any], backward: Any):
        device = next(edge.device for edge in edges if edge is not None)
        operation = SimpleNamespace(name=name, input_name="argument {}".format)
        super().__init__(operation, device, edges, shapes, dtypes, [], [], None, None, {})
        self.backward: Any = backward
        self.results: dict[int, Any] = {}

    @classmethod
    def of(cls, name: str, values: Sequence[Any], backward: Any) -> "CallNode":
        """The node of a call with these arguments."""
        edges = [x._edge if isinstance(x, Tensor) else None for x in values]
        shapes, dtypes = [getattr(x, "shape", ()) for x in values], [getattr(x, "dtype", None) for x in values]
        return cls(name, edges, shapes, dtypes, backward)

    def name(self) -> str:
        return f"{self.op.name}Backward"

    def free(self) -> None:
        super().free()
        self.backward = None

    def give(self, index: int, x: Tensor) -> Tensor:
        """The values of x as a result of this call."""
        result, node = x.detach(), self.results[index]() if index in self.results else None
        result._node = node or OutputNode(self, index, x.device)  # made again where the first result is deleted
        self.results[index] = weakref.ref(result._node)
        return result

    def contributions(self, do: Any, g: Any, tensors: Any, needed: Any) -> Any:
        if tensors is None:  # copies, because backward may change and keep what it gets
            g = {i: _make(part, self.device, None).clone() for i, part in g.items()}
        found = self.backward(self, g)
        found = found if isinstance(found, tuple | list) else (found,)
        if len(found) != len(self.edges):
            raise GraphError(
                f"{self.op.name}: backward returned {len(found)} gradients for {len(self.edges)} arguments; return one "
                "for each, None where there is none"
            )
        return [self._checked(i, part, tensors is not None) for i, part in enumerate(found)]

    def _checked(self, i: int, part: Any, recorded: bool) -> Callable[[], Any] | None:
        edge, shape = self.edges[i], self.shapes[i]
        if part is None or (edge is None and self.dtypes[i] is not None):
            return None
        if edge is None or not isinstance(part, Tensor):
            expected = "None, because the argument is no tensor" if edge is None else "a tensor or None"
            raise DtypeError(f"{self.op.name}: gradient {i} is {type_with_article(part)}, expected {expected}")
        if broadcast(self.op.name, shape, part.shape) != part.shape:
            raise ShapeError(
                f"{self.op.name}: gradient {i} has shape {part.shape}, the argument {shape}; make them equal"
            )
        part = part.to(edge.device)
        return lambda: part if recorded else part.clone().array


class FunctionCtx:
    """What the forward of a Function tells its backward; attributes of any other name are kept, too.

    needs_input_grad   for each argument of apply, whether it is a tensor that requires a gradient
    """

    _node: Any = None  # during backward
    _saved: tuple[Any, ...] = ()
    _constant: tuple[Any, ...] = ()
    _materialize = True

    def __init__(self, function: Any, args: tuple[Any, ...]):
        self._function = function
        self.needs_input_grad = tuple(isinstance(x, Tensor) and x.requires_grad for x in args)

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors, or None, for `saved_tensors`; a later change in place of one of them is noticed."""
        for x in tensors:
            if x is not None and not isinstance(x, Tensor):
                kind = type(x).__name__
                raise DtypeError(f"save_for_backward: expected tensors, got {kind}; set it as an attribute of ctx")
        self._saved = tuple(x if x is None else (x, x._storage, x._storage.version) for x in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors of save_for_backward; a GraphError if one was changed in place since."""
        return tuple(saved if saved is None else self._unpack(i, *saved) for i, saved in enumerate(self._saved))

    def _unpack(self, i: int, x: Tensor, storage: Any, version: int) -> Tensor:
        if storage.version != version:
            raise GraphError(
                f"{self._function.__name__}: saved tensor {i} was changed in place {storage.version - version} time(s) "
                "after forward saved it, and backward needs the old value; change a copy instead, or after backward"
            )
        found = self._node is not None and id(x) in self._indices
        return self._node.give(self._indices[id(x)], x) if found else x

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Tell which results have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Choose what backward gets for a result that has no gradient: zeros (True, the default) or None."""
        self._materialize = value

    def _record(self, args: tuple[Any, ...], out: Any) -> Any:
        """The results of forward, recorded as one call."""
        node = CallNode.of(self._function.__name__, args, self._backward)
        results = list(out) if isinstance(out, tuple) else [out]
        self._like: list[Any] = [(x.device, x.shape, x.dtype) if isinstance(x, Tensor) else None for x in results]
        self._indices: dict[int, int] = {}  # of results that are no arguments, by id, for those that are saved
        given, constant = {id(x) for x in args}, {id(x) for x in self._constant}
        for i, x in enumerate(results):
            if isinstance(x, Tensor) and x.dtype.kind == "f" and id(x) not in constant:
                if id(x) not in given:
                    self._indices[id(x)] = i
                results[i] = node.give(i, x)
        self._constant = ()
        if mode.anomaly is not None:
            mode.anomaly.check_result(node, [x.array for x in results if isinstance(x, Tensor)], [])
        return tuple(results) if isinstance(out, tuple) else results[0]

    def _zeros(self, i: int) -> Tensor | None:
        """Zeros like result i; None if that is no tensor."""
        if self._like[i] is None:
            return None
        device, shape, kind = self._like[i]
        return _make(device.full(shape, 0, kind), device, None)

    def _backward(self, node: CallNode, given: dict[int, Any]) -> Any:
        gradients = [given.get(i, self._zeros(i) if self._materialize else None) for i in range(len(self._like))]
        self._node = node
        try:
            return self._function.backward(self, *gradients)
        finally:
            self._node = None


class Function:
    """An operation with a gradient of its own.  Write a subclass with static methods, and call its `apply`.

    forward(ctx, *args)         computes a tensor, or a tuple of results, from any arguments, without recording;
                                ctx.save_for_backward keeps tensors
    backward(ctx, *gradients)   takes the gradient of each result, a copy, and returns one for each argument, or None;
                                if it computes with tensors, it can be differentiated again
    setup_context(ctx, inputs, output)   where it is defined, forward gets no ctx, and this method saves tensors

    A Function works in mg.graph if its methods compute with tensors.

    Raises   GraphError   backward returns another number of gradients, or a saved tensor was changed in place
             ShapeError   a gradient does not fit its argument
             DtypeError   a gradient is no tensor
    Example
    >>> import minigrad as mg
    >>> class Cube(mg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         (x,) = ctx.saved_tensors
    ...         return gradient * 3 * x * x
    >>> x = mg.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor([12.])
    """

    forward: Any
    backward: Any
    setup_context: Any = None

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call forward, and record the call."""
        ctx = FunctionCtx(cls, args)
        with no_grad():
            if cls.setup_context is None:
                out = cls.forward(ctx, *args)
            else:
                out = cls.forward(*args)
                cls.setup_context(ctx, args, out)
        return ctx._record(args, out) if is_grad_enabled() and any(ctx.needs_input_grad) else out


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for the backward of a Function: it is not recorded, and a second derivative is refused."""

    def refuse(node: CallNode, given: Any) -> Any:
        raise GraphError(f"{node.op.name}: it is once_differentiable, so there is no second derivative; detach it")

    @wraps(function)
    def backward(ctx: Any, *gradients: Any) -> Any:
        with no_grad():
            found = function(ctx, *gradients)
        if not is_grad_enabled():
            return found
        parts = found if isinstance(found, tuple) else (found,)
        edges = ctx._node.edges + [g._edge for g in gradients if g is not None]  # what a second derivative would go to
        node = CallNode(ctx._function.__name__, edges, [None] * len(edges), [None] * len(edges), refuse)
        return tuple(part if part is None else node.give(i, part) for i, part in enumerate(parts))

    return backward
