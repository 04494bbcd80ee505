"""Pictures of convolution filters: what each one looks for, before and after training."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minigrad.errors import ShapeError
from minigrad.viz import style
from minigrad.viz.arrays import conv_weight

MOST_THUMBNAILS, THUMBNAILS_ACROSS, THUMBNAIL = 64, 8, 1.0  # inches a thumbnail and its margin
MOST_FILTERS, MOST_CHANNELS, SLICE = 16, 16, 0.45  # inches a slice and its margin
FILLED = 0.82  # share of its place that a cell covers: the rest keeps cells apart and holds their labels


def filters(weight: Any, init: Any = None, title: str | None = None) -> Figure:
    """Show the filters of a convolution layer, all on one colour scale with zero in its middle.

    weight   (F, C, KH, KW)  array or tensor, or a layer that has one as .weight
    init     (F, C, KH, KW)  the same before training, shown beside it; None shows weight alone
    title    heading; None says how many filters there are and of what size
    returns  Figure

    With C = 1 each filter is one map, blue below zero and red above; with C = 3 one colour image, grey at zero;
    deeper filters fill a row each, a cell for every input channel.  Of many, those with the largest sum of squares
    are shown, and the heading says so.

    Raises   DtypeError       weight holds no numbers, as in a layer without weights
             ShapeError       weight is not 4-dimensional, or init has another shape
             ValidationError  a weight is NaN or infinite

    >>> figure = filters(np.ones((6, 1, 5, 5)))
    >>> len(figure.axes[0].images)
    6
    """
    stages = _stages(weight, init)
    learned = stages[-1]
    numbers, channels = _shown(learned)
    rows, columns, inches = _layout(learned.shape[1], len(numbers), len(channels))
    down, across = (len(stages), 1) if columns > rows else (1, len(stages))
    figure = style.figure(
        max(4.5, across * columns * inches + 1.6),
        down * rows * inches + 1.3,
        _heading(learned.shape, len(numbers), len(channels), title),
    )
    panels = figure.subplots(down, across, squeeze=False).ravel()
    norm = style.zero_centred(*stages)
    for panel, stage in zip(panels, stages):
        _draw(panel, stage, numbers, channels, norm)
        panel.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    ...
    return figure
