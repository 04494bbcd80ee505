"""One step of learning, seen on one filter: its weights, their gradient, the step, and the new weights."""

import copy
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigrad import autograd
from minigrad.checks import brief
from minigrad.errors import ValidationError
from minigrad.nn import functional as F
from minigrad.tape import enable_grad, no_grad
from minigrad.tensors import tensor
from minigrad.viz import probe, style
from minigrad.viz.filter_grid import strongest_indices
from minigrad.viz.formatting import format_count, format_number
from minigrad.viz.inputs import as_labelled_images, check_index, check_labels, check_scores, uses_model_info
from minigrad.viz.tracing import evaluating, select_convolutions, tracing_device

MOST_CHANNELS = 3  # input channels that are drawn
PANEL = 2.0  # inches across
STEP = 0.05  # length of the step by default, as a share of the filter's length


@uses_model_info
def filter_step(model: Any, images: Any, labels: Any, layer: str, filter: int, lr: float | None = None) -> Figure:
    """Show one step of gradient descent on one filter: weights, gradient, step, and new weights.

    model    a Module that scores classes, (N, C, H, W) -> (N, classes); it does not change
    images   (N, C, H, W) or (N, H, W), the batch
    labels   (N,)   class numbers
    layer    path of a Conv2d
    filter   its number
    lr       learning rate, above 0; if None, one with which the step is 5 % of the filter's length
    returns  Figure   a row for each input channel, at most three, those with the largest gradient; the title tells the
                      loss of the batch before the step and after it, when only this filter has changed

    The loss is the cross-entropy.  Where the gradient is red, a larger weight would raise the loss, so the step is blue
    there: it goes against the gradient.

    Raises   ValidationError   no such layer or filter, lr is not above 0, or a label is no class
             ShapeError        images or labels have another shape, or the model returns no scores

    >>> from minigrad.models import LeNet5
    >>> figure = filter_step(LeNet5(), np.eye(28)[None], [3], "conv1", 0)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['weights', 'gradient of the loss']
    """
    where = "filter_step"
    module = select_convolutions(where, model, layer)[layer]
    check_index(where, "filter", filter, len(module.weight), f"layer {brief(layer)}")
    if lr is not None and not lr > 0:
        raise ValidationError(f"{where}: lr is {lr}; use a number above 0")
    images, labels = as_labelled_images(where, images, labels)
    images = probe.prepare_images(where, model, images)
    twin = copy.deepcopy(model)
    weight = select_convolutions(where, twin, layer)[layer].weight
    before, gradient = _compute_loss(where, twin, images, labels, weight)
    old, slope = np.array(weight.detach().cpu().numpy())[filter], gradient[filter]
    lr = _choose_rate(old, slope) if lr is None else lr
    step = -lr * slope
    with no_grad():
        weight[filter] += tensor(step.astype(old.dtype), device=weight.device)
    after, _ = _compute_loss(where, twin, images, labels, weight)
    title = f"{layer}, filter {filter}: one step lowers the loss of {format_count(len(images), 'image')}"
    title = title if after < before else title.replace("lowers", "does not lower")
    first = filter // (len(module.weight) // module.groups) * len(old)  # of the input channels that it reads
    return _draw(f"{title}\nfrom {before:.5g} to {after:.5g}", old, slope, step, lr, first)


def _compute_loss(
    where: str, model: Any, images: np.ndarray, labels: np.ndarray, weight: Any
) -> tuple[float, np.ndarray]:
    """Return the cross-entropy of a batch, and its gradient by a weight."""
    device = tracing_device(model)
    with evaluating(model), enable_grad():
        scores = model(tensor(images, device=device))
        check_scores(where, scores.shape, len(images))
        check_labels(where, labels, scores.shape[1])
        loss = F.cross_entropy(scores, tensor(labels, device=device))
        (gradient,) = autograd.grad(loss, [weight])
    return loss.item(), gradient.cpu().numpy()


def _choose_rate(weight: np.ndarray, gradient: np.ndarray) -> float:
    """Return a rate of one digit with which the step is about 5 % of the filter's length."""
    slope = float(np.linalg.norm(gradient))
    return float(f"{STEP * (float(np.linalg.norm(weight)) or 1) / slope:.1g}") if slope else 1.0


def _draw(title: str, weight: np.ndarray, gradient: np.ndarray, step: np.ndarray, lr: float, first: int) -> Figure:
    """Draw a row for each channel, which are numbered from `first` on: weights, gradient, step and new weights."""
    shown = strongest_indices(gradient, 0, MOST_CHANNELS)
    stages = weight, gradient, step, weight + step
    names = "weights", "gradient of the loss", f"step: −{lr:g} × gradient", "new weights: weights + step"
    omits = len(shown) < len(weight)
    figure = style.figure(4 * (PANEL + 0.3), len(shown) * PANEL + 1.9 + 0.2 * omits, title)
    panels = figure.subplots(len(shown), 4, squeeze=False)
    norms = [style.zero_centred(weight, weight + step), *(style.zero_centred(values) for values in (gradient, step))]
    norms.append(norms[0])
    for line, c in zip(panels, shown, strict=True):
        for axes, values, norm in zip(line, stages, norms, strict=True):
            axes.imshow(values[c], cmap=style.SIGNED, norm=norm, interpolation="nearest")
            style.draw_thin_frame(axes)
        if len(weight) > 1:
            line[0].set_ylabel(f"channel {first + c}", fontsize=style.LABEL)
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, fontsize=style.LABEL)
    for axes, norm in zip(panels[-1], norms, strict=True):
        _write_range(axes, float(norm.vmax or 0))
    if omits:
        omitted = f"shown: of {len(weight)} input channels, the {len(shown)} with the largest gradient"
        figure.supxlabel(omitted, fontsize=style.SMALL)
    return figure


def _write_range(axes: Axes, limit: float) -> None:
    axes.set_xlabel(f"blue −{limit:.2g} to red {format_number(limit, '+.2g')}", fontsize=style.SMALL)
