"""Find out which filters of a model are dead, duplicated or useless, and which classic filters they resemble."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad.checks import whole_number
from minigrad.data import DataLoader, Subset
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Conv2d, Module
from minigrad.notebook import Html, picture, preformatted, stack, table
from minigrad.ops import conv2d
from minigrad.runtime.threads import IDLE, Observer, local
from minigrad.tape import no_grad
from minigrad.tensors import Tensor, tensor
from minigrad.viz import probe, style
from minigrad.viz.classic_filters import ANGLES, best_pattern, chance_score, least_score, match_classic_filters
from minigrad.viz.filter_grid import draw_cell, label_slots, set_slots, strongest_indices
from minigrad.viz.formatting import format_count, format_number, format_table
from minigrad.viz.inputs import as_array, as_class_numbers, as_conv_weight, check_scores, uses_model_info
from minigrad.viz.tracing import Layer, evaluating, is_convolution, select_convolutions, trace, tracing_device

HEAD = ("layer", "filter", "norm", "worth", "resembles", "score", "cosine", "remark")
TEXT_COLUMNS = {0, 4, 7}  # the others hold numbers
NAMED = "named: similarity above 0.71 (half of the squared weights) and above what 1 % of random filters reach"
MIX = "a filter of several channels: the pattern on a mix of them, in which each channel has a factor of its own\n"
CHOICE = "of each layer first those that are dead or duplicates, then those with the largest weights"
MOST_ROWS = 16  # filters of a layer in the picture
ROW = 0.5  # inches


class FilterHealth(NamedTuple):
    """What filter_health found out about one filter.

    layer       path of its layer
    filter      its number in the layer
    dead        whether its activation is zero at every pixel of every image
    twin        number of the most similar filter of the layer, if it is a near-duplicate; None otherwise
    similarity  cosine to the most similar filter of the layer, -1 to 1; NaN if there is none, or if it is zero
    norm        root of the sum of its squared weights
    worth       accuracy of the model minus its accuracy with the filter's output set to zero, -1 to 1
    classic     name of the most similar classic filter; "none" if the window is smaller than 3 x 3, if the score is one
                that 1 % of random filters reach, or if the pattern has less than half of the sum of squared weights
    score       similarity to the classic filter, 0 to 1; NaN if the window is smaller than 3 x 3
    """

    layer: str
    filter: int
    dead: bool
    twin: int | None
    similarity: float
    norm: float
    worth: float
    classic: str
    score: float

    @property
    def remark(self) -> str:
        """What is wrong with the filter; empty if nothing is."""
        twin = "" if self.twin is None else f"like filter {self.twin}"
        return ", ".join(filter(None, ("dead" if self.dead else "", twin)))


class HealthReport:
    """The result of filter_health: rows to read, a table to print and a picture.

    rows      a FilterHealth for each filter, layer by layer
    accuracy  of the whole model on the images, 0 to 1
    images    number of images
    chance    layer -> score that 1 % of 2,000 filters of the same shape with normal random weights reach
    least     layer -> score above which a filter is said to resemble a classic one: the chance score, and at least
              0.71, where the pattern has half of the filter's sum of squared weights
    figure    matplotlib Figure
    """

    def __init__(self, rows: list[FilterHealth], accuracy: float, images: int, weights: dict[str, np.ndarray]):
        self.rows, self.accuracy, self.images, self._weights = rows, accuracy, images, weights
        self.chance = {layer: chance_score(weight.shape[1:]) for layer, weight in weights.items()}
        self.least = {layer: least_score(weight.shape[1:]) for layer, weight in weights.items()}

    def __str__(self) -> str:
        lines = format_table([HEAD, *map(_format_row, self.rows)], TEXT_COLUMNS)
        return "\n".join([self._heading(), "", *lines, "", self._legend()])

    def __repr__(self) -> str:
        return f"HealthReport({format_count(len(self.rows), 'filter')} of {', '.join(self._weights)})"

    def _repr_html_(self) -> Html:
        """What a notebook shows: the picture and the table."""
        cells = table([HEAD, *map(_format_row, self.rows)], TEXT_COLUMNS)
        return stack(picture(self.figure), cells, preformatted(self._legend()))

    def _heading(self) -> str:
        dead, duplicates = sum(row.dead for row in self.rows), sum(row.twin is not None for row in self.rows)
        return (
            f"{format_count(len(self.rows), 'filter')}: {dead} dead, {duplicates} with a near-duplicate; "
            f"accuracy {100 * self.accuracy:.2f} % on {format_count(self.images, 'image')}"
        )

    def _legend(self) -> str:
        chance = ", ".join(f"{score:.2f} ({layer})" for layer, score in self.chance.items())
        return (
            "worth: percentage points of accuracy lost without the filter\n"
            f"score: similarity to the classic filter, 0 to 1; 1 % of random filters reach {chance}\n"
            f"resembles: {NAMED}\n"
            "cosine: to the most similar filter of the layer, -1 to 1"
        )

    @cached_property
    def figure(self) -> Figure:
        """The filters beside the classic filters they resemble, their score and their worth; at most 16 of a layer."""
        shown = {layer: self._select_rows(layer) for layer in self._weights}
        heights = [len(rows) for rows in shown.values()]
        figure = style.figure(10.5, ROW * sum(heights) + 1.0 * len(heights) + 0.8, self._heading())
        panels = figure.subplots(len(shown), 3, width_ratios=[2.6, 3, 3], height_ratios=heights, squeeze=False)
        for line, (layer, rows) in zip(panels, shown.items(), strict=True):
            _draw_layer(line, rows, self._weights[layer], self.least[layer])
        mix = MIX * any(weight.shape[1] > 1 for weight in self._weights.values())
        n, of = sum(heights), len(self.rows)
        omitted = f"shown: {n} of {of} filters, {CHOICE}\n" if n < of else ""
        figure.supxlabel(f"{omitted}{NAMED}\n{mix}{ANGLES}", fontsize=style.SMALL)
        return figure

    def _select_rows(self, layer: str) -> list[FilterHealth]:
        """Return at most 16 rows of a layer: those with a remark first, then those of the largest norm."""
        rows = [row for row in self.rows if row.layer == layer]
        selected = sorted(rows, key=lambda row: (not row.remark, -row.norm))[:MOST_ROWS]
        return sorted(selected, key=lambda row: row.filter)


@uses_model_info
def filter_health(
    model: Any,
    data: Any,
    *,
    layers: str | Sequence[str] | None = None,
    max_images: int = 1000,
    batch_size: int = 250,
    normalize: tuple[Any, Any] | None = None,
    similar: float = 0.95,
) -> HealthReport:
    """Examine every filter: is it dead or duplicated, how much accuracy depends on it, which classic filter is it like?

    model       a Module from images (N, C, H, W) to scores (N, classes); it does not change
    data        (images, labels), arrays or tensors (N, C, H, W) and (N,); or a Dataset of such pairs; or a DataLoader,
                of which the first batches are used
    layers      path of a convolution, or a list of paths; all if None
    max_images  number of images to use, evenly spaced in the data
    batch_size  images in a batch
    normalize   (mean, std) for images of a Dataset, as in DataLoader
    similar     cosine from which two filters are near-duplicates, above 0 and at most 1
    returns     HealthReport

    A filter is dead if its activation is zero for all images.  Its worth is the accuracy that is lost when its output
    is zero; to measure it, the part of the model from its layer on runs again on all images.  Its score is the largest
    cosine to a classic filter of any odd size from 3 x 3, at any position of the window; each input channel may contain
    the pattern with its own factor.  Angles are those of rising brightness, or of a line, anticlockwise from the right.

    Raises   ValidationError   no convolution, no such layer, no images, or a setting out of its range
             ShapeError        another number of labels than of images, or scores that are not (N, classes)
             DtypeError        labels are not whole numbers
    Source   ablation: Morcos et al. 2018, "On the importance of single directions for generalization"; steered edges
             and lines: Freeman & Adelson 1991; Gabor filters: Daugman 1985
    Example
    >>> from minigrad import datasets, models
    >>> digits = datasets.MNIST(train=False)
    >>> report = filter_health(models.LeNet5(), digits, layers="conv1", max_images=20)
    >>> len(report.rows), report.rows[0].layer, report.images
    (6, 'conv1', 20)
    """
    if not 0 < similar <= 1:
        raise ValidationError(f"filter_health: similar is {similar}; use a cosine above 0 and at most 1")
    whole_number("filter_health", "max_images", max_images, 1)
    whole_number("filter_health", "batch_size", batch_size, 1)
    modules = select_convolutions("filter_health", model, layers)
    weights = {path: as_conv_weight("filter_health", module) for path, module in modules.items()}
    counts = _Counts(modules)
    for images, labels in _load_batches(data, max_images, batch_size, normalize):
        counts.add_batch(model, images, labels)
    rows = [row for path, weight in weights.items() for row in _make_rows(path, weight, counts, similar)]
    return HealthReport(rows, counts.right / counts.images, counts.images, {p: w.copy() for p, w in weights.items()})


def _make_rows(layer: str, weight: np.ndarray, counts: "_Counts", similar: float) -> Iterator[FilterHealth]:
    norms = np.linalg.norm(weight.reshape(len(weight), -1).astype(np.float64), axis=1)
    names, scores = match_classic_filters(weight)
    least = least_score(weight.shape[1:])
    names = [name if score > least else "none" for name, score in zip(names, scores, strict=True)]
    for f, (other, cosine) in enumerate(_find_most_similar(weight)):
        worth = (counts.right - counts.right_without[layer][f]) / counts.images
        twin = other if cosine >= similar else None
        dead = not bool(counts.alive[layer][f])
        yield FilterHealth(layer, f, dead, twin, cosine, float(norms[f]), float(worth), names[f], float(scores[f]))


def _find_most_similar(weight: np.ndarray) -> list[tuple[int, float]]:
    """Return, for each filter, the number of the other filter with the largest cosine, and the cosine or NaN."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.full(flat.shape, np.nan), where=norms > 0)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, np.nan)
    nearest = np.where(np.isnan(cosines), -np.inf, cosines).argmax(axis=1)
    return [(int(g), float(np.clip(cosines[f, g], -1, 1))) for f, g in enumerate(nearest)]


# ---- data


def _load_batches(data: Any, max_images: int, batch_size: int, normalize: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield batches of images and class numbers, at most max_images in all."""
    left = max_images
    for images, labels in _make_loader(data, max_images, batch_size, normalize):
        labels = as_class_numbers("filter_health", "labels", labels)[:left]
        yield images[:left], labels
        left -= len(labels)
        if left <= 0:
            return


def _make_loader(data: Any, max_images: int, batch_size: int, normalize: Any) -> Any:
    """Return an iterable of batches (images, labels)."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    if normalize is not None and (is_pair or isinstance(data, DataLoader)):
        raise ValidationError(
            f"filter_health: normalize is {normalize} but the images of a {type(data).__name__} are not normalised; "
            "leave it out, or pass a Dataset"
        )
    if isinstance(data, DataLoader):
        return data
    if is_pair:
        images, labels = data
        return _split_arrays(images, labels, max_images, batch_size)
    n = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else -1
    if n < 1:
        what = "the dataset has 0 images" if n == 0 else f"data is a {type(data).__name__}"
        raise ValidationError(f"filter_health: {what}; pass (images, labels), a Dataset or a DataLoader with 1 or more")
    return DataLoader(Subset(data, _spaced_indices(n, max_images)), batch_size, normalize=normalize)


def _split_arrays(images: Any, labels: Any, max_images: int, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    images, labels = as_array(images), as_array(labels)
    if not images.size:
        raise ValidationError(f"filter_health: images have shape {images.shape}, 0 numbers; pass 1 image or more")
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ShapeError(
            f"filter_health: images have shape {images.shape} and labels {labels.shape}, not (N, C, H, W) and (N,); "
            "pass one label for each image"
        )
    indices = _spaced_indices(len(images), max_images)
    return [(images[i], labels[i]) for i in np.split(indices, range(batch_size, len(indices), batch_size))]


def _spaced_indices(n: int, most: int) -> np.ndarray:
    """Return at most `most` indices below n, evenly spaced because data sets are often sorted by class."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)


# ---- runs of the model


class _Counts:
    """Counts over all batches.

    images         number of images
    right          right answers of the whole model
    right_without  path -> (F,), right answers without each filter
    alive          path -> (F,), whether the activation of each filter was nonzero somewhere
    """

    def __init__(self, modules: dict[str, Conv2d]):
        self.modules, self.images, self.right = modules, 0, 0
        self.right_without = {path: np.zeros(len(module.weight), np.int64) for path, module in modules.items()}
        self.alive = {path: np.zeros(len(module.weight), bool) for path, module in modules.items()}

    def add_batch(self, model: Module, images: Any, labels: np.ndarray) -> None:
        """Add the counts of one batch."""
        images = probe.prepare_images("filter_health", model, images)
        layers, x = trace("filter_health", model, images), tensor(images, device=tracing_device(model))
        self.images += len(labels)
        with evaluating(model), no_grad():
            self.right += _count_right(model(x), labels)
            for path, module in self.modules.items():
                self.alive[path] |= _find_alive(layers, module)
                self.right_without[path] += _count_right_without(model, module, x, labels)


def _count_right(scores: Tensor, labels: np.ndarray) -> int:
    """Return the number of images whose label has the largest score."""
    check_scores("filter_health", scores.shape, len(labels))
    return int((as_array(scores).argmax(axis=1) == labels).sum())


def _find_alive(layers: list[Layer], module: Conv2d) -> np.ndarray:
    """Return (F,), whether the activation of each filter of a module is nonzero somewhere."""
    alive = np.zeros(len(module.weight), bool)
    for i, layer in enumerate(layers):
        if layer.module is module and is_convolution(layer):
            alive |= (np.asarray(_activation_after(layers[i:])) != 0).any(axis=(0, 2, 3))
    return alive


def _activation_after(layers: list[Layer]) -> np.ndarray:
    """Return the result of the activation that follows the first layer, or its output if no activation follows.

    Between them may lie pooling and elementwise operations, as long as they read no other map.
    """
    read = {id(layers[0].output)}
    for step in (step for layer in layers[1:] for step in layer.steps):
        if not any(id(array) in read for array in step.inputs):
            continue
        if step.op.activation is not None:
            return step.output
        keeps_channels = step.op.elementwise or (step.op.sliding_window and step.op is not conv2d)
        if not keeps_channels or any(id(step.inputs[i]) not in read for i in step.sources):
            break
        read.add(id(step.output))
    return layers[0].output


class _AblationObserver(Observer):
    """Run a model repeatedly on the same images, and compute the operations up to the output of one layer only once.

    Operations are identified by their order: up to that output, it does not depend on the filters that are removed.
    """

    def __init__(self, module: Conv2d):
        self._results: list[Any] = []  # of the operations up to the layer's output
        self._next, self._complete = 0, False
        self._module = module
        self._mask: Any = None

    def scores(self, model: Module, images: Tensor, mask: Tensor) -> Tensor:
        """Return what the model returns when the layer's output is multiplied by a mask (F, 1, 1)."""
        self._next, self._mask = 0, mask
        before, local.observer = local.observer, self
        try:
            with self._module.register_forward_hook(self._apply_mask):
                return model(images)
        finally:
            local.observer = before

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Return the stored result of an operation, or run it."""
        index, self._next = self._next, self._next + 1
        if index < len(self._results):
            return self._results[index]
        local.observer = IDLE  # kernels run unobserved
        try:
            result = operation.forward(device, *arrays, **settings)
        finally:
            local.observer = self
        if not self._complete:
            self._results.append(result)
        return result

    def _apply_mask(self, module: Module, args: Any, out: Tensor) -> Tensor:
        self._complete = True
        return out * self._mask


def _count_right_without(model: Module, module: Conv2d, images: Tensor, labels: np.ndarray) -> list[int]:
    """Return, for each filter of a module, the number of right answers when its output is zero."""
    observer, F = _AblationObserver(module), len(module.weight)
    masks = (tensor(row.reshape(F, 1, 1), device=images.device) for row in 1 - np.eye(F, dtype=images.dtype))
    return [_count_right(observer.scores(model, images, mask), labels) for mask in masks]


# ---- the table and the picture


def _format_row(row: FilterHealth) -> tuple[str, ...]:
    """Return the cells of a row of the table."""
    cosine = "-" if np.isnan(row.similarity) else f"{row.similarity:+.2f}"
    score = "-" if np.isnan(row.score) else f"{row.score:.2f}"
    norm, worth = f"{row.norm:.2f}", f"{100 * row.worth:+.2f}"
    return row.layer, str(row.filter), norm, worth, row.classic, score, cosine, row.remark


def _draw_layer(panels: np.ndarray, rows: list[FilterHealth], weight: np.ndarray, least: float) -> None:
    """Draw a row for each filter: the filter and its classic filter, its score, and its worth."""
    sheet, scores, worth = panels
    colours = [style.VERMILION if row.remark else style.BLUE for row in rows]
    _draw_pairs(sheet, rows, weight)
    _draw_bars(scores, [row.score for row in rows], colours, ".2f")
    _label_bars(scores, [row.classic for row in rows], "similarity (0 to 1)", (0, 1.25))
    scores.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    if not np.isnan(least):
        scores.axvline(least, color="black", linestyle="--", linewidth=1)
        scores.set_title("dashed: from here on a filter is named", fontsize=style.SMALL)
    points = [100 * row.worth for row in rows]
    _draw_bars(worth, points, colours, "+.2f")
    _label_bars(worth, [f"filter {row.filter}" for row in rows], "accuracy lost without it (points)", _limits(points))
    for i, row in enumerate(rows):
        worth.text(
            1.02, i + 0.5, row.remark, va="center", fontsize=style.SMALL, color=style.VERMILION,
            transform=worth.get_yaxis_transform(),
        )  # fmt: skip


def _draw_pairs(axes: Axes, rows: list[FilterHealth], weight: np.ndarray) -> None:
    """Draw the strongest channel of each filter, and beside it the classic filter at its best position."""
    norm, pattern_norm = style.zero_centred(weight), style.zero_centred(1.0)
    set_slots(axes, len(rows), 2)
    axes.set_anchor("W")
    for i, row in enumerate(rows):
        w = weight[row.filter]
        draw_cell(axes, i, 0, w[strongest_indices(w, 0, 1)[0]], norm)
        pattern = best_pattern(w)
        if pattern is not None and row.classic != "none":
            draw_cell(axes, i, 1, pattern / np.abs(pattern).max(), pattern_norm)
    label_slots(axes, [f"filter {row.filter}" for row in rows], ["filter", "like"])
    deep = "\nof each filter its strongest channel" if weight.shape[1] > 1 else ""
    axes.set_title(f"{rows[0].layer}: red above 0, blue below{deep}", fontsize=style.LABEL)


def _draw_bars(axes: Axes, values: list[float], colours: list[str], form: str) -> None:
    """Draw a bar for each row, with its number at the end."""
    lengths, positions = np.nan_to_num(np.array(values)), np.arange(len(values)) + 0.5
    bars = axes.barh(positions, lengths, height=0.6, color=colours)
    numbers = ["" if np.isnan(value) else format_number(value, form) for value in values]
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # no line crosses a number
    axes.bar_label(bars, numbers, padding=3, fontsize=style.SMALL, bbox=background)


def _label_bars(axes: Axes, names: list[str], label: str, limits: tuple[float, float]) -> None:
    axes.set(xlim=limits, ylim=(len(names), 0))
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.set_xlabel(label, fontsize=style.SMALL)
    axes.tick_params(labelsize=style.SMALL)
    axes.tick_params(axis="y", length=0)
    style.tidy(axes)


def _limits(points: list[float]) -> tuple[float, float]:
    """Return horizontal limits that leave room for numbers beyond the ends of bars on both sides of zero."""
    low, high = min(0.0, *points), max(0.0, *points)
    margin = 0.6 * max(high - low, 0.1)
    return low - margin * (low < 0), high + margin
