"""Gradients and parameters of whole models: clipping, and one vector of all parameters."""

import math
from collections.abc import Iterable
from typing import Any

from ..checks import number_in_range
from ..creation import cat, stack
from ..errors import ShapeError, ValidationError
from ..tape import no_grad
from ..tensors import Tensor, tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "vector_to_parameters"]
__dir__ = __all__.copy


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in tensors if p.grad is not None]


@no_grad()
def get_total_norm(
    tensors: Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """Return the norm of all elements of some tensors together.

    norm_type           above 0; math.inf for the largest size
    error_if_nonfinite  whether a norm that is infinite or nan is an error
    foreach             without effect
    """
    number_in_range("get_total_norm", "norm_type", norm_type, 0)
    norms = [x.norm(norm_type).cpu() for x in tensors if x.numel()]
    total = stack(norms).norm(norm_type) if norms else tensor(0.0)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise ValidationError(
            f"get_total_norm: the norm of {len(norms)} tensors is {total.item()}; look for nan and infinite gradients, "
            "or use error_if_nonfinite=False"
        )
    return total


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: Any = None,
) -> Tensor:  # fmt: skip
    """Shrink all gradients by one factor, in place, so that their norm together is at most max_norm.

    parameters   tensors; those without a gradient are left out
    max_norm     0 or more; the other settings are those of get_total_norm
    returns      the norm before
    Source   R. Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, algorithm 1
    Example
    >>> import minigrad as mg
    >>> w = mg.zeros(2, requires_grad=True)
    >>> w.grad = mg.tensor([3.0, 4.0])
    >>> clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6, 0.8])
    """
    number_in_range("clip_grad_norm_", "max_norm", max_norm, 0)
    gradients = _gradients(parameters)
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    factor = (max_norm / (total + 1e-6)).clip(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device, gradient.dtype))
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: Any = None) -> None:
    """Limit every element of all gradients to -clip_value..clip_value, in place."""
    number_in_range("clip_grad_value_", "clip_value", clip_value, 0)
    for gradient in _gradients(parameters):
        gradient.copy_(gradient.clip(-clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the elements of all parameters as one vector."""
    return cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a vector, as of parameters_to_vector, to parameters."""
    params = list(parameters)
    sizes = [p.numel() for p in params]
    if vec.shape != (sum(sizes),):
        raise ShapeError(
            f"vector_to_parameters: vec is {vec.shape}, the parameters have {sum(sizes)} elements; use ({sum(sizes)},)"
        )
    for p, part in zip(params, vec.split(sizes), strict=True):
        p.copy_(part.reshape(p.shape))


clip_grad_norm = clip_grad_norm_  # its older name
