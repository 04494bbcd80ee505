"""Gradients as values."""

from typing import Any

from ..creation import zeros_like
from ..errors import DtypeError, GraphError, ValidationError
from ..tensors import Tensor, differentiate

__all__ = ["Variable", "grad"]


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of the sum of the outputs by each input; no `.grad` changes.

    inputs              tensors, leaves or results; only what leads to them is computed
    grad_outputs        weights of the elements of each output, like it; 1 for None, where it is a single number
    retain_graph        keep the graph for another backward; the value of create_graph if None
    create_graph        record the gradients, so that they can be differentiated again
    only_inputs         without effect, as in PyTorch
    allow_unused        True: the gradient by an input that no output depends on is None, instead of an error
    materialize_grads   True: it is zeros
    returns             a tuple with a tensor, or None, for each input

    Raises   GraphError   nothing was recorded for an output or input, an input is unused, or a graph was freed
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([3.0], requires_grad=True)
    >>> mg.autograd.grad(x * x, x)
    (tensor([6.]),)
    """
    found = differentiate("grad", outputs, grad_outputs, retain_graph, create_graph, inputs)
    for i, (x, part) in enumerate(found):
        if part is None and not (materialize_grads or allow_unused):
            raise GraphError(
                f"grad: no output depends on input {i}, of shape {x.shape}; allow_unused=True gives None for it, "
                "materialize_grads=True zeros"
            )
    return tuple(zeros_like(x) if part is None and materialize_grads else part for x, part in found)


class _AnyTensor(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor)


class Variable(metaclass=_AnyTensor):
    """The old name of a tensor with gradients: Variable(data) is data.detach(), and every tensor is a Variable."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool | None = None) -> Any:
        if not isinstance(data, Tensor):
            raise DtypeError(f"Variable: expected a Tensor, got {type(data).__name__}; use mg.tensor(...)")
        if volatile is not None:
            raise ValidationError("Variable: volatile was removed; use `with mg.no_grad():`")
        return data.detach().requires_grad_(requires_grad)
