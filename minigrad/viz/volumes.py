"""Draw a network as volumes: maps as boxes, dense layers as bars, with arrows between them."""

from collections.abc import Sequence
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from minigrad.errors import ValidationError
from minigrad.viz import style
from minigrad.viz.formatting import format_shape
from minigrad.viz.inputs import as_image_shape, uses_model_info
from minigrad.viz.model_summary import summarise, trace_blank_image
from minigrad.viz.tracing import Layer, is_convolution

MOST_VOLUMES = 60  # in a picture
ROW_WIDTH = 12.5  # inches
LETTER, LINE = 0.078, 0.16  # inches, width and height of a small letter
MAP_HEIGHT, MAP_DEPTH = 1.7, np.array([0.42, 0.3])  # inches, of the largest map; depth is (right, up)
LEAST_SHARE = 0.12  # size of the smallest map and bar, as a share of the largest
BAR = 0.16  # inches across
SPACE, ARROW = 0.16, 0.45  # inches between texts, and length of the shortest arrow
COLOURS = {
    "image": style.GREY, "convolution": style.SKY, "pooling": style.GREEN, "dense": style.ORANGE, "other": style.PALE,
}  # fmt: skip
KEY = (
    "blue: convolution, green: pooling, orange: dense, grey: the image, pale: other layers\n"
    "height and depth: size of the maps, width: number of channels\n"
    "height of a bar: number of units; not to scale"
)
SKIP_KEY = "\ndark orange arrows, and windows in this colour: connections that skip layers"
LANE = 0.14  # inches between skip connections above each other
APART = 0.09  # inches from the centre of a volume to a skip connection that begins or ends there


class _Volume(NamedTuple):
    """One box or bar.

    caption  lines below it: name, kind, shape, and the layers that follow without changing the shape
    arrow    lines above the arrow that points to it
    shape    (C, H, W), or (n,) for a bar
    kind     key of COLOURS
    sources  numbers of the volumes that it reads
    """

    caption: tuple[str, ...]
    arrow: tuple[str, ...]
    shape: tuple[int, ...]
    kind: str
    sources: tuple[int, ...] = ()


class _Body(NamedTuple):
    """The size of a volume in inches: width and height of the front, and depth as (right, up)."""

    width: float
    height: float
    depth: np.ndarray

    @property
    def total_width(self) -> float:
        """Width of front and depth."""
        return self.width + float(self.depth[0])


@uses_model_info
def draw(model: Any, input_shape: Sequence[int] | None = None) -> Figure:
    """Draw a network as volumes in the order in which its layers run.

    model        a Module; it does not change
    input_shape  (C, H, W)   channels, height and width of an image; may be left out for a model from load_model
    returns      Figure

    Maps are boxes: height and depth show their size, width their number, on compressed scales so that the smallest are
    visible.  Layers without height and width are bars.  Windows, strides and padding stand above the arrows.  A layer
    that does not change the shape, such as an activation, is named below the volume.  Connections that skip layers are
    arrows above them.

    Raises   ShapeError        input_shape is not three whole numbers of 1 or more, or does not fit the model
             ValidationError   model is no Module, runs no operation on the image, or has more than 60 volumes
    Source   the style of LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2

    >>> from minigrad.models import LeNet5
    >>> draw(LeNet5(), (1, 28, 28)).get_suptitle()
    'LeNet5: 61,706 parameters, 416,520 multiply-adds for an image'
    """
    layers, shape = trace_blank_image("draw", model, input_shape), as_image_shape("draw", input_shape)
    image = _Volume(("image", format_shape(shape)), (), shape, "image")
    volumes = _make_volumes(image, layers)
    if len(volumes) > MOST_VOLUMES:
        raise ValidationError(
            f"draw: {len(volumes)} volumes, more than {MOST_VOLUMES}; draw a part of the model, such as model.features"
        )
    counts = summarise(model, layers, shape)
    numbers = f"{counts.parameters:,} parameters, {counts.multiply_adds:,} multiply-adds for an image"
    return _draw(f"{type(model).__name__}: {numbers}", volumes, _size_bodies(volumes))


# ---- what to draw


def _make_volumes(image: _Volume, layers: list[Layer]) -> list[_Volume]:
    """Return the image, and a volume for each layer that slides a window, is dense, changes the shape or joins volumes.

    The other layers are named below the volume before them.
    """
    volumes, owners = [image], {id(layers[0].input): 0}  # owners: array -> number of its volume
    for layer in layers:
        kind, shape = _kind(layer), tuple(layer.output.shape[1:])
        sources = _find_sources(layer, owners) or (len(volumes) - 1,)
        if len(volumes) > 1 and kind == "other" and shape == volumes[-1].shape and sources == (len(volumes) - 1,):
            volumes[-1] = volumes[-1]._replace(caption=(*volumes[-1].caption, f"+ {layer.kind}"))
        else:
            names = (layer.name,) if layer.name == layer.kind else (layer.name, layer.kind)
            volumes.append(_Volume((*names, format_shape(shape)), _describe_windows(layer), shape, kind, sources))
        owners |= {id(step.output): len(volumes) - 1 for step in layer.steps}
    return volumes


def _find_sources(layer: Layer, owners: dict[int, int]) -> tuple[int, ...]:
    """Return the numbers of the volumes that a layer reads, in order; none where a view hides them."""
    own = {id(step.output) for step in layer.steps}
    arrays = [id(step.inputs[i]) for step in layer.steps for i in step.sources]
    return tuple(sorted({owners[array] for array in arrays if array in owners and array not in own}))


def _kind(layer: Layer) -> str:
    if is_convolution(layer):
        return "convolution"
    if any(step.op.sliding_window for step in layer.steps) or "pool" in layer.kind.lower():
        return "pooling"
    return "dense" if any(step.op.flops is not None for step in layer.steps) else "other"  # a matrix product


def _describe_windows(layer: Layer) -> tuple[str, ...]:
    """Return the settings of sliding windows, as in ("5×5", "stride 1", "padding 2")."""
    lines: list[str] = []
    for step in layer.steps:
        if step.op.sliding_window:
            settings = step.settings
            top, bottom, left, right = settings["pads"]
            dilation, groups = tuple(settings.get("dilation", (1, 1))), settings.get("groups", 1)
            lines += [format_shape(step.window), f"stride {_format_pair(settings['stride'])}"]
            lines += [f"padding {_format_pair((top, left))}"] if top or left or bottom or right else []
            lines += [f"dilation {_format_pair(dilation)}"] if dilation != (1, 1) else []
            lines += [f"{groups} groups"] if groups > 1 else []
    return tuple(lines)


def _format_pair(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else format_shape(sizes)


# ---- sizes and positions


def _size_bodies(volumes: list[_Volume]) -> list[_Body]:
    """Return the size of every volume relative to the largest box and the largest bar."""
    shapes = [volume.shape for volume in volumes]
    side = max(max(shape[1:]) for shape in shapes if len(shape) == 3)
    units = max((prod(shape) for shape in shapes if len(shape) != 3), default=1)
    return [_size_box(shape, side) if len(shape) == 3 else _size_bar(prod(shape), units) for shape in shapes]


def _size_box(shape: tuple[int, ...], side: int) -> _Body:
    C, H, W = shape
    height, depth = (max((size / side) ** 0.6, LEAST_SHARE) for size in (H, W))
    return _Body(0.06 + 0.08 * log2(C), MAP_HEIGHT * height, MAP_DEPTH * depth)


def _size_bar(n: int, units: int) -> _Body:
    return _Body(BAR, MAP_HEIGHT * max((n / units) ** 0.35, LEAST_SHARE), np.zeros(2))


def _text_width(lines: Sequence[str]) -> float:
    """Return the width of lines of text in inches."""
    return LETTER * max(map(len, lines), default=0)


def _place_in_rows(volumes: list[_Volume], bodies: list[_Body]) -> list[dict[int, float]]:
    """Return, for each row of the picture, the centres of its volumes in inches, by their number."""
    rows: list[dict[int, float]] = [{}]
    end = text_end = 0.0  # right edges of the last volume and of its caption
    for i, (volume, body) in enumerate(zip(volumes, bodies, strict=True)):
        arrow, half = max(ARROW, _text_width(volume.arrow) + SPACE) if i else 0.0, _text_width(volume.caption) / 2
        centre = max(end + arrow + body.total_width / 2, text_end + SPACE + half)
        if rows[-1] and max(centre + body.total_width / 2, centre + half) > ROW_WIDTH:
            rows.append({})
            centre = max(arrow + body.total_width / 2, SPACE + half)
        rows[-1][i] = centre
        end, text_end = centre + body.total_width / 2, centre + half
    return rows


# ---- drawing


def _draw(title: str, volumes: list[_Volume], bodies: list[_Body]) -> Figure:
    rows = _place_in_rows(volumes, bodies)
    widths = [max(body.total_width, _text_width(volume.caption)) for volume, body in zip(volumes, bodies, strict=True)]
    heights = [
        _measure_row([volumes[i] for i in row], [bodies[i] for i in row], sum(len(_skips(volumes, i)) for i in row))
        for row in rows
    ]
    width = max(centre + widths[i] / 2 for row in rows for i, centre in row.items()) + 0.1
    height = sum(above + below for above, below in heights)
    figure = style.figure(max(width + 0.2, 6.0), height + 1.0, title)
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(-height, 0), aspect="equal", autoscale_on=False)
    axes.set_axis_off()
    top = 0.0
    for row, (above, below) in zip(rows, heights, strict=True):
        _draw_row(axes, row, top - above, volumes, bodies)
        _draw_skips(axes, row, top - 0.2, top - above, volumes, bodies)
        top -= above + below
    skips = any(_skips(volumes, i) for i in range(len(volumes)))
    figure.supxlabel(KEY + SKIP_KEY * skips, fontsize=style.SMALL)
    return figure


def _skips(volumes: list[_Volume], i: int) -> list[int]:
    """Return the volumes that volume i reads, except the one before it."""
    return [source for source in volumes[i].sources if source != i - 1]


def _measure_row(volumes: list[_Volume], bodies: list[_Body], skips: int) -> tuple[float, float]:
    """Return the inches of a row above its centre line and below it."""
    above = max(body.height / 2 + float(body.depth[1]) for body in bodies)
    text = max(LINE * len(volume.arrow) for volume in volumes) + 0.1
    below = max(body.height / 2 for body in bodies) + LINE * max(len(volume.caption) for volume in volumes)
    return max(above, text) + 0.1 + (LANE * skips + 0.25) * (skips > 0), below + 0.3


def _draw_row(axes: Axes, row: dict[int, float], y: float, volumes: list[_Volume], bodies: list[_Body]) -> None:
    """Draw volumes around the line y, with their captions below the tallest."""
    caption_y = y - max(bodies[i].height for i in row) / 2 - 0.08
    end = 0.0
    for i, centre in row.items():
        left = centre - bodies[i].total_width / 2
        _draw_body(axes, left, y, bodies[i], COLOURS[volumes[i].kind])
        _write_caption(axes, centre, caption_y, volumes[i].caption)
        if i:
            _draw_arrow(axes, end + 0.05, left - 0.05, y, volumes[i].arrow, visible=i - 1 in volumes[i].sources)
        end = left + bodies[i].total_width


def _draw_body(axes: Axes, x: float, y: float, body: _Body, colour: str) -> None:
    """Draw the front, and for a box the top in a lighter and the right side in a darker colour."""
    bottom, top = y - body.height / 2, y + body.height / 2
    left_up, right_up, right_down = np.array([(x, top), (x + body.width, top), (x + body.width, bottom)])
    _draw_face(axes, [(x, bottom), left_up, right_up, right_down], _mix(colour, "white", 0.15))
    if body.depth.any():
        lighter, darker = _mix(colour, "white", 0.5), _mix(colour, "black", 0.2)
        _draw_face(axes, [left_up, left_up + body.depth, right_up + body.depth, right_up], lighter)
        _draw_face(axes, [right_down, right_up, right_up + body.depth, right_down + body.depth], darker)


def _draw_face(axes: Axes, corners: Sequence[Any], colour: tuple[float, ...]) -> None:
    axes.add_patch(Polygon(np.array(corners), facecolor=colour, edgecolor="black", linewidth=0.7, joinstyle="round"))


def _mix(colour: str, other: str, share: float) -> tuple[float, ...]:
    return tuple((1 - share) * np.array(to_rgb(colour)) + share * np.array(to_rgb(other)))


def _write_caption(axes: Axes, x: float, y: float, caption: Sequence[str]) -> None:
    """Write the name in bold and the other lines below it."""
    for i, line in enumerate(caption):
        weight = "normal" if i else "bold"
        axes.text(x, y - i * LINE, line, ha="center", va="top", fontsize=style.SMALL, fontweight=weight)


def _draw_skips(
    axes: Axes, row: dict[int, float], lane: float, y: float, volumes: list[_Volume], bodies: list[_Body]
) -> None:
    """Draw the connections that skip layers: up from a volume, across above the row, and down to a later one."""
    for i, centre in row.items():
        for source in _skips(volumes, i):
            tops = [y + bodies[k].height / 2 + float(bodies[k].depth[1]) for k in (source, i)]
            start = row.get(source)  # None in an earlier row
            end = centre - APART  # a line that ends at a volume is no part of one that begins there
            path = [(0.0, lane)] if start is None else [(start + APART, tops[0]), (start + APART, lane)]
            axes.plot(*zip(*path, (end, lane), strict=True), color=style.VERMILION, linewidth=1.2)
            arrow = {"arrowstyle": "-|>", "color": style.VERMILION, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (end, tops[1]), (end, lane), arrowprops=arrow)
            if start is None:
                name = volumes[source].caption[0]
                place: dict[str, Any] = {"va": "bottom", "fontsize": style.SMALL, "color": style.VERMILION}
                axes.text(end + 0.06, lane + 0.01, f"from {name}", **place)
            lane -= LANE


def _draw_arrow(axes: Axes, start: float, end: float, y: float, lines: Sequence[str], visible: bool) -> None:
    if visible:
        arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end, y), (start, y), arrowprops=arrow)
    colour = "black" if visible else style.VERMILION  # of the arrow that the window belongs to
    axes.text(
        (start + end) / 2, y + 0.06, "\n".join(lines), ha="center", va="bottom", fontsize=style.SMALL, color=colour
    )
