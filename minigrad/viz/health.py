"""Which filters of a model work, which are dead, doubled or useless, and which classic filters they resemble."""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad.data import DataLoader, Subset
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn import Conv2d, Module
from minigrad.runtime.threads import IDLE, Observer, local
from minigrad.tape import no_grad
from minigrad.tensors import Tensor, tensor
from minigrad.viz import probe, style
from minigrad.viz.arrays import as_array, class_numbers, conv_weight
from minigrad.viz.filters import draw_cell, strongest
from minigrad.viz.trace import Layer, chosen_convolutions, device_of, in_use, is_convolution, trace
from minigrad.viz.words import counted, table

ACTIVATIONS = {"relu", "leaky_relu", "sigmoid", "tanh"}
PASSING = {
    "max_pool2d",
    "avg_pool2d",
    "dropout_mask",
    "mul",
    "clone",
}  # what may lie between a filter and its activation
RANDOM_FILTERS = 200  # whose likeness to classic filters is what chance gives
MOST_ROWS = 16  # filters of a layer in the picture
ROW = 0.5  # inches
ANGLES = "angles: 0° right, 90° up; where brightness rises (Sobel, Gabor, corner), or along a line; − is the opposite"


class FilterHealth(NamedTuple):
    """What was found out about one filter.

    layer       path of its layer
    filter      its number there
    dead        whether it is zero after its activation, at every pixel of every image
    twin        the most similar filter of the layer, where that is similar enough; None else
    similarity  cosine with the most similar filter of the layer, -1 to 1; NaN where it is the only one, or is zero
    norm        root of the sum of its squared weights
    worth       accuracy of the model, minus its accuracy with the filter's output set to zero, -1 to 1
    classic     name of the classic filter that it resembles most; "none" where its window is smaller than 3 x 3
    score       likeness to that, 0 to 1; NaN where there is none
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
        """What is wrong with it, empty if nothing is."""
        twin = "" if self.twin is None else f"like filter {self.twin}"
        return ", ".join(filter(None, ("dead" if self.dead else "", twin)))


class HealthReport:
    """What filter_health found: rows to read, a table to print, a picture to look at.

    rows      a FilterHealth for each filter, layer by layer
    accuracy  of the whole model on the images, 0 to 1
    images    count of images it was measured on
    chance    layer -> likeness to a classic filter that half of all random filters reach
    figure    matplotlib Figure
    """

    def __init__(self, rows: list[FilterHealth], accuracy: float, images: int, weights: dict[str, np.ndarray]):
        self.rows, self.accuracy, self.images, self._weights = rows, accuracy, images, weights
        self.chance = {layer: _chance(weight.shape[1:]) for layer, weight in weights.items()}

    def __str__(self) -> str:
        head = ("layer", "filter", "norm", "worth", "resembles", "score", "cosine", "remark")
        lines = table([head, *map(_written, self.rows)], words={0, 4, 7})
        return "\n".join([self._heading(), "", *lines, "", self._legend()])

    def __repr__(self) -> str:
        return f"HealthReport({counted(len(self.rows), 'filter')} of {', '.join(self._weights)})"

    def _heading(self) -> str:
        dead, doubled = sum(row.dead for row in self.rows), sum(row.twin is not None for row in self.rows)
        return (
            f"{counted(len(self.rows), 'filter')}: {dead} dead, {doubled} with a near-duplicate; "
            f"accuracy {100 * self.accuracy:.2f} % on {counted(self.images, 'image')}"
        )

    def _legend(self) -> str:
        chance = ", ".join(f"{score:.2f} ({layer})" for layer, score in self.chance.items())
        return (
            "worth: percentage points of accuracy lost without the filter\n"
            f"score: likeness from 0 to 1 to the classic filter; half of all random filters reach {chance}\n"
            "cosine: with the most similar filter of the layer, -1 to 1"
        )

    @cached_property
    def figure(self) -> Figure:
        """The filters beside what they resemble, their score and their worth; at most 16 of a layer."""
        shown = {layer: self._shown(layer) for layer in self._weights}
        heights = [len(rows) for rows in shown.values()]
        figure = style.figure(10.5, ROW * sum(heights) + 1.0 * len(heights) + 0.8, self._heading())
        panels = figure.subplots(len(shown), 3, width_ratios=[2.6, 3, 3], height_ratios=heights, squeeze=False)
        for line, (layer, rows) in zip(panels, shown.items(), strict=True):
            _draw_layer(line, rows, self._weights[layer], self.chance[layer])
        left_out = "" if sum(heights) == len(self.rows) else f"shown: {sum(heights)} of {len(self.rows)} filters\n"
        figure.supxlabel(left_out + ANGLES, fontsize=style.SMALL)
        return figure

    def _shown(self, layer: str) -> list[FilterHealth]:
        """Of a large layer, the strongest filters and those with a remark first."""
        rows = [row for row in self.rows if row.layer == layer]
        order = sorted(rows, key=lambda row: (not row.remark, -row.norm))[:MOST_ROWS]
        return sorted(order, key=lambda row: row.filter)


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
    """Examine every filter of a model: is it dead or doubled, what is it worth, which classic filter is it like?

    model       a Module from images (N, C, H, W) to scores (N, K) of K classes; nothing about it is changed
    data        (images, labels), arrays or tensors (N, C, H, W), as the model takes them, and (N,); or a Dataset of
                such pairs; or a DataLoader, which gives its first batches
    layers      path of a convolution, or a list of paths; None examines all
    max_images  count of images to measure on, taken evenly from all there are
    batch_size  images in a batch
    normalize   (mean, std) for images of a Dataset, as in DataLoader
    similar     cosine of two filters from which on they are near-duplicates, above 0 and at most 1
    returns     HealthReport

    A filter is dead if it is zero after its activation on all images: nothing of it reaches the rest of the model.  It
    is worth the accuracy that is lost when its output is zero.  For each filter the model runs again on all
    images, from the filter's layer on: what lies before is computed once.  Likeness is the largest cosine between a
    filter and a classic one, of every odd size from 3 x 3 on and at any place of the window; of several input channels,
    each may have the pattern at its own strength.  An angle is where brightness rises, or along a line, anticlockwise
    from the right.

    Raises   ValidationError   no convolution, no such layer, no images, or a setting out of its range
             ShapeError        another number of labels than of images, or scores that are not (N, K)
             DtypeError        labels that are not whole numbers
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
        raise ValidationError(f"filter_health: similar is {similar}, not above 0 and at most 1; try 0.95")
    for name, value in (("max_images", max_images), ("batch_size", batch_size)):
        if value < 1:
            raise ValidationError(f"filter_health: {name} is {value}, not 1 or more; try 250")
    chosen = chosen_convolutions("filter_health", model, layers)
    weights = {path: conv_weight("filter_health", module) for path, module in chosen.items()}
    count = _Count(chosen)
    for images, labels in _batches(data, max_images, batch_size, normalize):
        count.batch(model, images, labels)
    rows = [row for path, weight in weights.items() for row in _rows(path, weight, count, similar)]
    return HealthReport(rows, count.right / count.images, count.images, {p: w.copy() for p, w in weights.items()})


def _rows(layer: str, weight: np.ndarray, count: "_Count", similar: float) -> Iterator[FilterHealth]:
    """What is known about each filter of a layer."""
    norms = np.linalg.norm(weight.reshape(len(weight), -1).astype(np.float64), axis=1)
    names, scores = _likeness(weight)
    for f, (other, cosine) in enumerate(_nearest(weight)):
        worth = (count.right - count.without[layer][f]) / count.images
        twin = other if cosine >= similar else None
        dead = not bool(count.alive[layer][f])
        yield FilterHealth(layer, f, dead, twin, cosine, float(norms[f]), float(worth), names[f], float(scores[f]))


def _nearest(weight: np.ndarray) -> list[tuple[int, float]]:
    """For each filter, the other one of the largest cosine, and that cosine; NaN where there is none."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.full(flat.shape, np.nan), where=norms > 0)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, np.nan)
    found = np.where(np.isnan(cosines), -np.inf, cosines)
    nearest = found.argmax(axis=1)
    return [(int(g), float(np.clip(cosines[f, g], -1, 1))) for f, g in enumerate(nearest)]


# ---- the images


def _batches(data: Any, most: int, size: int, normalize: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Batches of at most so many images in all, each with its labels as numbers."""
    left = most
    for images, labels in _loaded(data, most, size, normalize):
        labels = class_numbers("filter_health", "labels", labels)[:left]
        yield images[:left], labels
        left -= len(labels)
        if left <= 0:
            return


def _loaded(data: Any, most: int, size: int, normalize: Any) -> Any:
    """What gives batches of (images, labels)."""
    paired = isinstance(data, tuple | list) and len(data) == 2
    if normalize is not None and (paired or isinstance(data, DataLoader)):
        raise ValidationError(
            f"filter_health: normalize is {normalize} for a {type(data).__name__}, whose images are taken as they are; "
            "leave it out, or give a Dataset"
        )
    if isinstance(data, DataLoader):
        return data
    if paired:
        images, labels = data
        return _cut(images, labels, most, size)
    n = len(data) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else -1
    if n < 1:
        what = "the dataset has 0 images" if n == 0 else f"data is a {type(data).__name__}"
        raise ValidationError(f"filter_health: {what}; give (images, labels), a Dataset or a DataLoader with 1 or more")
    return DataLoader(Subset(data, _spread(n, most)), size, normalize=normalize)


def _cut(images: Any, labels: Any, most: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels in batches."""
    images, labels = as_array(images), as_array(labels)
    if not images.size:
        raise ValidationError(f"filter_health: images have shape {images.shape}, 0 numbers; give 1 image or more")
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ShapeError(
            f"filter_health: images have shape {images.shape} and labels {labels.shape}, not (N, C, H, W) and (N,); "
            "give one label for each image"
        )
    chosen = _spread(len(images), most)
    return [(images[part], labels[part]) for part in np.split(chosen, range(size, len(chosen), size))]


def _spread(n: int, most: int) -> np.ndarray:
    """At most so many of the numbers below n, evenly spread, because data sets are often sorted by class."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)


# ---- runs of the model


class _Count:
    """How many answers are right, with all filters and without each, and which filters ever differ from zero."""

    def __init__(self, chosen: dict[str, Conv2d]):
        self.chosen, self.images, self.right = chosen, 0, 0
        self.without = {path: np.zeros(len(module.weight), np.int64) for path, module in chosen.items()}
        self.alive = {path: np.zeros(len(module.weight), bool) for path, module in chosen.items()}

    def batch(self, model: Module, images: Any, labels: np.ndarray) -> None:
        """Add the counts of one batch."""
        images = probe.fitting("filter_health", model, images)
        traced, x = trace("filter_health", model, images), tensor(images, device=device_of(model))
        self.images += len(labels)
        with in_use(model), no_grad():
            self.right += _hits(model(x), labels)
            for path, module in self.chosen.items():
                self.alive[path] |= _alive(traced, module, len(self.alive[path]))
                self.without[path] += _ablated(model, module, x, labels)


def _hits(scores: Tensor, labels: np.ndarray) -> int:
    """How many of the largest scores are those of the labels."""
    if scores.ndim != 2 or len(scores) != len(labels):
        raise ShapeError(
            f"filter_health: the model gives scores {scores.shape} for {len(labels)} images, not (N, classes); "
            "pass a classifier"
        )
    return int((as_array(scores).argmax(axis=1) == labels).sum())


def _alive(traced: list[Layer], module: Conv2d, F: int) -> np.ndarray:
    """(F,), which filters of a layer are anywhere nonzero after their activation."""
    alive = np.zeros(F, bool)
    for place, layer in enumerate(traced):
        if layer.module is module and is_convolution(layer):
            alive |= (np.asarray(_activated(traced[place:])) != 0).any(axis=(0, 2, 3))
    return alive


def _activated(traced: list[Layer]) -> np.ndarray:
    """The output of the first layer, after the activation that follows it, if one does."""
    first = array = traced[0].output
    for step in (step for layer in traced[1:] for step in layer.steps):
        if any(step_input is array for step_input in step.inputs):
            array = step.output
            if step.operation in ACTIVATIONS:
                return array
            if step.operation not in PASSING:
                return first
    return first


class _Shortcut(Observer):
    """Runs a model again and again on the same images; what comes before a layer's output is computed once.

    Operations are known by their order, which does not depend on what a filter gives as long as they lie before it.
    """

    def __init__(self, module: Conv2d):
        self._known: list[Any] = []  # results of the operations up to the layer's output
        self._next, self._complete = 0, False
        self._module = module
        self._keep: Any = None

    def scores(self, model: Module, images: Tensor, keep: Tensor) -> Tensor:
        """What the model answers when the layer's output is multiplied by keep (F, 1, 1)."""
        self._next, self._keep = 0, keep
        before, local.observer = local.observer, self
        try:
            with self._module.register_forward_hook(self._ablate):
                return model(images)
        finally:
            local.observer = before

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Give the known result of an operation, or run it."""
        place, self._next = self._next, self._next + 1
        if place < len(self._known):
            return self._known[place]
        local.observer = IDLE  # so that kernels run
        try:
            result = operation.forward(device, *arrays, **settings)
        finally:
            local.observer = self
        if not self._complete:
            self._known.append(result)
        return result

    def _ablate(self, module: Module, args: Any, out: Tensor) -> Tensor:
        self._complete = True
        return out * self._keep


def _ablated(model: Module, module: Conv2d, images: Tensor, labels: np.ndarray) -> list[int]:
    """For each filter of a layer, how many answers are right without it."""
    shortcut, F = _Shortcut(module), len(module.weight)
    keep = 1 - np.eye(F, dtype=images.dtype)
    masks = (tensor(row.reshape(F, 1, 1), device=images.device) for row in keep)
    return [_hits(shortcut.scores(model, images, mask), labels) for mask in masks]


# ---- classic filters


def _likeness(weight: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The name of the classic filter that each filter resembles most, and how much, 0 to 1."""
    names, bank = _bank(weight.shape[2], weight.shape[3])
    if not names:
        return ["none"] * len(weight), np.full(len(weight), np.nan)
    found = [_best(w.reshape(len(w), -1).astype(np.float64), bank) for w in weight]
    return [names[place] if score > 0 else "none" for place, score in found], np.array([score for _, score in found])


def _best(w: np.ndarray, bank: np.ndarray) -> tuple[int, float]:
    """The row of a bank (B, K) that explains most of a filter (C, K), and the cosine between them.

    Of a pattern and its opposite, it is the one that the strongest channel has.
    """
    parts = w @ bank.T  # (C, B)
    scores = np.linalg.norm(parts, axis=0) * (parts[strongest(w, 0, 1)[0]] >= 0)
    place = int(scores.argmax())
    norm = np.linalg.norm(w)
    return place, float(min(1.0, scores[place] / norm)) if norm > 0 else 0.0


@cache
def _chance(shape: tuple[int, int, int]) -> float:
    """The score that half of all filters (C, KH, KW) of random weights reach."""
    random = np.random.default_rng(0).normal(size=(RANDOM_FILTERS, *shape))
    return float(np.median(_likeness(random)[1]))


@cache
def _bank(KH: int, KW: int) -> tuple[list[str], np.ndarray]:
    """Classic filters of every size that fits a window, at every place in it: names, and unit vectors (B, KH*KW)."""
    names, rows = [], []
    for size in range(3, min(KH, KW) + 1, 2):
        for name, pattern in _patterns(size):
            for top, left in np.ndindex(KH - size + 1, KW - size + 1):
                window = np.zeros((KH, KW))
                window[top : top + size, left : left + size] = pattern
                names.append(name)
                rows.append(window.ravel() / np.linalg.norm(window))
    return names, np.array(rows)


def _patterns(size: int) -> list[tuple[str, np.ndarray]]:
    """Classic filters (size, size) with their names; opposites have the same name with a minus."""
    x, y = np.meshgrid(*[np.arange(size) - size // 2] * 2)  # to the right, downwards
    smooth = _binomial(size)
    signed = [("blur", np.outer(smooth, smooth)), *_laplacians(size, smooth)]
    signed += [(f"line {angle}°", _line(x, y, angle)) for angle in range(0, 180, 45)]
    signed += [(f"corner {angle}°", _corner(x, y, angle)) for angle in range(45, 360, 90)]
    if size >= 5:
        signed += [pair for angle in range(0, 180, 30) for pair in _gabors(x, y, angle, size)]
    return _sobels(size, smooth) + signed + [(f"−{name}", -pattern) for name, pattern in signed]


def _sobels(size: int, smooth: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Edges that are bright towards an angle; 3 x 3 also as they stand in textbooks for 45 degrees."""
    step = np.convolve(_binomial(size - 2), [-1, 0, 1])
    found = []
    for angle in range(0, 360, 45):
        turn = np.deg2rad(angle)
        edge = np.cos(turn) * np.outer(smooth, step) - np.sin(turn) * np.outer(step, smooth)
        found.append((f"Sobel {angle}°", edge))
    if size == 3:
        diagonal = np.array([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
        found += [(f"Sobel {45 + 90 * turns}°", np.rot90(diagonal, turns)) for turns in range(4)]
    return found


def _binomial(size: int) -> np.ndarray:
    """1 2 1, 1 4 6 4 1 and so on: the smoothing of Sobel's filter."""
    row = np.ones(1)
    for _ in range(size - 1):
        row = np.convolve(row, [1, 1])
    return row


def _laplacians(size: int, smooth: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Second derivatives in all directions, bright in the middle; 3 x 3: against four neighbours, and against eight."""
    second = np.convolve(_binomial(size - 2), [-1, 2, -1])
    found = [("Laplacian", np.outer(second, smooth) + np.outer(smooth, second))]
    if size == 3:
        four, eight = np.zeros((3, 3)), np.full((3, 3), -1.0)
        four[1], four[:, 1] = -1, -1
        four[1, 1], eight[1, 1] = 4, 8
        found += [("Laplacian", four), ("Laplacian", eight)]
    return found


def _line(x: np.ndarray, y: np.ndarray, angle: int) -> np.ndarray:
    """A bright line at an angle, one pixel thin."""
    turn = np.deg2rad(angle)
    return _balanced(np.abs(np.sin(turn) * x + np.cos(turn) * y) < 0.5)


def _corner(x: np.ndarray, y: np.ndarray, angle: int) -> np.ndarray:
    """A bright quadrant that opens towards an angle."""
    right, up = np.sign(np.cos(np.deg2rad(angle))), np.sign(np.sin(np.deg2rad(angle)))
    return _balanced((x * right >= 0) & (-y * up >= 0))


def _balanced(bright: np.ndarray) -> np.ndarray:
    """1 where it is bright, and elsewhere the negative number that makes the sum zero."""
    return np.where(bright, 1.0, -bright.sum() / (~bright).sum())


def _gabors(x: np.ndarray, y: np.ndarray, angle: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Waves under a bell that run towards an angle, of two lengths: odd (sine), and even (cosine) with sum zero."""
    along = np.cos(np.deg2rad(angle)) * x - np.sin(np.deg2rad(angle)) * y
    bell = np.exp(-(x**2 + y**2) / (2 * (0.28 * size) ** 2))
    for length in (0.6 * size, 0.9 * size):
        phase = 2 * np.pi * along / length
        even = np.cos(phase) * bell
        yield f"Gabor {angle}° sine", np.sin(phase) * bell
        yield f"Gabor {angle}° cosine", even - bell * even.sum() / bell.sum()


# ---- the table and the picture


def _written(row: FilterHealth) -> tuple[str, ...]:
    """A row of the table."""
    alike = "-" if np.isnan(row.similarity) else f"{row.similarity:+.2f}"
    score = "-" if np.isnan(row.score) else f"{row.score:.2f}"
    return (
        row.layer, str(row.filter), f"{row.norm:.2f}", f"{100 * row.worth:+.2f}", row.classic, score, alike, row.remark,
    )  # fmt: skip


def _draw_layer(panels: np.ndarray, rows: list[FilterHealth], weight: np.ndarray, chance: float) -> None:
    """Filters and what they resemble, how much, and what they are worth, a row for each filter of a layer."""
    sheet, likeness, worth = panels
    names = [row.classic for row in rows]
    colours = [style.VERMILION if row.remark else style.BLUE for row in rows]
    _draw_pairs(sheet, rows, weight)
    _draw_bars(likeness, [row.score for row in rows], colours, "{:.2f}")
    _label(likeness, names, "how much alike (0 to 1)", (0, 1.25))
    likeness.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    if not np.isnan(chance):
        likeness.axvline(chance, color="black", linestyle="--", linewidth=1)
        likeness.set_title("dashed: half of all random filters reach this", fontsize=style.SMALL)
    points = [100 * row.worth for row in rows]
    _draw_bars(worth, points, colours, "{:+.2f}")
    _label(worth, [f"filter {row.filter}" for row in rows], "accuracy lost without it (points)", _room(points))
    for place, row in enumerate(rows):
        worth.text(
            1.02, place + 0.5, row.remark, va="center", fontsize=style.SMALL, color=style.VERMILION,
            transform=worth.get_yaxis_transform(),
        )  # fmt: skip


def _draw_pairs(axes: Axes, rows: list[FilterHealth], weight: np.ndarray) -> None:
    """Each filter, or the strongest slice of a deep one, and beside it the classic filter at its best place."""
    names, bank = _bank(*weight.shape[2:])
    norm, one = style.zero_centred(weight), style.zero_centred(1.0)
    axes.set(xlim=(0, 2), ylim=(len(rows), 0), aspect="equal", autoscale_on=False, anchor="W")
    for place, row in enumerate(rows):
        w = weight[row.filter]
        draw_cell(axes, place, 0, w[strongest(w, 0, 1)[0]], norm)
        if names and row.score > 0:
            pattern = bank[_best(w.reshape(len(w), -1).astype(np.float64), bank)[0]].reshape(w.shape[1:])
            draw_cell(axes, place, 1, pattern / np.abs(pattern).max(), one)
    deep = "\nof each filter its largest channel" if weight.shape[1] > 1 else ""
    axes.set_title(f"{rows[0].layer}: red above 0, blue below{deep}", fontsize=style.LABEL)
    axes.set_xticks([0.5, 1.5], ["filter", "like"])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [f"filter {row.filter}" for row in rows])
    axes.tick_params(length=0, labelsize=style.SMALL)
    axes.spines[:].set_visible(False)


def _draw_bars(axes: Axes, values: list[float], colours: list[str], form: str) -> None:
    """A bar for each row, with its number at the end."""
    lengths, places = np.nan_to_num(np.array(values)), np.arange(len(values)) + 0.5
    bars = axes.barh(places, lengths, height=0.6, color=colours)
    written = ["" if np.isnan(value) else form.format(value).replace("-", "−") for value in values]
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # so that no line crosses a number
    axes.bar_label(bars, written, padding=3, fontsize=style.SMALL, bbox=ground)


def _label(axes: Axes, names: list[str], what: str, limits: tuple[float, float]) -> None:
    axes.set(xlim=limits, ylim=(len(names), 0))
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.set_xlabel(what, fontsize=style.SMALL)
    axes.tick_params(labelsize=style.SMALL)
    axes.tick_params(axis="y", length=0)
    style.tidy(axes)


def _room(points: list[float]) -> tuple[float, float]:
    """Limits with room for numbers beyond the ends of bars, on both sides of zero where there are bars."""
    low, high = min(0.0, *points), max(0.0, *points)
    margin = 0.6 * max(high - low, 0.1)
    return low - margin * (low < 0), high + margin
