"""All that the page knows of a model, as JSON: operations, weights, images, tape, and values to compare with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ShapeError, ValidationError
from minigrad.ops.op import OPS
from minigrad.runtime.device import CPU
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.formatting import format_count
from minigrad.viz.inputs import as_array, as_class_numbers, as_image_batch
from minigrad.viz.page.bundle import known_operations
from minigrad.viz.page.encoding import (
    encode_array,
    encode_frames,
    encode_images,
    encode_losses,
    encode_setting,
    plain_text,
)
from minigrad.viz.page.program import Call, Program, Value, record_program
from minigrad.viz.page.samples import most_images, read_samples
from minigrad.viz.probe import prepare_images

MOST_WEIGHTS = 4_000_000  # numbers; a page of 21 MB
MOST_PRODUCTS = 500_000_000  # multiplications for one image; about a second in a browser
MOST_FRAMES = 32  # of the tape
MOST_TAPE_WEIGHTS = 250_000  # numbers, of all frames together
MOST_STORED = 1_000_000  # numbers, of all layers that the page cannot compute
MOST_CHECKED = 200  # values of one operation that the page compares


class Subject(NamedTuple):
    """What the page shows, checked.

    images     (N, C, H, W) float32, as the model reads them
    labels     (N,) class numbers, or None
    classes    a name for each class
    mean, std  (C,)  pixels from 0 to 1 are image * std + mean
    """

    model: Any
    images: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    mean: np.ndarray
    std: np.ndarray
    program: Program


def make_subject(where: str, model: Any, images: Any, labels: Any, classes: Any, normalize: Any) -> Subject:
    """Check what the caller gave, and record what the model computes.

    Raises   ShapeError        no images, or images, labels, classes or normalize do not fit
             ValidationError   the model is too large, or does not return scores
    """
    images, labels, classes, normalize = read_samples(where, model, images, labels, classes, normalize)
    batch = as_image_batch(where, images)
    batch = batch[: most_images(batch[0].size)]
    batch = prepare_images(where, model, batch)
    program = record_program(where, model, batch[:1])
    check_size(where, model, program)
    count = program.value(program.result).shape[1]
    mean, std = _normalization(where, model, batch, normalize)
    return Subject(
        model, batch, _labels(where, labels, batch, count), _class_names(where, classes, count), mean, std, program
    )


def check_size(where: str, model: Any, program: Program) -> None:
    """Refuse a model that is too large for a browser.

    Raises   ValidationError
    """
    weights = sum(array.size for array in {id(w): w for w in _weights_of(program)}.values())
    if weights > MOST_WEIGHTS:
        raise ValidationError(
            f"{where}: {type(model).__name__} has {weights:,} weights, more than the {MOST_WEIGHTS:,} of a page; "
            "pass a smaller model, or use viz.report"
        )
    products = sum(_count_products(call) for call in program.calls)
    if products > MOST_PRODUCTS:
        raise ValidationError(
            f"{where}: {type(model).__name__} needs {products:,} multiplications for an image, more than the "
            f"{MOST_PRODUCTS:,} of a page; pass smaller images, or use viz.report"
        )


def _weights_of(program: Program) -> list[Any]:
    return [x for call in program.calls for x in call.inputs if not isinstance(x, Value) and hasattr(x, "size")]


def _count_products(call: Call) -> int:
    """Return the number of multiplications of a convolution or dense layer; 0 for others."""
    if call.op not in ("conv2d", "linear") or not hasattr(call.inputs[1], "shape"):
        return 0
    return int(call.output.size * np.prod(call.inputs[1].shape[1:]))


def _normalization(where: str, model: Any, images: np.ndarray, normalize: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std of each channel; if unknown, those that map the values of the images to 0 to 1."""
    normalize = normalize or getattr(model, "model_info", {}).get("normalize")
    if normalize is None:
        low, high = float(np.nanmin(images)), float(np.nanmax(images))
        normalize = (0.0, 1.0) if low >= 0 and high <= 1 else (-low / ((high - low) or 1), 1 / ((high - low) or 1))
    C = images.shape[1]
    try:
        mean, std = (np.broadcast_to(np.asarray(part, np.float64).ravel(), C) for part in normalize)
    except ValueError:
        raise ShapeError(
            f"{where}: normalize is {normalize!r} but the images have {format_count(C, 'channel')}; pass (mean, std), "
            "each one number or one for each channel"
        ) from None
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValidationError(f"{where}: normalize is {normalize!r}; use finite means and standard deviations above 0")
    return mean, std


def _labels(where: str, labels: Any, images: np.ndarray, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    found = as_class_numbers(where, "labels", labels)
    if len(found) < len(images):
        raise ShapeError(f"{where}: {len(images)} images but {len(found)} labels; pass one label for each image")
    found = found[: len(images)]
    if found.min() < 0 or found.max() >= count:
        raise ValidationError(
            f"{where}: labels run from {found.min()} to {found.max()} but the model scores {count} classes; pass the "
            "labels that it was trained with"
        )
    return found


def _class_names(where: str, classes: Any, count: int) -> list[str]:
    names = [str(i) for i in range(count)] if classes is None else [plain_text(name) for name in classes]
    if len(names) != count:
        raise ShapeError(f"{where}: {len(names)} class names but the model scores {count} classes; name every class")
    return names


# ---- the data


def make_payload(subject: Subject, tape: FilterTape | None, title: str) -> dict[str, Any]:
    """Return the data of a page."""
    weights: dict[str, Any] = {}
    steps = _encode_steps(subject.program, weights)
    _store_unknown(subject, steps)
    return {
        "title": plain_text(title),
        "model": plain_text(type(subject.model).__name__),
        "shape": list(subject.images.shape[1:]),
        "classes": subject.classes,
        "mean": subject.mean.tolist(),
        "std": subject.std.tolist(),
        "steps": steps,
        "layers": _encode_layers(subject.program),
        "result": subject.program.result,
        "weights": {name: encode_array(as_array(array)) for name, array in weights.items()},
        "images": encode_images(subject.images),
        "labels": None if subject.labels is None else subject.labels.tolist(),
        "tape": None if tape is None else _encode_tape(tape),
        "check": _encode_check(subject.program),
        "notes": _find_notes(subject, weights, steps),
    }


def _encode_steps(program: Program, weights: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the operations; put the arrays that they read into `weights`, by name."""
    return [_encode_call(program, call, weights) for call in program.calls]


def _encode_call(program: Program, call: Call, weights: dict[str, Any]) -> dict[str, Any]:
    step = {"op": call.op, "layer": plain_text(call.layer), "kind": call.kind, "shape": list(call.output.shape)}
    if call.op not in known_operations():
        return {**step, "unknown": True}
    settings, extra = dict(call.settings), []
    if call.op == "axis_sums":
        extra = [_axis_matrix(program.value(call.inputs[0].number), settings)]
    try:
        encoded = encode_setting(settings)
        inputs = [_encode_input(program, x, weights) for x in (*call.inputs, *extra)]
    except TypeError:
        return {**step, "unknown": True}
    return {**step, "inputs": inputs, "settings": encoded}


def _axis_matrix(x: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Return the matrix (out, in) by which axis_sums multiplies along an axis; its terms leave the settings."""
    identity = np.eye(x.shape[settings["axis"]], dtype=np.float32)
    terms = {name: settings.pop(name) for name in ("terms", "transposed")}
    return np.array(OPS["axis_sums"].forward(CPU, identity, axis=0, **terms))


def _encode_input(program: Program, x: Any, weights: dict[str, Any]) -> Any:
    if isinstance(x, Value):
        return {"value": x.number}
    if not hasattr(x, "shape") or x.shape == ():
        return encode_setting(x.item() if hasattr(x, "item") else x)
    name = next((name for name, known in weights.items() if known is x), None)
    if name is None:
        name = program.names.get(id(x), f"constant {len(weights)}")
        weights[name] = x
    return {"weight": name}


def _encode_layers(program: Program) -> list[dict[str, Any]]:
    """Return the layers: what the calls of one module, or one function, make together."""
    layers: list[dict[str, Any]] = []
    for number, call in enumerate(program.calls):
        fields = None if call.fields is None else [list(field) for field in call.fields]
        layer = {"name": plain_text(call.layer), "kind": call.kind, "value": number + 1, "fields": fields}
        if OPS[call.op].moves:
            continue
        if layers and layers[-1]["name"] == layer["name"]:
            layer["first"] = layers.pop()["first"]
        layers.append({"first": number, **layer})
    return layers


def _store_unknown(subject: Subject, steps: Sequence[dict[str, Any]]) -> None:
    """Give every step that the page cannot compute the outputs of Python for the first images."""
    unknown = [number for number, step in enumerate(steps) if step.get("unknown")]
    if not unknown:
        return
    each = sum(subject.program.calls[number].output.size for number in unknown)
    count = min(len(subject.images), MOST_STORED // each)
    runs = [record_program("page", subject.model, subject.images[i : i + 1]).calls for i in range(count)]
    for number in unknown:
        outputs = [as_array(run[number].output) for run in runs]
        steps[number]["stored"] = encode_array(np.concatenate(outputs)) if outputs else None


def _encode_tape(tape: FilterTape) -> dict[str, Any]:
    """Return evenly spaced frames of a tape, the first and the last among them."""
    weights, gradients = tape.weights, tape.gradients
    each = sum(frames[0].size for frames in weights.values())
    count = max(2, min(len(tape), MOST_FRAMES, MOST_TAPE_WEIGHTS // each))
    frames = np.unique(np.linspace(0, len(tape) - 1, count).round().astype(int))
    return {
        "steps": tape.steps[frames].tolist(),
        "losses": encode_losses(tape.losses[frames]),
        "frames": len(tape),
        "weights": {plain_text(name): encode_array(array[frames]) for name, array in weights.items()},
        "gradients": {plain_text(name): encode_frames(array[frames]) for name, array in gradients.items()},
    }


def _encode_check(program: Program) -> list[dict[str, Any]]:
    """Return some values of every operation for the first image, evenly spaced, and the largest of all."""
    checks = []
    for call in program.calls:
        values = np.asarray(call.output, np.float64).ravel()
        stride = -(-values.size // MOST_CHECKED)
        finite = np.abs(values[np.isfinite(values)])
        checks.append({"stride": stride, "largest": float(finite.max(initial=0)), **encode_array(values[::stride])})
    return checks


def _find_notes(subject: Subject, weights: dict[str, Any], steps: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the reader must know before trusting the pictures."""
    notes = []
    wrong = {name: array.size - int(np.isfinite(as_array(array)).sum()) for name, array in weights.items()}
    names = [name for name, n in wrong.items() if n]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        total = format_count(sum(weights[name].size for name in names), "number", form=",")
        notes.append(
            f"{plain_text(names[0])}{more}: {sum(wrong.values()):,} of {total} are NaN or infinite. The training "
            "diverged; lower the learning rate and train again."
        )
    for step in steps:
        if step.get("unknown"):
            notes.append(
                f"{step['layer']} ({step['op']}) is an operation that this page cannot compute. For the images in the "
                "page, it shows what Python computed; for a drawing, this layer and those after it stay empty."
            )
    return notes
