"""The tape: one node for each recorded operation, and the backward pass over them.

A node has the operation that computed a value, and for each input the node or the leaf that it came from.  Nodes are
numbered in the order in which they are made, after the nodes of their inputs.  So the backward pass takes the newest
node first.
"""

import inspect
import math
import threading
import types
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from .checks import brief
from .dependency import CountedDict
from .errors import DtypeError, GraphError
from .ops.op import Op

Function = TypeVar("Function", bound=Callable[..., Any])
_numbers = count(1)


def newest_node() -> int:
    """A number above those of all nodes made so far, and below those of later nodes."""
    return next(_numbers)


class _Mode(threading.local):
    """The state of each Python thread.

    grad_enabled   whether operations are recorded
    entered        the blocks of no_grad and enable_grad that it is in, each with `grad_enabled` before it
    anomaly        what looks at every result and gradient, see autograd/anomaly.py; None if nothing does
    at_end         functions to be called when the backward pass that is running has ended; None if none is running
    """

    grad_enabled = True
    anomaly: Any = None
    at_end: list[Callable[[], object]] | None = None

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
    """Inside, operations are recorded, also within no_grad.  Also a decorator, like no_grad."""

    grad_enabled = True


class set_grad_enabled(no_grad):
    """Switch recording on or off: at once, as a function; until the end of a `with` block; or as a decorator.

    Raises   DtypeError   mode is not True or False
    Example
    >>> import minigrad as mg
    >>> with mg.set_grad_enabled(False):
    ...     mg.is_grad_enabled()
    False
    """

    def __new__(cls, mode: bool) -> Self:
        return super().__new__(cls)

    def __init__(self, mode: bool):
        if not isinstance(mode, bool):
            raise DtypeError(f"set_grad_enabled: mode is {brief(mode)}, expected True or False")
        self.grad_enabled, self._before = mode, _swap(mode)

    def __enter__(self) -> Self:
        super().__enter__()
        mode.entered[-1] = self, self._before
        return self

    def __call__(self, function: Function) -> Function:
        _swap(self._before)
        return (enable_grad if self.grad_enabled else no_grad)()(function)


def _swap(enabled: bool) -> bool:
    before, mode.grad_enabled = mode.grad_enabled, enabled
    return before


def inference_mode(mode: Any = True) -> Any:
    """Return no_grad(), or enable_grad() for False; also a decorator."""
    return no_grad(None if mode is True else mode) if mode else enable_grad()


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
    """Whether operations are being recorded."""
    return mode.grad_enabled


# ---- hooks

RETAIN = math.inf  # the number of the hook that keeps a gradient, which runs after all others
_hook_numbers = count(1)


class HookHandle:
    """The handle of a hook; remove() or the end of a `with` block removes the hook."""

    def __init__(self, hooks: dict[Any, Any], hook: Any, prepend: bool = False):
        self.hooks, self.number = hooks, -next(_hook_numbers) if prepend else next(_hook_numbers)
        hooks[self.number] = hook

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self.hooks.pop(self.number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def in_order(hooks: dict[Any, Callable[..., Any]]) -> list[Callable[..., Any]]:
    """The hooks in the order in which they run, that of their numbers."""
    return [hooks[number] for number in sorted(hooks)]


def run_hooks(hooks: dict[Any, Callable[..., Any]], gradient: Any) -> Any:
    """The gradient, a tensor, after the hooks, which may replace it."""
    for hook in in_order(hooks):
        result = hook(gradient)
        if result is None:
            continue
        if getattr(result, "dtype", None) != gradient.dtype or result.shape != gradient.shape:
            found = f"{result.dtype} {result.shape}" if hasattr(result, "dtype") else type(result).__name__
            raise GraphError(
                f"register_hook: the hook returned {found}, expected {gradient.dtype} {gradient.shape} or None"
            )
        gradient = result
    return gradient


def gradient_hooks(tensor: Any, place: str = "before") -> dict[Any, Any]:
    """The hooks of a tensor, which are kept by its node.

    place   of a leaf: "before" or "after" its .grad changes; "complete": hook(leaf, array) is called while backward()
            goes on, as soon as no more is added to this gradient, which the hook must not change
    """
    if tensor.node is not None:
        tensor.node.hooks = tensor.node.hooks or {}
        return tensor.node.hooks
    if tensor._hooks is None:
        tensor._hooks = {"before": CountedDict(), "after": CountedDict(), "complete": CountedDict()}
    return tensor._hooks[place]


# ---- nodes


class Node:
    """One recorded operation.

    edges      for each input: the Node that computed it, the leaf Tensor that it is, or None if it needs no gradient
    kept       the input arrays that the gradient rule needs
    versions   (position, storage, version): the storages of these arrays, with their versions; "out" for the output
    hooks      functions of the gradient of its value, by number; None if there were never any
    origin     where it was recorded; set only if detect_anomaly asks for that
    """

    __slots__ = (
        *("__weakref__", "device", "dtypes", "edges", "hooks", "kept", "number", "op", "origin", "out", "saved"),
        *("settings", "shapes", "versions"),
    )

    def __init__(self, op, device, edges, shapes, dtypes, kept, versions, out, saved, settings):
        self.op, self.device, self.edges, self.shapes, self.dtypes = op, device, edges, shapes, dtypes
        self.kept, self.versions, self.out, self.saved, self.settings = kept, versions, out, saved, settings
        self.number = next(_numbers)
        self.hooks = None

    def name(self) -> str:
        """The name in PyTorch's style: "MulBackward0"."""
        return "".join(word.capitalize() for word in self.op.name.split("_")) + "Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """For each input: what made it, and which of several results it is; (None, 0) without gradient."""
        for i, edge in enumerate(self.edges or ()):
            self.edges[i] = expanded(edge)
        return tuple(map(function_of, self.edges or ()))

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def freed(self) -> bool:
        return self.edges is None

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

    def contributions(self, do: Any, g: Any, tensors: Any, needed: Any) -> Any:
        """Functions that compute the gradient of each input, or None; see walk_back for the arguments.

        needed   for each input, whether its gradient is needed; None if all are
        """
        op: Op = self.op
        if op.rule is None:
            raise GraphError(f"backward: {op.name} has no gradient")
        kept, out = self.kept, self.out
        if tensors is not None:
            storages = {position: storage for position, storage, _ in self.versions}
            kept = [
                tensors(array, self.edges[i], self.device, storages.get(i))
                for i, array in zip(op.kept_of(self.edges), kept, strict=True)
            ]
            out = None if out is None else tensors(out, self, self.device, storages["out"])
        found = {"kept": kept, "shapes": self.shapes, "out": out, "saved": self.saved, "settings": self.settings}
        return op.rule(do, g, **op.arguments(found))


class StandIn(Node):
    """A node in whose place other nodes can stand; see nn/calls.py."""

    __slots__ = ()

    @property
    def is_expanded(self) -> bool:
        """Whether they have taken its place."""
        raise NotImplementedError

    def expanded(self) -> Node:
        """Let them take its place; return the newest of them."""
        raise NotImplementedError


def expanded(edge: Any, always: bool = True) -> Any:
    """The edge, or the node in whose place it stands; if not `always`, only where that has taken its place."""
    return edge.expanded() if isinstance(edge, StandIn) and (always or edge.is_expanded) else edge


class OutputNode(Node):
    """One of the results of a node that may have several; its only edge is that node, which gets {index: gradient}."""

    __slots__ = ("index",)

    def __init__(self, function: Node, index: int, device: Any):
        super().__init__(function.op, device, [function], [None], [None], [], [], None, None, {})
        self.index = index

    @property
    def freed(self) -> bool:
        return self.edges[0].freed


class AccumulateGrad:
    """The end of a graph in `next_functions`: the leaf `variable`, whose .grad gets the gradient."""

    next_functions: tuple[Any, ...] = ()

    def __init__(self, variable: Any):
        self.variable = variable

    def name(self) -> str:
        return "AccumulateGrad"


def function_of(edge: Any) -> tuple[Any, int]:
    """An edge as PyTorch shows it: (function, which of its results)."""
    if isinstance(edge, OutputNode):
        return edge.edges[0], edge.index
    return (edge if edge is None or isinstance(edge, Node) else AccumulateGrad(edge)), 0


# ---- the backward pass

FREED = (
    "backward: this graph was walked before and its saved values are freed; use retain_graph=True in the first backward"
)


def reachable(*roots: Any, after: int = 0, expand: bool = False) -> list[Node]:
    """All nodes numbered above `after` that the roots were computed from, and themselves, newest first.

    expand   whether all nodes take the places in which others stand for them
    """
    found = {id(root): root for root in roots if isinstance(root, Node) and root.number > after}
    ahead = list(found.values())
    while ahead:
        node = ahead.pop()
        for i, edge in enumerate(node.edges or ()):
            edge = node.edges[i] = expanded(edge, expand)
            if id(edge) not in found and isinstance(edge, Node) and edge.number > after:
                found[id(edge)] = edge
                ahead.append(edge)
    return sorted(found.values(), key=lambda node: node.number, reverse=True)


class run_at_end:
    """Inside, a backward pass is running; at the end of the outermost one the functions of when_backward_ends run."""

    def __enter__(self) -> None:
        self.outer = mode.at_end
        mode.at_end = [] if self.outer is None else self.outer

    def __exit__(self, kind: Any, *_: object) -> None:
        functions, mode.at_end = mode.at_end or [], self.outer
        if self.outer is None and kind is None:
            for function in functions:
                function()


def when_backward_ends(function: Callable[[], object]) -> None:
    """Call a function when all gradients of the running backward pass are accumulated; once, if it is given often."""
    if mode.at_end is not None and function not in mode.at_end:
        mode.at_end.append(function)


def walk_back(
    seeds: Any, operations: Any, keep: bool, tensors: Any = None, wanted: Any = None, hooked: Any = None, after: int = 0
) -> list[tuple[Any, Any]]:
    """The backward pass: pairs (leaf, gradient) for every leaf that the results were computed from.

    seeds        pairs: the node or leaf of a result, and the gradient with respect to it
    operations   function of a device: the `do` for gradient rules
    keep         whether the graph is kept for another backward pass
    tensors      given if the gradient itself is recorded: makes a tensor of a kept array and its edge
    wanted       the nodes and leaves whose gradients are returned, instead of those of all leaves
    hooked       hooked(hooks, gradient, device): the gradient after the hooks; hooks do not run if it is None
    after        nodes with this number and older ones count as leaves, whose hooks wait for a later walk
    """
    expand = tensors is not None
    seeds = [(expanded(edge, expand), gradient) for edge, gradient in seeds]
    nodes = reachable(*[edge for edge, _ in seeds], after=after, expand=expand)
    targets = None if wanted is None else {id(edge) for edge in wanted}
    needed: Any = None if targets is None else _leading_to(nodes, targets)
    blocked = targets is not None and any(node.freed and id(node) not in targets for node in nodes)
    pending: dict[int, Any] = {}
    reached: dict[int, Any] = {}
    found, anomaly = [], mode.anomaly
    announces = targets is None and tensors is None and hooked is not None and not after
    complete = _complete_before(nodes) if announces else {}

    def add(sums: dict[int, Any], key: int, part: Any, do: Any) -> None:
        sums[key] = do.add(sums[key], part) if key in sums else part

    def collect(leaf: Any, g: Any) -> None:
        if hooked is not None and not after and leaf._hooks:
            g = hooked(leaf._hooks["before"], g, leaf.device) if leaf._hooks["before"] else g
            for hook in in_order(leaf._hooks["complete"]) if announces else ():
                hook(leaf, g)
        found.append((leaf, g))

    for edge, gradient in seeds:
        reached[id(edge)] = edge
        add(pending, id(edge), gradient, operations(edge.device))
    for node in nodes:
        for leaf in complete.get(id(node), ()):
            if id(leaf) in pending:
                collect(leaf, pending.pop(id(leaf)))
        g = pending.pop(id(node), None)
        if g is None:
            continue
        if node.hooks is not None and hooked is not None:
            g = hooked(node.hooks, g, node.device)
        if targets is not None:
            if id(node) in targets:
                found.append((node, g))
            if not any(id(edge) in needed for edge in node.edges or ()):
                continue
        if node.edges is None:
            raise GraphError(FREED)
        do = operations(node.device)
        if isinstance(node, OutputNode):
            add(pending.setdefault(id(node.edges[0]), {}), node.index, g, do)
            continue
        changed = node.changed()
        asked = None if needed is None else tuple([id(edge) in needed for edge in node.edges])
        contributions = zip(
            node.edges, node.shapes, node.dtypes, node.contributions(do, g, tensors, asked), strict=True
        )
        for i, (edge, shape, dtype, contribution) in enumerate(contributions):
            if edge is None or contribution is None or (needed is not None and id(edge) not in needed):
                continue
            if changed:
                node.refuse(changed, contribution)
            part = contribution()
            if anomaly is not None:
                anomaly.check_gradient(node, i, part)
            there = do if edge.device is node.device else operations(edge.device)  # another one if a tensor was moved
            if part.shape != shape:  # the input was broadcast
                part = there.sum_to(part, shape=shape)
            if part.dtype is not dtype and part.dtype != dtype:  # the input was promoted
                part = there.cast(part, dtype=dtype)
            reached[id(edge)] = edge
            add(pending, id(edge), part, there)
        if not keep:
            node.free()
    for key, g in pending.items():
        leaf = reached[key]
        if targets is None or key in targets:
            collect(leaf, g)
    if blocked and targets and len(found) < len(targets):
        raise GraphError(FREED)
    return found


def _complete_before(nodes: list[Node]) -> dict[int, list[Any]]:
    """For each node, by id, the leaves with hooks of the kind "complete" to which it and later ones do not lead."""
    found: dict[int, list[Any]] = {}
    seen: set[int] = set()
    following: Any = None
    for node in reversed(nodes):
        for edge in node.edges or ():
            is_new_leaf = edge is not None and not isinstance(edge, Node) and id(edge) not in seen
            if is_new_leaf and edge._hooks and edge._hooks["complete"]:
                seen.add(id(edge))
                found.setdefault(id(following), []).append(edge)
        following = node
    return found


def _leading_to(nodes: list[Node], targets: set[int]) -> set[int]:
    """The ids of all edges whose gradient is needed for the targets."""
    needed = set(targets)
    for node in reversed(nodes):
        if any(id(edge) in needed for edge in node.edges or ()):
            needed.add(id(node))
    return needed
