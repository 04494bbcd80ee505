"""A network as a row of volumes: maps as boxes, dense layers as bars, and what leads from each to the next."""

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
from minigrad.viz.formatting import times
from minigrad.viz.model_summary import run, summarised
from minigrad.viz.tracing import WINDOWS, Layer

MOST = 60  # volumes in a picture
WIDEST = 12.5  # inches of a row
LETTER, LINE = 0.078, 0.16  # inches, width and height of a small letter
TALLEST, SLANT = 1.7, np.array([0.42, 0.3])  # inches, height and depth of the largest map
LEAST = 0.12  # share of the largest map and of the largest bar below which none is drawn
BAR = 0.16  # inches across
SPACE, ARROW = 0.16, 0.45  # inches between texts, and length of the shortest arrow
DENSE = {"linear", "matmul"}
COLOURS = {"image": style.GREY, "window": style.SKY, "pool": style.GREEN, "dense": style.ORANGE, "other": style.PALE}
KEY = (
    "blue: convolution, green: pooling, orange: dense\n"
    "height and depth: size of the maps, width: channels; not in proportion"
)


class _Volume(NamedTuple):
    """One box or bar.

    caption  lines below it: name, kind, shape, and what follows without another shape
    arrow    lines above the arrow that leads to it
    shape    (C, H, W), or (n,) for a bar
    kind     key of COLOURS
    """

    caption: tuple[str, ...]
    arrow: tuple[str, ...]
    shape: tuple[int, ...]
    kind: str


class _Body(NamedTuple):
    """Inches: width and height of the front, and where the back lies from it, (right, up)."""

    width: float
    height: float
    slant: np.ndarray

    @property
    def across(self) -> float:
        return self.width + float(self.slant[0])


def draw(model: Any, input_shape: Sequence[int]) -> Figure:
    """Draw a network as volumes in the order in which its layers run.

    model        a Module, which stays as it is
    input_shape  (C, H, W)   channels, height and width of an image, as the model takes it
    returns      Figure

    Maps are boxes: height and depth follow their size, width their number, on scales so gentle that the smallest can
    be seen.  Layers without height and width are bars.  Windows, strides and padding stand above the arrows; what
    changes no shape, as an activation, is named below its volume.  Branches and shortcuts are not drawn.

    Raises   ShapeError        input_shape is not three whole numbers of 1 or more, or does not fit the model
             ValidationError   model is no Module, did nothing to the image, or has more than 60 volumes
    Source   the manner of LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2

    >>> from minigrad.models import LeNet5
    >>> draw(LeNet5(), (1, 28, 28)).get_suptitle()
    'LeNet5: 61,706 parameters, 416,520 multiply-adds for an image'
    """
    layers = run("draw", model, input_shape)
    volumes = [_Volume(("image", times(input_shape)), (), tuple(input_shape), "image"), *_volumes(layers)]
    if len(volumes) > MOST:
        raise ValidationError(f"draw: {len(volumes)} volumes, more than {MOST}; draw a part, as model.features")
    counts = summarised(model, layers, input_shape)
    numbers = f"{counts.parameters:,} parameters, {counts.multiply_adds:,} multiply-adds for an image"
    return _picture(f"{type(model).__name__}: {numbers}", volumes, _bodies(volumes))


# ---- what to draw


def _volumes(layers: list[Layer]) -> list[_Volume]:
    """A volume for each layer that moves windows, is dense, or changes the shape; others are named below the last."""
    volumes: list[_Volume] = []
    for layer in layers:
        kind, shape = _kind(layer), tuple(layer.output.shape[1:])
        if volumes and kind == "other" and shape == volumes[-1].shape:
            volumes[-1] = volumes[-1]._replace(caption=(*volumes[-1].caption, f"+ {layer.kind}"))
        else:
            names = (layer.name,) if layer.name == layer.kind else (layer.name, layer.kind)
            volumes.append(_Volume((*names, times(shape)), _settings(layer), shape, kind))
    return volumes


def _kind(layer: Layer) -> str:
    operations = {step.operation for step in layer.steps}
    if "conv2d" in operations:
        return "window"
    if operations & WINDOWS:
        return "pool"
    return "dense" if operations & DENSE else "other"


def _settings(layer: Layer) -> tuple[str, ...]:
    """As in ("5×5", "stride 1", "padding 2")."""
    lines: list[str] = []
    for step in layer.steps:
        if step.operation in WINDOWS:
            window = step.settings.get("window") or step.inputs[1].shape[2:]
            top, bottom, left, right = step.settings["pads"]
            lines += [times(window), f"stride {_pair(step.settings['stride'])}"]
            lines += [f"padding {_pair((top, left))}"] if top or left or bottom or right else []
            lines += [f"dilation {_pair(step.settings['dilation'])}"] if _dilated(step.settings) else []
            lines += [f"{step.settings['groups']} groups"] if step.settings.get("groups", 1) > 1 else []
    return tuple(lines)


def _dilated(settings: dict[str, Any]) -> bool:
    return tuple(settings.get("dilation", (1, 1))) != (1, 1)


def _pair(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else times(sizes)


# ---- where to draw it


def _bodies(volumes: list[_Volume]) -> list[_Body]:
    """Boxes and bars beside the largest of their sort."""
    shapes = [volume.shape for volume in volumes]
    side = max(max(shape[1:]) for shape in shapes if len(shape) == 3)
    units = max((prod(shape) for shape in shapes if len(shape) != 3), default=1)
    return [_box(shape, side) if len(shape) == 3 else _bar(prod(shape), units) for shape in shapes]


def _box(shape: tuple[int, ...], side: int) -> _Body:
    C, H, W = shape
    height, depth = (max((size / side) ** 0.6, LEAST) for size in (H, W))
    return _Body(0.06 + 0.08 * log2(C), TALLEST * height, SLANT * depth)


def _bar(n: int, units: int) -> _Body:
    return _Body(BAR, TALLEST * max((n / units) ** 0.35, LEAST), np.zeros(2))


def _wide(lines: Sequence[str]) -> float:
    return LETTER * max(map(len, lines), default=0)


def _rows(volumes: list[_Volume], bodies: list[_Body]) -> list[dict[int, float]]:
    """For each row of the picture, the middles of its volumes in inches, by their number."""
    rows: list[dict[int, float]] = [{}]
    end = text_end = 0.0  # of the last volume and its caption
    for i, (volume, body) in enumerate(zip(volumes, bodies, strict=True)):
        arrow, half = max(ARROW, _wide(volume.arrow) + SPACE) if i else 0.0, _wide(volume.caption) / 2
        middle = max(end + arrow + body.across / 2, text_end + SPACE + half)
        if rows[-1] and max(middle + body.across / 2, middle + half) > WIDEST:
            rows.append({})
            middle = max(arrow + body.across / 2, SPACE + half)
        rows[-1][i] = middle
        end, text_end = middle + body.across / 2, middle + half
    return rows


# ---- the picture


def _picture(title: str, volumes: list[_Volume], bodies: list[_Body]) -> Figure:
    rows = _rows(volumes, bodies)
    ends = [middle + max(bodies[i].across, _wide(volumes[i].caption)) / 2 for row in rows for i, middle in row.items()]
    heights = [_height([volumes[i] for i in row], [bodies[i] for i in row]) for row in rows]
    width, height = max(ends) + 0.1, sum(above + below for above, below in heights)
    figure = style.figure(max(width + 0.2, 6.0), height + 1.0, title)
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(-height, 0), aspect="equal", autoscale_on=False)
    axes.set_axis_off()
    top = 0.0
    for row, (above, below) in zip(rows, heights, strict=True):
        _draw_row(axes, row, top - above, volumes, bodies)
        top -= above + below
    figure.supxlabel(KEY, fontsize=style.SMALL)
    return figure


def _height(volumes: list[_Volume], bodies: list[_Body]) -> tuple[float, float]:
    """Inches of a row above its middle line and below it."""
    above = max(body.height / 2 + float(body.slant[1]) for body in bodies)
    letters = max(LINE * len(volume.arrow) for volume in volumes) + 0.1
    below = max(body.height / 2 for body in bodies) + LINE * max(len(volume.caption) for volume in volumes)
    return max(above, letters) + 0.1, below + 0.3


def _draw_row(axes: Axes, row: dict[int, float], y: float, volumes: list[_Volume], bodies: list[_Body]) -> None:
    """Volumes around the line y, with their captions below the tallest."""
    text = y - max(bodies[i].height for i in row) / 2 - 0.08
    end = 0.0
    for i, middle in row.items():
        left = middle - bodies[i].across / 2
        _draw_body(axes, left, y, bodies[i], COLOURS[volumes[i].kind])
        _write(axes, middle, text, volumes[i].caption)
        if i:
            _draw_arrow(axes, end + 0.05, left - 0.05, y, volumes[i].arrow)
        end = left + bodies[i].across


def _draw_body(axes: Axes, x: float, y: float, body: _Body, colour: str) -> None:
    """Front, upper and right side, the front in the colour itself, the others lighter and darker."""
    bottom, top = y - body.height / 2, y + body.height / 2
    left_up, right_up, right_down = np.array([(x, top), (x + body.width, top), (x + body.width, bottom)])
    _face(axes, [(x, bottom), left_up, right_up, right_down], _mixed(colour, "white", 0.15))
    if body.slant.any():
        _face(axes, [left_up, left_up + body.slant, right_up + body.slant, right_up], _mixed(colour, "white", 0.5))
        _face(
            axes, [right_down, right_up, right_up + body.slant, right_down + body.slant], _mixed(colour, "black", 0.2)
        )


def _face(axes: Axes, corners: Sequence[Any], colour: tuple[float, ...]) -> None:
    axes.add_patch(Polygon(np.array(corners), facecolor=colour, edgecolor="black", linewidth=0.7, joinstyle="round"))


def _mixed(colour: str, other: str, share: float) -> tuple[float, ...]:
    return tuple((1 - share) * np.array(to_rgb(colour)) + share * np.array(to_rgb(other)))


def _write(axes: Axes, x: float, y: float, caption: Sequence[str]) -> None:
    """The name in bold, the other lines below it."""
    for i, line in enumerate(caption):
        axes.text(
            x, y - i * LINE, line, ha="center", va="top", fontsize=style.SMALL, fontweight="normal" if i else "bold"
        )


def _draw_arrow(axes: Axes, start: float, end: float, y: float, lines: Sequence[str]) -> None:
    axes.annotate(
        "", (end, y), (start, y), arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
    )
    axes.text((start + end) / 2, y + 0.06, "\n".join(lines), ha="center", va="bottom", fontsize=style.SMALL)
