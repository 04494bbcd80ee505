"""Check that a model is what the page can run: the same operations for every image, whose result are scores."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.errors import ValidationError
from minigrad.ops.op import OPS
from minigrad.runtime.memory import is_array
from minigrad.viz.inputs import as_array
from minigrad.viz.page.program import Call, Program, Value, record_program

MOST_COMPARED = 4  # images of the page whose programs are compared
TOLERANCE = 1e-4  # of the sum of probabilities, which is 1


def compare_images(
    where: str, model: Any, images: np.ndarray, display: tuple[np.ndarray, np.ndarray], program: Program
) -> dict[int, np.ndarray]:
    """Refuse a model that does not compute the same for every image; return the scores (K,) of some images, by number.

    images   (N, C, H, W)  the first, images evenly spaced, and the first with black and white exchanged are compared
    display  (mean, std), each (C,): pixels from 0 to 1 are image * std + mean
    program  what the model computes for the first

    Raises   ValidationError   an operation or a number in it changes from call to call, or with the image
    """
    advice = "the page runs one fixed list of operations; use viz.report"
    wrong = find_difference(program, record_program(where, model, images[:1]))
    if wrong:
        raise ValidationError(
            f"{where}: forward computes something else when it is called again with the same image: {wrong}. It draws "
            f"random numbers, or keeps a state; {advice}, or leave that out in eval mode"
        )
    scores = {}
    for name, number, image in _chosen_images(images, *display):
        other = record_program(where, model, image)
        wrong = find_difference(program, other)
        if wrong:
            raise ValidationError(
                f"{where}: forward computes something else for {name} than for image 0: {wrong}. It reads values of "
                f"the image in Python, as if and item() do; {advice}, or choose by mg.where"
            )
        if number is not None:
            scores[number] = other.value(other.result)[0]
    return scores


def _chosen_images(
    images: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> Iterator[tuple[str, int | None, np.ndarray]]:
    """Yield name, number and (1, C, H, W) of the images that are compared with the first."""
    for number in np.unique(np.linspace(0, len(images) - 1, MOST_COMPARED).round().astype(int)).tolist()[1:]:
        yield f"image {number}", number, images[number : number + 1]
    mean, std = mean.reshape(-1, 1, 1), std.reshape(-1, 1, 1)
    exchanged = (1 - 2 * mean) / std - images[:1]
    yield "image 0 with black and white exchanged", None, exchanged.astype(images.dtype)


def find_difference(first: Program, second: Program) -> str:
    """Return the first difference between two programs in words; empty if they do the same."""
    for number, (a, b) in enumerate(zip(first.calls, second.calls, strict=False), 1):
        if a.op != b.op:
            return f"operation {number} is {b.op}, not {a.op}"
        if len(a.inputs) != len(b.inputs) or not all(map(_is_same_input, a.inputs, b.inputs)):
            return f"{_name(number, b)} reads other numbers"
        if not _is_same(a.settings, b.settings):
            return f"{_name(number, b)} has other settings"
        if a.output.shape != b.output.shape:
            return f"{_name(number, b)} makes shape {b.output.shape}, not {a.output.shape}"
    if len(first.calls) != len(second.calls):
        return f"it runs {len(second.calls)} operations, not {len(first.calls)}"
    return "" if first.result == second.result else f"it returns value {second.result}, not {first.result}"


def _name(number: int, call: Call) -> str:
    return f"operation {number}, {call.op}" + (f" of {call.layer}," if call.layer != call.op else ",")


def _is_same_input(a: Any, b: Any) -> bool:
    return a is b or _is_same(a, b)


def _is_same(a: Any, b: Any) -> bool:
    """Return whether two inputs or settings are equal, arrays by their numbers."""
    if isinstance(a, Value) or isinstance(b, Value):
        return type(a) is type(b) and a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_is_same(a[name], b[name]) for name in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if is_array(a) or is_array(b) or isinstance(a, float | np.generic):
        a, b = np.asarray(as_array(a)), np.asarray(as_array(b))
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")
    return bool(a == b)


def check_result(where: str, model: Any, program: Program) -> None:
    """Refuse an output that is no score of each class, nor softmax's probability of each.

    Raises   ValidationError   one class, or probabilities that softmax over the classes did not make
    """
    scores, kind = program.value(program.result)[0], type(model).__name__
    if len(scores) < 2:
        raise ValidationError(
            f"{where}: {kind} scores one class; the page compares the scores of two or more; return a score for each "
            "of the two answers, as 0 and this one, or use viz.report"
        )
    last = _last_operation(program)
    if last == "sigmoid":
        raise ValidationError(
            f"{where}: {kind} returns the output of sigmoid, a probability of each class alone; the page shows "
            f"probabilities that add up to 1; return the scores before it"
        )
    total = float(scores.sum(dtype=np.float64))
    adds_up = bool((scores >= 0).all() and abs(total - 1) <= TOLERANCE)
    if last == "softmax" and np.isfinite(total) and not adds_up:
        raise ValidationError(
            f"{where}: {kind} returns probabilities that add up to {total:.4g}, not 1; take softmax over the classes, "
            "dim=1"
        )
    if adds_up and program.calls[program.result - 1].op != "softmax":
        raise ValidationError(
            f"{where}: {kind} returns numbers that add up to 1, made by {last}, as if they were probabilities; return "
            "the scores before, or let softmax be the last operation"
        )


def _last_operation(program: Program) -> str:
    """Return the name of the last operation that does not only move elements."""
    number = program.result
    while number and (OPS[program.calls[number - 1].op].moves or OPS[program.calls[number - 1].op].view):
        number = next(x.number for x in program.calls[number - 1].inputs if isinstance(x, Value))
    return program.calls[number - 1].op if number else "nothing"
