"""Checkpoints: less memory for a second forward pass.

A checkpointed call is one node.  The nodes inside it are forgotten after the forward pass.  The backward pass calls the
function again, and walks back through the new nodes to the tensors that came from outside.
"""

from collections.abc import Callable
from typing import Any

from ..autograd.function import CallNode
from ..checks import whole_number
from ..compiler import run_plainly
from ..errors import GraphError
from ..random import get_rng_state, set_rng_state
from ..runtime.threads import call_on_host
from ..tape import Node, enable_grad, is_grad_enabled, newest_node, reachable
from ..tensors import Tensor, _make, walk

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: Any = None, preserve_rng_state: Any = True,
    determinism_check: Any = "default", **kwargs: Any,
) -> Any:  # fmt: skip
    """Return function(*args, **kwargs), and keep nothing inside it for backward, which calls the function again.

    use_reentrant, preserve_rng_state, determinism_check
                without effect: the gradients are the same, the second call draws the same random numbers, as masks of
                dropout, and that both calls run the same operations is checked

    Raises   GraphError   (in backward) the second call runs other operations, or a value that it needs was changed
    Example
    >>> import minigrad as mg
    >>> from minigrad.utils.checkpoint import checkpoint
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: x.exp().log(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    state: list[Tensor] = []
    call_on_host(_save, state)
    result, start, made, inside = _run(function, args, kwargs)
    if not made:
        return result
    inputs = {
        id(edge): (edge, node.shapes[i], node.dtypes[i])
        for node in inside
        for i, edge in enumerate(node.edges)
        if edge is not None and not (isinstance(edge, Node) and edge.number > start)
    }
    edges, shapes, dtypes = map(list, zip(*inputs.values(), strict=True))
    outside = [x._storage for x in (*args, *kwargs.values(), *edges) if isinstance(x, Tensor)]
    kept = {storage for node in inside for _, storage, _ in node.versions} - {x._storage for x in made}
    versions, outline = [(storage, storage.version) for storage in {*outside, *kept}], _outline(made, inside)

    def backward(call: CallNode, gradients: dict[int, Any]) -> list[Tensor | None]:
        changed = sum(storage.version != version for storage, version in versions)
        if changed:
            raise GraphError(
                f"checkpoint: {changed} of the values that the function needs were changed in place after the call; "
                "change a copy instead, or after backward"
            )
        now: list[Tensor] = []
        call_on_host(_save, now)
        call_on_host(_load, state)
        with enable_grad():
            _, start, made, inside = _run(function, args, kwargs)
        call_on_host(_load, now)
        if _outline(made, inside) != outline:
            raise GraphError(
                f"checkpoint: the second call recorded {len(inside)} operations, the first {len(outline) - 1}, or of "
                "another kind or shape; the function must do the same at each call"
            )
        seeds, recorded = [(made[i].node, g) for i, g in gradients.items()], is_grad_enabled()
        found = {id(edge): part for edge, part in walk(seeds, False, recorded, set(), after=start)}
        parts = [(edge, found.get(id(edge))) for edge in call.edges]
        return [part if part is None or recorded else _make(part, edge.device, None) for edge, part in parts]

    call = CallNode("checkpoint", edges, shapes, dtypes, backward)
    given = {id(x): call.give(i, _make(x.array, x.device, None, x._storage)) for i, x in enumerate(made)}
    return given[id(result)] if isinstance(result, Tensor) else type(result)(given.get(id(x), x) for x in result)


def _run(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, int, list[Tensor], list[Node]]:
    """What the function returns, a number below those of its nodes, the results that it recorded, and its nodes."""
    start, result = newest_node(), run_plainly(function, *args, **kwargs)
    parts = result if type(result) in (list, tuple) else [result]
    made = [x for x in parts if isinstance(x, Tensor) and x.node is not None and x.node.number > start]
    return result, start, made, reachable(*[x.node for x in made], after=start)


def _outline(made: list[Tensor], inside: list[Node]) -> list[Any]:
    return [len(made), *[(node.op.name, node.shapes) for node in inside]]


def _save(state: list[Tensor]) -> None:
    state[:] = [get_rng_state()]


def _load(state: list[Tensor]) -> None:
    set_rng_state(state[0])


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: Any = None, preserve_rng_state: Any = True
) -> Any:
    """Return the result of layers called one after the other, with a checkpoint around each segment but the last.

    functions   an nn.Sequential, or a list of layers or functions
    segments    1 to the number of functions
    """
    layers = list(functions)
    whole_number("checkpoint_sequential", "segments", segments, 1, len(layers))
    size = len(layers) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(_run_layers, layers[start : start + size], input)
    return _run_layers(layers[size * (segments - 1) :], input)


def _run_layers(layers: list[Any], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x
