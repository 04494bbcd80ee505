"""Checks of arguments that several functions share."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from ... import ops
from ...checks import brief
from ...errors import DtypeError, ShapeError, ValidationError
from ...ops.op import Op
from ...ops.promotion import expect_float
from ...tensors import Tensor, apply

P = ParamSpec("P")
R = TypeVar("R")
Size = int | Sequence[int]  # of a window, a step or a margin: one number for all sides, or one for each


def in_place_or_new(inplace: bool, operation: Op, x: Tensor, *others: Tensor, **settings: float) -> Tensor:
    """operation(x, *others), in the memory of x if `inplace`."""
    if inplace:
        expect_tensors(operation.name, x)
        return x._change(operation, *others, **settings)
    return apply(operation, x, *others, **settings)


def composed(where: str, inplace: bool, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function(x), written to x if `inplace`; x keeps its old value for the gradient."""
    expect_tensors(where, x)
    expect_float(where, x)
    return x.copy_(function(x.clone())) if inplace else function(x)


def expect_tensors(where: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise DtypeError(f"{where}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")


def as_tuple(setting):
    """A setting given as a list, as a tuple."""
    return tuple(setting) if isinstance(setting, list) else setting


REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, where: str, known: tuple[str, ...] = REDUCTIONS) -> None:
    if reduction not in known:
        *first, last = map(repr, known)
        raise ValidationError(f"{where}: reduction is {brief(reduction)}; use {', '.join(first)} or {last}")


def new_style(
    where: str, first: int, args: tuple[Any, ...], size_average: bool | None, reduce: bool | None
) -> tuple[tuple[Any, ...], dict[str, str]]:
    """The arguments of a loss by position, and the reduction by name if PyTorch's older arguments give it.

    first   the place at which PyTorch takes a reduction, or size_average
    """
    if len(args) > first and not isinstance(args[first], str):
        if len(args) > first + 1 or not isinstance(args[first], bool | None):
            raise TypeError(f"{where}: too many arguments by position; give reduction= and those around it by name")
        args, size_average = args[:first], args[first]
    if size_average is None and reduce is None:
        return args, {}
    return args, {"reduction": "none" if reduce is False else "sum" if size_average is False else "mean"}


def count_tensors(parameters: Sequence[str]) -> int:
    """The number of a loss's parameters before the reduction and those that PyTorch has at changing places."""
    return min(i for i, name in enumerate(parameters) if name in ("reduction", "ignore_index"))


def take_old_reduction(loss: Callable[P, R]) -> Callable[..., R]:
    """The function, which takes size_average and reduce, too, if it takes a reduction."""
    names = list(signature(loss).parameters)
    if "reduction" not in names:
        return loss
    first = count_tensors(names)

    @wraps(loss)
    def run(*args, size_average=None, reduce=None, **named):
        args, reduction = new_style(loss.__name__, first, args, size_average, reduce)
        return loss(*args, **named, **reduction)

    return run


def sum_along(x: Tensor, axis: int, rule: str, *settings: Any) -> Tensor:
    """Return sums of weighted elements along an axis, by a rule of ops/axis_sums.py."""
    return apply(ops.axis_sums, x, axis=axis, terms=(rule, x.shape[axis], *settings), transposed=False)


def as_images(where: str, x: Tensor, sides: int = 2) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return x as images (N, C, H, W), and a function that gives a result the axes of x.

    x       (N, C, H, W) or (C, H, W); for one side (N, C, L) or (C, L), which becomes images of height 1
    sides   1 or 2
    """
    expect_tensors(where, x)
    if not sides + 1 <= x.ndim <= sides + 2:
        last = "H, W" if sides == 2 else "L"
        raise ShapeError(
            f"{where}: x has {x.ndim} dimensions {x.shape}, expected {sides + 2} (N, C, {last}) or {sides + 1} "
            f"(C, {last}); reshape it first"
        )
    alone = x.ndim == sides + 1
    images = x.unsqueeze(0) if alone else x
    images = images.unsqueeze(2) if sides == 1 else images

    def restore(out: Tensor) -> Tensor:
        out = out.squeeze(2) if sides == 1 else out
        return out.squeeze(0) if alone else out

    return images, restore


def without_height(shape: tuple[int, ...], sides: int) -> tuple[int, ...]:
    """Return the shape of images, or of the lines that they stand for; see as_images."""
    return shape if sides == 2 else shape[:2] + shape[3:]


def chosen_size(
    where: str, wanted: Sequence[int], ndim: int, least: Sequence[int], most: Sequence[int]
) -> tuple[int, ...]:
    """Return output_size as a number for each side, from `least` to `most`; it may be a shape of `ndim` sizes."""
    size = tuple(wanted)[-len(least) :] if len(wanted) == ndim else tuple(wanted)
    if len(size) != len(least) or any(not a <= n <= b for a, n, b in zip(least, size, most, strict=True)):
        raise ShapeError(f"{where}: output_size is {tuple(wanted)}; use sizes from {tuple(least)} to {tuple(most)}")
    return size


def for_lines_and_images(function: Callable[Concatenate[int, P], R]) -> tuple[Callable[P, R], Callable[P, R]]:
    """Return the functions of lines and of images that a function of the number of sides, 1 or 2, stands for."""

    def public(sides: int) -> Callable[P, R]:
        @wraps(function)
        def run(*args: P.args, **settings: P.kwargs) -> R:
            return function(sides, *args, **settings)

        run.__name__ = run.__qualname__ = f"{function.__name__}{sides}d"
        vars(run)["__signature__"] = signature(partial(function, sides))
        return run

    lines, images = public(1), public(2)
    lines.__doc__ = f"{images.__name__} for lines (N, C, L) or (C, L); windows and weights have one side."
    return lines, images
