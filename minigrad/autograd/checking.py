"""gradcheck: gradients compared with differences of values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..creation import tensor
from ..errors import GraphError, ValidationError
from ..tensors import Tensor
from .functional import jacobian
from .gradients import grad

__all__ = ["gradcheck", "gradgradcheck"]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, **others: Any,
) -> bool:  # fmt: skip
    """Whether the gradients of a function are those that small changes of its inputs show.

    func              takes the inputs, returns a tensor or a tuple of tensors
    inputs            a tensor or a tuple of any values; those that require grad are checked, and should be float64
    eps               the change of an element, up and down
    atol, rtol        of the comparison |gradient - difference| <= atol + rtol * |difference|
    raise_exception   False: return False in place of the error of a wrong gradient
    others            PyTorch's other settings, without effect

    Raises   GraphError   a gradient differs; the message names the input, the place and both numbers
    Example
    >>> import minigrad as mg
    >>> mg.testing.gradcheck(mg.exp, mg.tensor([0.5, 1.0], dtype=mg.float64, requires_grad=True))
    True
    """
    given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    checked = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValidationError("gradcheck: no input requires grad; give float64 tensors with requires_grad=True")

    def results(*moved: Any) -> tuple[Tensor, ...]:
        arguments = dict(enumerate(given)) | dict(zip(checked, moved, strict=True))
        return tuple(_float_results(func(*arguments.values())))

    points = tuple(given[i].detach().clone() for i in checked)
    matrices = jacobian(results, points)
    for j, i in enumerate(checked):
        for o, expected in enumerate(_differences(results, points, j, eps)):
            actual = matrices[o][j].cpu().numpy().reshape(expected.shape)
            wrong = ~np.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
            if wrong.any() and raise_exception:
                at = tuple(np.argwhere(wrong)[0].tolist())
                raise GraphError(
                    f"gradcheck: the gradient of output {o} by element {at[-1]} of input {i} is {actual[at]:.6g} at "
                    f"{at[:-1]}, but differences give {expected[at]:.6g}; {wrong.sum()} of {wrong.size} numbers differ"
                )
            if wrong.any():
                return False
    return True


def _float_results(out: Any) -> list[Tensor]:
    parts = out if isinstance(out, tuple | list) else [out]
    return [part for part in parts if isinstance(part, Tensor) and part.dtype.kind == "f"]


def _differences(func: Callable[..., Any], points: Any, position: int, eps: float) -> list[np.ndarray]:
    """Of each result the central differences (*shape of the result, elements of one of the points)."""
    x = points[position]

    def values(i: int, step: float) -> list[np.ndarray]:
        moved = x.cpu().numpy().copy()
        moved.flat[i] += step
        others = [point.detach().requires_grad_() for point in points]  # func may call grad
        others[position] = tensor(moved, x.dtype, x.device, requires_grad=True)
        return [part.detach().cpu().numpy().astype(np.float64) for part in func(*others)]

    columns = [zip(values(i, eps), values(i, -eps), strict=True) for i in range(x.numel())]
    differences = [[(above - below) / (2 * eps) for above, below in column] for column in columns]
    return [np.stack(parts, axis=-1) for parts in zip(*differences, strict=True)]


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **settings: Any) -> bool:
    """Whether the second derivatives of a function are right: gradcheck of its gradients.

    grad_outputs   weights of the results, drawn from a fixed seed if None; they count as inputs after those of func
    """
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    weights = grad_outputs if isinstance(grad_outputs, tuple | list) else [grad_outputs]
    if grad_outputs is None:
        random = np.random.default_rng(0)
        outs = [out for out in _float_results(func(*given)) if out.requires_grad]
        weights = [tensor(random.normal(size=out.shape), out.dtype, out.device, requires_grad=True) for out in outs]

    def gradients(*values: Any) -> tuple[Any, ...]:
        arguments, seeds = values[: len(given)], values[len(given) :]
        outs = [out for out in _float_results(func(*arguments)) if out.requires_grad]
        leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
        return grad(outs, leaves, seeds, create_graph=True, allow_unused=True)

    return gradcheck(gradients, (*given, *weights), **settings)
