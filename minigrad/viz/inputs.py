"""Check and convert what callers pass: arrays, tensors, layers, images, labels and numbers."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from minigrad.checks import brief
from minigrad.data import Dataset
from minigrad.datasets.preparation import needs_preparation, prepare_images
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.nn import Module
from minigrad.viz.formatting import format_count, format_name, shorten

MOST_LETTERS = 28  # of the name of a class in a picture

P = ParamSpec("P")
R = TypeVar("R")


def uses_model_info(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator for functions of a model from a file: what the caller leaves out is what the file says.

    image, images   files, PIL images and bytes become numbers as in the model's training
    input_shape     (C, H, W) of these numbers
    classes         the names of the classes
    normalize       (mean, std), by which bytes become numbers and numbers become colours
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind_partial(*args, **kwargs).arguments
        model = given.get("model")
        for name in ("image", "images"):
            if name in given and _is_raw(given[name], model):
                given[name] = prepare_images(function.__name__, model, given[name])
        for name, value in _defaults(model, given).items():
            if name in signature.parameters and given.get(name) is None:
                given[name] = value
        settings = given.pop("settings", {})  # of **settings
        return function(**given, **settings)  # type: ignore[call-arg]

    return call


def _is_raw(images: Any, model: Any) -> bool:
    """Whether images must be prepared for a model; bytes without a file that says how are taken as numbers."""
    is_array = hasattr(images, "dtype")
    return needs_preparation(images) and not (is_array and "normalize" not in getattr(model, "model_info", {}))


def _defaults(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that follow from a model's file."""
    info, found = getattr(model, "model_info", {}), {}
    if "class_names" in info:
        found["classes"] = info["class_names"]
    if "input_size" in info:
        C, H, W = info["input_size"]
        found["input_shape"] = (C, H + 2 * info.get("pad", 0), W + 2 * info.get("pad", 0))
    if "normalize" in info and isinstance(given.get("data"), Dataset | None):  # other data is normalised already
        found["normalize"] = info["normalize"]
    return found


def as_array(source: Any) -> np.ndarray:
    """Return a tensor on any device, a list or an array as a NumPy array."""
    return np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)


def as_conv_weight(where: str, source: Any) -> np.ndarray:
    """Return the (F, C, KH, KW) weight of a convolution layer, or the array itself; every element is finite."""
    weight = as_array(getattr(source, "weight", source))
    if weight.dtype.kind not in "fiu":
        kind = type(source).__name__
        raise DtypeError(f"{where}: {kind} has no numeric weight; pass a Conv2d layer or a (F, C, KH, KW) array")
    if weight.ndim != 4 or weight.size == 0:
        raise ShapeError(
            f"{where}: weight has shape {weight.shape}, not (F, C, KH, KW) with 4 sizes of 1 or more; "
            "pass a Conv2d layer or its weight"
        )
    check_finite(where, "weights", weight, "lower the learning rate")
    return weight


def as_class_numbers(where: str, name: str, source: Any) -> np.ndarray:
    """Return class numbers as an (N,) int64 array."""
    numbers = as_array(source)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ShapeError(
            f"{where}: {name} has shape {numbers.shape}, not (N,) with N > 0; take argmax(1) of the scores"
        )
    if numbers.dtype.kind not in "iu":
        raise DtypeError(f"{where}: {name} holds {numbers.dtype}, not whole class numbers; convert it with astype(int)")
    return numbers.astype(np.int64)  # labels are often uint8, where label * classes can overflow


def as_image_shape(where: str, input_shape: Any) -> tuple[int, int, int]:
    """Return (C, H, W), the shape of one image."""
    sizes = tuple(input_shape) if isinstance(input_shape, Sequence | np.ndarray) else (input_shape,)
    if len(sizes) != 3 or not all(is_whole(size) and size >= 1 for size in sizes):
        raise ShapeError(
            f"{where}: input_shape is {brief(input_shape)}, not (C, H, W) with 3 whole numbers of 1 or more; "
            "pass channels, height and width of one image, without the number of images"
        )
    return sizes


def as_image_batch(where: str, images: Any) -> np.ndarray:
    """Return images as floating-point numbers (N, C, H, W); one image may be (C, H, W) or (H, W)."""
    if images is None:
        raise ValidationError(f"{where}: images is None; pass (H, W), (C, H, W) or (N, C, H, W)")
    array = as_array(images)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{where}: images is {brief(images)}; pass numbers (H, W), (C, H, W) or (N, C, H, W)")
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ShapeError(
            f"{where}: image has shape {array.shape}; pass (H, W), (C, H, W) or (N, C, H, W) with sizes of 1 or more"
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def as_loss(where: str, loss: Any) -> float:
    """Return a loss, a number or a Tensor of one element, as a float."""
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise ValidationError(f"{where}: loss is {brief(loss)}; pass a number, or a Tensor of one element") from None


def as_single_image(where: str, image: Any) -> np.ndarray:
    """Return one image as (1, C, H, W)."""
    array = as_image_batch(where, image)
    if len(array) != 1:
        raise ShapeError(f"{where}: {len(array)} images in shape {array.shape}, not 1; pass images[i]")
    return array


def as_labelled_images(where: str, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, C, H, W) and their class numbers (N,); images of one channel may be (N, H, W)."""
    if images is None:
        raise ValidationError(f"{where}: images is None; pass (N, C, H, W) or (N, H, W)")
    images = as_array(images)
    if images.ndim not in (3, 4) or images.size == 0:
        raise ShapeError(
            f"{where}: images have shape {images.shape}; pass (N, C, H, W) or (N, H, W) with sizes of 1 or more"
        )
    labels = as_class_numbers(where, "labels", labels)
    if len(images) != len(labels):
        raise ShapeError(f"{where}: {len(images)} images but {len(labels)} labels; pass one label for each image")
    return images if images.ndim == 4 else images[:, None], labels


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer; a bool is not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_index(where: str, name: str, value: Any, count: int, owner: str) -> int:
    """Return `value` as an int, or raise ValidationError unless it is a whole number below `count`."""
    if not is_whole(value) or not 0 <= value < count:
        noun = {"target": ("class", "classes"), "col": ("column",)}.get(name, (name,))
        raise ValidationError(
            f"{where}: {name} is {brief(value)} but {owner} has {format_count(count, *noun)}; use a whole number from "
            f"0 to {count - 1}"
        )
    return int(value)


def check_finite(where: str, what: str, values: np.ndarray, advice: str) -> None:
    """Raise ValidationError if a value is NaN or infinite."""
    wrong = values.size - np.isfinite(values).sum()
    if wrong:
        raise ValidationError(f"{where}: {wrong} of {values.size} {what} are NaN or infinite; {advice}")


def check_module(where: str, model: Any) -> None:
    """Raise ValidationError unless `model` is a Module."""
    if not isinstance(model, Module):
        raise ValidationError(f"{where}: model is a {type(model).__name__}; pass an nn.Module")


def check_scores(where: str, shape: tuple[int, ...], N: int) -> None:
    """Raise ShapeError unless `shape` is (N, classes)."""
    if len(shape) != 2 or shape[0] != N:
        raise ShapeError(
            f"{where}: the model returns shape {shape} for {format_count(N, 'image')}, not (N, classes); "
            "pass a model that scores classes"
        )


def name_classes(where: str, classes: Iterable[Any] | None, K: int) -> list[str]:
    """Return a name for each of K classes, shortened if it is long: "class 0", "class 1", ... if `classes` is None."""
    names = [f"class {k}" for k in range(K)] if classes is None else [format_name(name) for name in classes]
    if len(names) != K:
        raise ValidationError(f"{where}: {len(names)} names in classes but the model scores {K}; name each one")
    return [shorten(name, MOST_LETTERS) for name in names]


def check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    """Raise ValidationError unless every label is a class that the model scores."""
    if labels.min() < 0 or labels.max() >= classes:
        raise ValidationError(
            f"{where}: labels run from {labels.min()} to {labels.max()} but the model scores {classes} classes, "
            f"numbered 0 to {classes - 1}; pass the labels that it was trained with"
        )
