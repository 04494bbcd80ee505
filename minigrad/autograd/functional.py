"""Derivatives of functions: Jacobian and Hessian matrices, and their products with vectors.

Each takes a function of tensors that returns a tensor or a tuple of them, and `inputs`, a tensor or a tuple.  Results
have the same form.  `create_graph` records the results, so that they can be differentiated again.  `strict` refuses a
function that does not depend on an input, in place of zeros.  A vector `v` has the shapes of what it multiplies; None
stands for 1, where that is a single number.  Another shape, and a Hessian matrix of several elements, is a ShapeError.
"""

from collections.abc import Callable
from typing import Any

from ..creation import ones_like, stack, zeros_like
from ..errors import GraphError, ShapeError
from ..tape import enable_grad
from ..tensors import as_list
from .gradients import grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function = Callable[..., Any]


class _Call:
    """A call of func with copies of the inputs, `given`, which returned `out`, or `outs` as a list."""

    def __init__(self, where: str, func: Function, inputs: Any, create_graph: bool, strict: bool, number: bool = False):
        self.where, self.create_graph, self.strict = where, create_graph, strict
        tensors = as_list(where, "inputs", inputs)
        with enable_grad():
            copied = [create_graph and x.requires_grad for x in tensors]
            self.given = [x.clone() if y else x.detach().requires_grad_() for x, y in zip(tensors, copied, strict=True)]
            self.out = func(*self.given)
        self.outs = as_list(where, "the result of func", self.out)
        if number and [out.numel() for out in self.outs] != [1]:
            shapes = [out.shape for out in self.outs]
            raise ShapeError(f"{where}: func returns {shapes}, expected a tensor of one element; reduce it with .sum()")

    def gradients(self, outs: list[Any], by: list[Any], weights: Any, create_graph: bool) -> list[Any]:
        """The gradients of the sum of the outputs; zeros by what they do not depend on."""
        used = [i for i, out in enumerate(outs) if out.requires_grad]
        found: tuple[Any, ...] = (None,) * len(by)
        if used:
            weights = [weights[i] for i in used] if weights else None
            found = grad([outs[i] for i in used], by, weights, True, create_graph, allow_unused=True)
        if self.strict and (len(used) < len(outs) or any(part is None for part in found)):
            raise GraphError(f"{self.where}: the result does not depend on every input; strict=False gives zeros")
        return [zeros_like(x) if part is None else part for x, part in zip(by, found, strict=True)]

    def vector(self, v: Any, like: list[Any]) -> list[Any]:
        """The vector v: a tensor for each of `like`."""
        if v is None and [x.numel() for x in like] == [1]:
            return [ones_like(like[0])]
        found = [] if v is None else as_list(self.where, "v", v)
        shapes, expected = [x.shape for x in found], [x.shape for x in like]
        if shapes != expected:
            raise ShapeError(f"{self.where}: v has the shapes {shapes}, expected {expected}")
        return found

    def result(self, like: Any, parts: list[Any]) -> Any:
        """The parts as a tuple if `like` is one, else the only part; outside the graph unless it shall be recorded."""
        parts = parts if self.create_graph else [part.detach() for part in parts]
        return tuple(parts) if isinstance(like, tuple | list) else parts[0]


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Return func(*inputs), and the product of v with its Jacobian matrix, like the inputs: one backward pass.

    Example
    >>> import minigrad as mg
    >>> vjp(mg.exp, mg.tensor([0.0, 1.0]), mg.tensor([1.0, 0.0]))
    (tensor([1.    , 2.7183]), tensor([1., 0.]))
    """
    call = _Call("vjp", func, inputs, create_graph, strict)
    found = call.gradients(call.outs, call.given, call.vector(v, call.outs), create_graph)
    return call.result(call.out, call.outs), call.result(inputs, found)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Return func(*inputs), and the product of its Jacobian matrix with v: the derivative in direction v.

    It takes two backward passes, because u -> uJ is linear in u, and its own vjp is Jv.
    """
    call = _Call("jvp", func, inputs, create_graph, strict)
    direction = call.vector(v, call.given)
    dummies = [zeros_like(out).requires_grad_() for out in call.outs]
    products = call.gradients(call.outs, call.given, dummies, True)
    found = call.gradients(products, dummies, direction, create_graph)
    return call.result(call.out, call.outs), call.result(call.out, found)


def jacobian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: Any = None,
    strategy: Any = None,
) -> Any:  # fmt: skip
    """Return the derivative of each element of func(*inputs) by each element of the inputs: a backward pass for each.

    vectorize, strategy   without effect, as in hessian
    returns               (*shape of the result, *shape of the input); [i][j] is that of result i by input j for tuples

    Example
    >>> import minigrad as mg
    >>> jacobian(lambda x: x * x, mg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    call = _Call("jacobian", func, inputs, create_graph, strict)
    blocks = []
    for out in call.outs:
        with enable_grad():
            elements = list(out.reshape(-1))
        rows = [call.gradients([element], call.given, None, create_graph) for element in elements]
        columns = zip(*rows, strict=True) if rows else [[x.detach().reshape(-1)[:0]] for x in call.given]
        pairs = zip(columns, call.given, strict=True)
        blocks.append(call.result(inputs, [stack(list(column)).reshape(*out.shape, *x.shape) for column, x in pairs]))
    return tuple(blocks) if isinstance(call.out, tuple | list) else blocks[0]


def hessian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: Any = None,
    outer_jacobian_strategy: Any = None,
) -> Any:  # fmt: skip
    """Return the second derivatives of func(*inputs), a single number: (*shape of the input, *shape of the input)."""

    def gradients(*given: Any) -> Any:
        call = _Call("hessian", func, given, True, strict, number=True)
        return call.result(inputs, call.gradients(call.outs, call.given, None, True))

    return jacobian(gradients, inputs, create_graph, strict)


def vhp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Return func(*inputs), a single number, and the product of v with its Hessian matrix, like the inputs."""
    call = _Call("vhp", func, inputs, create_graph, strict, number=True)
    direction = call.vector(v, call.given)
    found = call.gradients(call.gradients(call.outs, call.given, None, True), call.given, direction, create_graph)
    return call.result(call.out, call.outs), call.result(inputs, found)


hvp = vhp  # the Hessian matrix is symmetric
