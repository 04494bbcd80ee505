"""What a notebook shows of data sets and loaders."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..notebook import Html, batch_of_images, escape, image_axes, pixel_image, stack, table
from ..tensors import Tensor

MOST_CLASSES = 20  # whose images are shown
MOST_PICTURES, MOST_OF_A_CLASS = 40, 8


def show_classes(
    heading: str, labels: Any, classes: Sequence[Any] | None, pixels_of: Callable[[int], np.ndarray | None]
) -> Html:
    """Return a table of classes: the name, the number of samples, the first images.

    heading     text above the table
    labels      (N,)   whole numbers
    classes     names of the labels 0, 1, ...; None: the numbers
    pixels_of   function of the number of a sample that returns its image, (H, W) or (C, H, W) uint8, or None
    """
    labels, names = np.asarray(labels, np.int64), dict(enumerate(() if classes is None else classes))
    found, counts = np.unique(labels, return_counts=True)
    number_of = dict(zip(found.tolist(), counts.tolist(), strict=True))
    numbers = sorted(names.keys() | number_of.keys())
    shown = numbers[:MOST_CLASSES]
    most = min(MOST_OF_A_CLASS, max(1, MOST_PICTURES // max(1, len(shown))))
    lines: list[Sequence[Any]] = [("class", "images", "the first of them")]
    for number in shown:
        images = [_thumbnail(pixels_of, sample) for sample in np.flatnonzero(labels == number)[:most].tolist()]
        lines.append((names.get(number, number), f"{number_of.get(number, 0):,}", Html(" ".join(images))))
    left = len(numbers) - len(shown)
    return stack(heading, table(lines, text_columns={0, 2}), f"and {left:,} more classes" if left else "")


def _thumbnail(pixels_of: Callable[[int], np.ndarray | None], sample: int) -> Html:
    """Return an image, or why there is none."""
    try:
        pixels = pixels_of(sample)
    except Exception as error:  # a damaged file, or an error of the caller's loader
        return escape(f"sample {sample}: {error}")
    if pixels is None:
        return Html("")
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    return pixel_image(pixels, 40, f"sample {sample}") if len(pixels) in (1, 3) else Html("")


def show_loader(loader: Any, batches: int | None, order: str, preview: Callable[[], Any] | None) -> Html:
    """Return what a DataLoader reads, and the first images with their labels.

    batches   number of batches in an epoch; None: unknown
    order     of the samples, in words
    preview   makes a batch of the first samples; None: they can be read only once
    """
    size = _batch_size(loader)
    many = "an unknown number" if batches is None else f"{batches:,}"
    kind = "one sample, without an axis of samples" if size is None else f"{size} samples"
    facts = [("data set", _describe_data(loader.dataset)), ("batches", f"{many} of {kind}"), ("order", order)]
    if preview is None:
        return table(facts, {0, 1}, head=False)
    try:
        with _same_random_numbers():
            batch = preview()
    except Exception as error:  # of the caller's data set, transforms or collate_fn
        return table([*facts, ("batch", f"cannot be made: {error}")], {0, 1}, head=False)
    facts.append(("a batch", ", ".join(_describe_part(part, size) for part in _parts(batch))))
    return stack(table(facts, {0, 1}, head=False), _show_images(_parts(batch), _class_names(loader.dataset)))


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Inside, numbers that samples draw from Python and NumPy change none that the program draws later."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _batch_size(loader: Any) -> int | str | None:
    """Return the number of samples in the first batch; "N" if a batch_sampler chooses it; None without such an axis."""
    if loader.batch_sampler is not None:
        return "N"
    is_small = loader.batch_size is not None and hasattr(loader.dataset, "__len__")
    return min(loader.batch_size, len(loader.dataset)) if is_small else loader.batch_size


def _describe_data(dataset: Any) -> str:
    name = type(dataset).__name__
    inner = getattr(dataset, "dataset", None)
    name += "" if inner is None else f" of {type(inner).__name__}"
    return f"{name}, {len(dataset):,} samples" if hasattr(dataset, "__len__") else name


def _parts(batch: Any) -> list[Any]:
    return (
        list(batch.values()) if isinstance(batch, dict) else list(batch) if isinstance(batch, tuple | list) else [batch]
    )


def _describe_part(part: Any, size: int | str | None) -> str:
    """Return the dtype and the shape of a part of a batch; the preview may have fewer samples than a batch."""
    if not isinstance(part, Tensor):
        return type(part).__name__
    shape = tuple(part.shape) if size is None or part.ndim == 0 else (size, *part.shape[1:])
    return f"{part.dtype} {shape}".replace("'", "") + ("" if part.device == "cpu" else f" on {part.device}")


def _show_images(parts: list[Any], classes: Sequence[Any] | None) -> Html:
    """Return the images of a batch, with the class numbers that follow them as captions."""
    if not parts or not isinstance(parts[0], Tensor) or parts[0].ndim < 3 or image_axes(parts[0].shape) is None:
        return Html("")
    images = parts[0].detach().cpu().numpy().reshape(image_axes(parts[0].shape))
    return batch_of_images(images, _captions(parts[1:], len(images), classes))


def _captions(parts: list[Any], N: int, classes: Sequence[Any] | None) -> list[str]:
    """Return the name of the class, or the target itself, of each of N images; [] if there is not one for each."""
    found = parts[0] if parts else []
    found = found.tolist() if isinstance(found, Tensor) else found
    targets = found if isinstance(found, list) else [found]
    if len(targets) != N or isinstance(targets[0], list):
        return []
    return [_caption(target, classes) for target in targets]


def _caption(target: Any, classes: Sequence[Any] | None) -> str:
    if classes is not None and type(target) is int and 0 <= target < len(classes):
        return str(classes[target])
    return f"{target:.4g}" if isinstance(target, float) else str(target)


def _class_names(dataset: Any) -> Sequence[Any] | None:
    """Return the names of the classes of a data set, or of the one that it is a part of."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return getattr(dataset, "classes", None)
