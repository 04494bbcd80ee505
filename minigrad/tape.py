"""The tape: one node for each recorded operation, and the backward pass over them.

A node has the operation that computed a value, and for each input the node or the leaf that it came from.  Nodes are
numbered in the order in which they are made, after the nodes of their inputs.  So the backward pass takes the newest
node first.
"""

import inspect
import threading
import types
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from .errors import DtypeError, GraphError
from .ops.op import Op

Function = TypeVar("Function", bound=Callable[..., Any])
_numbers = count()


def newest_node() -> int:
    """A number above those of all nodes made so far, and below those of later nodes."""
    return next(_numbers)


class _Mode(threading.local):
    """The state of each Python thread.

    grad_enabled   whether operations are recorded
    entered        the blocks of no_grad and enable_grad that it is in, each with `grad_enabled` before it
    """

    grad_enabled = True

    def __init__(self) -> None:
        self.entered: list[tuple[no_grad, bool]] = []


mode = _Mode()


class no_grad:
    """Inside, operations are not recorded, and keep nothing for a backward pass.  Also a decorator.

    function   to be decorated, with `@no_grad()` or `@no_grad`.  Each step of a generator or coroutine runs inside; the
               caller's code between its steps does not

    Raises   DtypeError   a class, an async generator function or a non-callable is decorated
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([1.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    >>> @mg.no_grad
    ... def doubled(x):
    ...     return x * 2
    >>> doubled(x).requires_grad
    False
    """

    grad_enabled = False

    if TYPE_CHECKING:

        @overload
        def __new__(cls, function: None = None) -> Self: ...
        @overload
        def __new__(cls, function: Function) -> Function: ...  # type: ignore[misc]

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        return made if function is None else made(function)

    def __enter__(self) -> Self:
        mode.entered.append((self, mode.grad_enabled))
        mode.grad_enabled = self.grad_enabled
        return self

    def __exit__(self, *_: object) -> None:
        for i in reversed(range(len(mode.entered))):  # the last one, unless a generator ends out of order
            if mode.entered[i][0] is self:
                mode.grad_enabled = mode.entered.pop(i)[1]
                return

    def __call__(self, function: Function) -> Function:
        _check_decorated(type(self).__name__, function)

        @wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)

        @wraps(function)
        def generator(*args, **kwargs):
            return (yield from self._resumed(function(*args, **kwargs)))

        @wraps(function)
        async def coroutine(*args, **kwargs):
            return await types.coroutine(self._resumed)(function(*args, **kwargs))

        chosen: Any = wrapped
        if _is(inspect.isgeneratorfunction, function):
            chosen = generator
        elif _is(inspect.iscoroutinefunction, function):
            chosen = coroutine
        return chosen

    def _resumed(self, steps):
        """Run each step of a generator or coroutine inside."""
        resume, value = steps.send, None
        try:
            while True:
                with type(self)():
                    result = resume(value)
                try:
                    resume, value = steps.send, (yield result)
                except GeneratorExit:
                    with type(self)():
                        steps.close()
                    raise
                except BaseException as error:
                    resume, value = steps.throw, error
        except StopIteration as end:
            return end.value


class enable_grad(no_grad):
    """Inside, operations are recorded, also within no_grad.  Also a decorator, like no_grad.

    Example
    >>> import minigrad as mg
    >>> with mg.no_grad(), mg.enable_grad():
    ...     mg.is_grad_enabled()
    True
    """

    grad_enabled = True


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function, or the __call__ of an object, is of a kind, as inspect.isgeneratorfunction tells."""
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004


def _check_decorated(where: str, function: Any) -> None:
    name = getattr(function, "__qualname__", type(function).__name__)
    if inspect.isclass(function):
        raise DtypeError(f"{where}: {name} is a class, expected a function; decorate its methods")
    if not callable(function):
        raise DtypeError(f"{where}: got {name}, expected a function to decorate; write `with {where}():` for a block")
    if _is(inspect.isasyncgenfunction, function):
        raise DtypeError(
            f"{where}: {name} is an async generator function, which is not supported; write `with {where}():` inside"
        )


def is_grad_enabled() -> bool:
    """Whether operations are being recorded.

    Example
    >>> is_grad_enabled()
    True
    """
    return mode.grad_enabled


class Node:
    """One recorded operation.

    edges      for each input: the Node that computed it, the leaf Tensor that it is, or None if it needs no gradient
    kept       the input arrays that the gradient rule needs
    versions   (position, storage, version): the storages of these arrays, with their versions; "out" for the output
    """

    __slots__ = ("device", "dtypes", "edges", "kept", "number", "op", "out", "saved", "settings", "shapes", "versions")

    def __init__(self, op, device, edges, shapes, dtypes, kept, versions, out, saved, settings):
        self.op, self.device, self.edges, self.shapes, self.dtypes = op, device, edges, shapes, dtypes
        self.kept, self.versions, self.out, self.saved, self.settings = kept, versions, out, saved, settings
        self.number = next(_numbers)

    @property
    def freed(self) -> bool:
        return self.kept is None

    def free(self) -> None:
        """Release the arrays, and the nodes of the inputs."""
        self.kept = self.out = self.saved = self.edges = None

    def changed(self) -> dict[str, int]:
        """The kept values that were changed in place since, by name, with the number of writes."""
        return {
            position if position == "out" else self.op.input_name(position): storage.version - version
            for position, storage, version in self.versions
            if storage.version != version
        }

    def refuse(self, changed: dict[str, int], contribution: Callable[[], Any]) -> None:
        """Raise GraphError if a contribution to the gradient uses a value that has changed."""
        used = set(contribution.__code__.co_freevars)
        known = {"do", "g", *(name for name, _, _ in self.op.sources)}
        for name, times in changed.items():
            if name in used or not used <= known:  # a local variable of the rule may depend on any parameter
                which = "output" if name == "out" else f"input '{name}'"
                raise GraphError(
                    f"backward: the {which} of {self.op.name} was changed in place {times} time(s) "
                    f"after {self.op.name} used it, and its gradient needs the old value; "
                    "change a copy instead, or after backward"
                )


def reachable(root: Node) -> list[Node]:
    """All nodes that `root` was computed from, and itself, newest first."""
    found, ahead = {id(root): root}, [root]
    while ahead:
        node = ahead.pop()
        for edge in node.edges or ():
            if type(edge) is Node and id(edge) not in found:
                found[id(edge)] = edge
                ahead.append(edge)
    return sorted(found.values(), key=lambda node: node.number, reverse=True)


def walk_back(
    root: Node, gradient: Any, operations: Callable[[Any], Any], keep: bool, tensors: Callable[..., Any] | None = None
) -> list[tuple[Any, Any]]:
    """The backward pass: (leaf, gradient) for every leaf that `root` was computed from.

    gradient     of the final result with respect to the value of `root`
    operations   function of a device: the `do` for gradient rules
    keep         whether the graph is kept for another backward pass
    tensors      given if the gradient itself is recorded: makes a tensor of a kept array and its edge
    """
    pending: dict[int, Any] = {id(root): gradient}
    leaves: dict[int, Any] = {}
    for node in reachable(root):
        g = pending.pop(id(node), None)
        if g is None:
            continue
        if node.kept is None:
            raise GraphError(
                "backward: this graph was walked before and its saved values are freed; "
                "use retain_graph=True in the first backward"
            )
        changed = None
        for _, storage, version in node.versions:
            if storage.version != version:
                changed = node.changed()
                break
        do = operations(node.device)
        contributions = _rule(node, do, g, tensors)
        for edge, shape, dtype, contribution in zip(node.edges, node.shapes, node.dtypes, contributions, strict=True):
            if edge is None or contribution is None:
                continue
            if changed:
                node.refuse(changed, contribution)
            part = contribution()
            place = getattr(edge, "device", node.device)  # differs where a tensor was moved
            there = do if place is node.device else operations(place)
            if part.shape != shape:  # the input was broadcast
                part = there.sum_to(part, shape=shape)
            if part.dtype != dtype:  # the input was promoted
                part = there.cast(part, dtype=dtype)
            if type(edge) is not Node:
                leaves[id(edge)] = edge
            before = pending.get(id(edge))
            pending[id(edge)] = part if before is None else there.add(before, part)
        if not keep:
            node.free()
    return [(leaf, pending[key]) for key, leaf in leaves.items()]


def _rule(node: Node, do, g, tensors):
    """The contributions of a node: one function for each input."""
    op: Op = node.op
    if op.rule is None:
        raise GraphError(f"backward: {op.name} has no gradient")
    kept, out = node.kept, node.out
    if tensors is not None:
        storages = {position: storage for position, storage, _ in node.versions}
        kept = [
            tensors(array, node.edges[i], node.device, storages.get(i))
            for i, array in zip(op.kept_of(node.edges), kept, strict=True)
        ]
        out = None if out is None else tensors(out, node, node.device, storages["out"])
    found = {"kept": kept, "shapes": node.shapes, "out": out, "saved": node.saved, "settings": node.settings}
    return op.rule(do, g, **op.arguments(found))
