"""FilterTape records the filters of a model during training, and shows them in pictures and as an animation."""

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from minigrad.checks import brief, type_with_article, whole_number
from minigrad.errors import DataError, ShapeError, StateError, ValidationError
from minigrad.nn import Conv2d
from minigrad.runtime.files import write_whole
from minigrad.runtime.threads import local
from minigrad.viz import style
from minigrad.viz.animation import Stage, check_speed, write_gif
from minigrad.viz.curves import falls_tenfold
from minigrad.viz.filter_grid import (
    COLOUR_NOTE,
    Sheet,
    add_weight_scale,
    draw_cell,
    is_colour,
    label_slots,
    note_omissions,
    plan_sheet,
    set_slots,
    spread_groups,
    strongest_indices,
    to_colours,
)
from minigrad.viz.formatting import format_count
from minigrad.viz.inputs import as_array, as_loss
from minigrad.viz.tracing import named_convolutions, select_convolutions

MOST_MOMENTS, MOST_ROWS = 10, 16  # columns and rows of a contact sheet
MOST_NAMED = 8  # up to this number, every curve has its own colour; of more filters, half this number is named
CHART_HEIGHT = 3.0  # inches, of the loss chart in an animation
CHARTS_ACROSS = 3  # charts of distances beside each other
SLOT = 0.8  # inches for one filter at one moment
NEARLY_WHITE = 248  # of 255, in the darkest of red, green and blue
TEXT_COLOURS, CURVE_COLOURS = 32, 16  # GIF colours for black on white, and for each of the two colours of the chart
GIF_DOTS_PER_INCH = 90  # lower than in other pictures, because a GIF stores every frame


class FilterTape:
    """Record the weights of convolutions during training, and show how they change.

    model    a Module with one or more Conv2d
    every    steps     between two frames; doubled whenever the tape is full
    layers   path of a convolution, or a list of paths; all if None
    path     file to which the tape is saved after every frame, usually .npz; None keeps it in memory only
    limit    frames    a full tape drops every second frame, so it holds at most `limit` copies of the weights
    gradients  also record `.grad` of the weights, which doubles the size

    The constructor records the first frame, step 0.  Call step(loss) after each training step, outside of a function
    that mg.graph records.

    layers   the recorded paths
    steps    (T,)  number of training steps before each frame
    losses   (T,)  loss of that step; for frame 0, the loss of the first step, which the initial weights gave
    weights  path -> (T, F, C, KH, KW)
    gradients  path -> (T, F, C, KH, KW), of the step before each frame; NaN where there was none, as in frame 0, and
             where the loop clears the gradients before step(loss).  Empty if they are not recorded

    Raises   ValidationError   no convolution, no such layer, every below 1 or limit below 2
    Example
    >>> from minigrad.models import LeNet5
    >>> tape = FilterTape(LeNet5(), every=2)
    >>> for loss in 2.3, 2.2, 2.1, 2.0:
    ...     tape.step(loss)
    >>> tape.steps.tolist(), tape.losses.tolist()
    ([0, 2, 4], [2.3, 2.2, 2.0])
    >>> tape.weights["conv1"].shape
    (3, 6, 1, 5, 5)
    """

    def __init__(
        self,
        model: Any,
        every: int = 50,
        layers: str | Sequence[str] | None = None,
        path: str | Path | None = None,
        limit: int = 64,
        gradients: bool = False,
    ):
        self.every = whole_number("FilterTape", "every", every, 1)
        self.limit = whole_number("FilterTape", "limit", limit, 2)
        self.path = None if path is None else Path(path)
        self._modules = select_convolutions("FilterTape", model, layers)
        first = named_convolutions("FilterTape", model)[0][1]
        self._kinds = {name: (module.groups, module is first) for name, module in self._modules.items()}
        self._count = 0  # training steps so far
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._weights: dict[str, list[np.ndarray]] = {name: [] for name in self._modules}
        self._gradients: dict[str, list[np.ndarray]] = {name: [] for name in self._modules if gradients}
        self._record_frame(np.nan)

    # ---- recording

    def step(self, loss: Any) -> None:
        """Count one training step; at every `every`-th step, record a frame.

        loss   number, or Tensor of one element; read only at the first step and for frames

        Raises   StateError        the tape was read from a file and has no model
                 GraphError        called inside a function that mg.graph records, where it would run only once
                 ValidationError   loss is no number
        """
        local.observer.refuse("FilterTape.step", "call it outside, with the loss that the function returns")
        if not self._modules:
            raise StateError(
                f"FilterTape.step: this tape of {len(self._steps)} frames was read from a file and has no model; "
                "make one with FilterTape(model)"
            )
        self._count += 1
        if self._count == 1:
            self._losses[0] = as_loss("FilterTape.step", loss)
            self._save_to_path()
        if self._count % self.every == 0:
            self._drop_frames_if_full()
        if self._count % self.every == 0:
            self._record_frame(as_loss("FilterTape.step", loss))

    def _drop_frames_if_full(self) -> None:
        """Drop every second frame of a full tape and double the distance between frames."""
        if len(self._steps) >= self.limit:
            self.every *= 2
            for frames in (self._steps, self._losses, *self._weights.values(), *self._gradients.values()):
                del frames[1::2]  # type: ignore[attr-defined]  # all are lists

    def _record_frame(self, loss: float) -> None:
        self._steps.append(self._count)
        self._losses.append(loss)
        for name, module in self._modules.items():
            self._weights[name].append(np.array(as_array(module.weight), order="C"))
            if name in self._gradients:
                self._gradients[name].append(_copy_gradient(module.weight))
        self._save_to_path()

    def _save_to_path(self) -> None:
        if self.path is not None:
            self.save(self.path)

    # ---- frames

    @property
    def layers(self) -> list[str]:
        """The recorded paths."""
        return list(self._weights)

    @property
    def steps(self) -> np.ndarray:
        """(T,) int64, the number of training steps before each frame."""
        return np.array(self._steps, np.int64)

    @property
    def losses(self) -> np.ndarray:
        """(T,) float64, the loss at each frame; NaN before the first step."""
        return np.array(self._losses, np.float64)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Path -> (T, F, C, KH, KW), copies."""
        return {name: np.stack(frames) for name, frames in self._weights.items()}

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """Path -> (T, F, C, KH, KW), copies; NaN where there was no gradient.  Empty if they are not recorded."""
        return {name: np.stack(frames) for name, frames in self._gradients.items()}

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"FilterTape({format_count(len(self), 'frame')}, every {self.every} steps, of {', '.join(self.layers)})"

    # ---- files

    def save(self, path: str | Path) -> Path:
        """Write the tape to a file; an error leaves the old file unchanged.

        path     file to write, usually .npz; missing folders are created
        returns  Path of the file
        """
        path = Path(path)
        kinds = [self._kinds[name] for name in self.layers]
        settings = {"layers": self.layers, "every": self.every, "limit": self.limit, "count": self._count}
        about = json.dumps(settings | {"kinds": kinds, "gradients": bool(self._gradients)})
        buffer = io.BytesIO()
        arrays = {f"weights{i}": frames for i, frames in enumerate(self.weights.values())}
        arrays |= {f"gradients{i}": frames for i, frames in enumerate(self.gradients.values())}
        np.savez(buffer, about=np.array(about), steps=self.steps, losses=self.losses, **arrays)  # type: ignore[arg-type]
        write_whole(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "FilterTape":
        """Read a tape from a file; it can be shown but records no more.

        path     file written by save(), or by a tape with a path
        returns  FilterTape without a model

        Raises   DataError   the file is missing, damaged, or no tape
        Example
        >>> from tempfile import mkdtemp
        >>> from minigrad.models import LeNet5
        >>> FilterTape.load(FilterTape(LeNet5(), layers="conv1").save(mkdtemp() + "/tape.npz"))
        FilterTape(1 frame, every 50 steps, of conv1)
        """
        about, arrays = _read_tape(Path(path))
        tape = cls.__new__(cls)
        tape.every, tape.limit, tape._count = about["every"], about["limit"], about["count"]
        tape.path, tape._modules = None, {}
        tape._kinds = dict(zip(about["layers"], about["kinds"], strict=True))
        tape._steps, tape._losses = arrays["steps"].tolist(), arrays["losses"].tolist()
        tape._weights = {name: list(arrays[f"weights{i}"]) for i, name in enumerate(about["layers"])}
        recorded = about["layers"] if about["gradients"] else []
        tape._gradients = {name: list(arrays[f"gradients{i}"]) for i, name in enumerate(recorded)}
        return tape

    # ---- distances

    def distance(self, layer: str | None = None) -> np.ndarray:
        """Compute how far each filter has moved from its initial weights, relative to their norm.

        layer    path of a recorded convolution; the first if None
        returns  (T, F)  |w(t) - w(0)| / |w(0)|, with |.| the root of the sum of squares; NaN for a filter whose initial
                 weights are zero

        Raises   ValidationError   no such layer on the tape
                 StateError        the tape has only its first frame
        """
        weights = self._stack_frames("distance", layer).astype(np.float64)
        flat = weights.reshape(*weights.shape[:2], -1)
        start = np.linalg.norm(flat[0], axis=-1)
        moved = np.linalg.norm(flat - flat[0], axis=-1)
        return np.divide(moved, start, out=np.full(moved.shape, np.nan), where=start > 0)

    def distances(self) -> Figure:
        """Show how far the filters of every layer have moved, with a chart for each layer.

        returns   Figure

        The black curve is the mean of a layer.  If a layer has many filters, those that moved most and least are named.

        Raises   StateError   the tape has only its first frame, or weights that are not finite from the first frame on
        """
        films = [self._finite_film("distances", layer) for layer in self.layers]
        across = min(len(films), CHARTS_ACROSS)
        down = -(-len(films) // across)
        title = "How far the filters moved from their initial weights"
        figure = style.figure(max(5.2, 4.8 * across), 3.8 * down + 0.4, title)
        for panel, film in zip(style.add_panels(figure, down, across, len(films)), films, strict=True):
            _draw_distances(panel, film, self.distance(film.layer)[: len(film.steps)])
        return figure

    # ---- pictures

    def contact_sheet(self, layer: str | None = None) -> Figure:
        """Show the filters of a layer over time: a row for each filter, a column for each moment.

        layer    path of a recorded convolution; the first if None
        returns  Figure

        All filters share one colour scale with zero in its middle.  A filter with 3 input channels is a colour image;
        of a filter with other than 1 or 3, the channel with the largest final weights is shown.  If there are many
        filters, the strongest are shown.

        Raises   ValidationError   no such layer on the tape
                 StateError        the tape has only its first frame, or weights that are not finite from there on
        """
        film = _select_moments(self._finite_film("contact_sheet", layer))
        last = film.weights[-1]
        shown = strongest_indices(last, 0, MOST_ROWS)
        channels = np.square(last, dtype=np.float64).sum(axis=(2, 3)).argmax(axis=1)
        colour = is_colour(last, film.groups, film.reads_image)
        down, across, deep = len(shown), len(film.steps), not colour and last.shape[1] * film.groups > 1
        title = f"{film.layer}: {format_count(len(last), 'filter')} during training"
        figure = style.figure(max(5.0, SLOT * across + 2.2), SLOT * down + 1.5, title)
        axes, norm = figure.subplots(), style.zero_centred(film.weights)
        set_slots(axes, down, across)
        for row, column in np.ndindex(down, across):
            f = shown[row]
            w = film.weights[column, f]
            draw_cell(axes, row, column, to_colours(w, norm) if colour else w[channels[f]], norm)
        first_channels = np.arange(len(last)) // (len(last) // film.groups) * last.shape[1]
        names = [f"filter {f},\nchannel {first_channels[f] + channels[f]}" if deep else f"filter {f}" for f in shown]
        label_slots(axes, names, [f"{step:,}" for step in film.steps])
        axes.set_xlabel("training step", fontsize=style.LABEL)
        if not colour:
            add_weight_scale(figure, [axes], norm)
        notes = [
            f"shown: the {down} strongest of {len(last)} filters" if down < len(last) else "",
            "of each filter, the input channel with the largest final weights" if deep else "",
            f"colours: weights on red, green and blue; grey is 0, the brightest +{norm.vmax:.2g}" if colour else "",
            film.note,
        ]
        figure.supxlabel("\n".join(filter(None, notes)), fontsize=style.SMALL)
        return figure

    def gif(
        self,
        path: str | Path,
        layer: str | None = None,
        frames_per_second: float = 8,
        hold: float = 2.0,
        title: str | None = None,
    ) -> Path:
        """Write an animated GIF of the filters of a layer, with the loss and a moving marker beside them.

        path               file to write; missing folders are created
        layer              path of a recorded convolution; the first if None
        frames_per_second  above 0, at most 50
        hold               seconds added to the last frame before the animation starts again
        title              heading; the number and size of the filters if None
        returns            Path of the file

        Raises   ValidationError   no such layer on the tape, or frames_per_second or hold is out of range
                 StateError        the tape has only its first frame, or weights that are not finite from there on
        """
        check_speed("FilterTape.gif", frames_per_second, hold)
        film = self._finite_film("gif", layer)
        images = list(_render_gif_frames(film, self.losses[: len(film.steps)], title))
        return write_gif(path, images, frames_per_second, hold)

    def _stack_frames(self, method: str, layer: str | None) -> np.ndarray:
        """Return all frames of a layer, (T, F, C, KH, KW)."""
        layer = self.layers[0] if layer is None else layer
        if not isinstance(layer, str) or layer not in self._weights:
            raise ValidationError(
                f"FilterTape.{method}: there is no layer {brief(layer)} on the tape; choose one of "
                f"{', '.join(self.layers)}"
            )
        if len(self) < 2:
            raise StateError(
                f"FilterTape.{method}: the tape has only its first frame, after {format_count(self._count, 'step')} "
                f"of {self.every}; call step(loss) after each training step, or use a smaller every"
            )
        return np.stack(self._weights[layer])

    def _finite_film(self, method: str, layer: str | None) -> "_Film":
        """Return the frames of a layer up to the first weight that is NaN or infinite."""
        layer = self.layers[0] if layer is None else layer
        weights = self._stack_frames(method, layer)
        broken = np.flatnonzero(~np.isfinite(weights).all(axis=(1, 2, 3, 4)))
        groups, reads_image = self._kinds[layer]
        unknown = groups is None and weights.shape[2] > 1
        notes = (
            ["the file does not say the groups: if there are any, channels are counted within them"] if unknown else []
        )
        kind = groups or 1, reads_image
        if not broken.size:
            return _Film(layer, self.steps, weights, "\n".join(notes), *kind)
        end = broken[0]
        if end == 0:
            raise StateError(
                f"FilterTape.{method}: {layer} has NaN or infinite weights in the first of {len(self)} frames; "
                "initialise the model again"
            )
        notes.append(f"from step {self._steps[end]:,} on, weights are NaN or infinite")
        return _Film(layer, self.steps[:end], weights[:end], "\n".join(notes), *kind)


class _Film(NamedTuple):
    """The frames of one layer that can be drawn, because all weights are finite.

    layer    path
    steps    (T,)
    weights  (T, F, C, KH, KW)
    note     text about frames that are left out, and about groups that are not known; empty if there is nothing to say
    groups, reads_image   of the convolution; whether it is the first of the model
    """

    layer: str
    steps: np.ndarray
    weights: np.ndarray
    note: str
    groups: int = 1
    reads_image: bool = True


def check_tape(where: str, tape: Any, model: Any) -> None:
    """Refuse a tape of another model: each of its layers is a convolution of this one, with weights of the same shape.

    Raises   ValidationError   tape is no FilterTape, or has a layer that the model has not
             ShapeError        the weights of a layer have another shape
    """
    if tape is None:
        return
    if not isinstance(tape, FilterTape):
        raise ValidationError(f"{where}: tape is {type_with_article(tape)}; pass a FilterTape")
    shapes = {name: tuple(module.weight.shape) for name, module in model.named_modules() if isinstance(module, Conv2d)}
    for name, frames in tape._weights.items():
        if name not in shapes:
            raise ValidationError(
                f"{where}: the tape has the layer {name} but {type(model).__name__} has {', '.join(shapes) or 'none'}; "
                "pass a tape of this model"
            )
        if frames[0].shape != shapes[name]:
            raise ShapeError(
                f"{where}: on the tape, {name} has weights {frames[0].shape}, in {type(model).__name__} "
                f"{shapes[name]}; pass a tape of this model"
            )


def _copy_gradient(weight: Any) -> np.ndarray:
    """Return the gradient of a weight, or NaN where there is none."""
    if weight.grad is None:
        return np.full(weight.shape, np.nan, weight.dtype)
    return np.array(as_array(weight.grad), order="C")


def _read_tape(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the settings and the arrays of a tape in a file."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").item())
        about.setdefault("gradients", False)  # files of older versions
        kinds_of_arrays = ["weights", "gradients"] if about["gradients"] else ["weights"]
        names = ["steps", "losses", *(f"{kind}{i}" for kind in kinds_of_arrays for i in range(len(about["layers"])))]
        lengths = {len(arrays[name]) for name in names}
        if len(lengths) != 1:
            raise ValueError(f"arrays of {sorted(lengths)} frames")
        about.setdefault(
            "kinds", [(None, i == 0) for i in range(len(about["layers"]))]
        )  # of older files: unknown groups
        return {name: about[name] for name in ("layers", "every", "limit", "count", "kinds", "gradients")}, arrays
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the folder and the name") from None
    except Exception as error:  # for damaged files, the readers of zip and npy raise errors of almost any type
        size = path.stat().st_size
        raise DataError(
            f"{path}: damaged, or no filter tape: {size} bytes ({error}); copy it again, or record a new one"
        ) from error


# ---- distances


def _draw_distances(axes: Axes, film: _Film, distance: np.ndarray) -> None:
    """Draw a curve for each filter, and their mean."""
    named = _select_named(distance[-1])
    others = np.setdiff1d(np.arange(distance.shape[1]), named)
    for i, f in enumerate(named):
        axes.plot(film.steps, distance[:, f], color=style.PALETTE[i], linewidth=1.5, label=f"filter {f}")
    for i, f in enumerate(others):
        label = "the others" if i == 0 else None
        axes.plot(film.steps, distance[:, f], color=style.GREY, linewidth=0.7, alpha=0.5, zorder=1, label=label)
    known = ~np.isnan(distance[0])
    if known.any():
        axes.plot(film.steps, distance[:, known].mean(axis=1), color="black", linewidth=2.2, label="mean of all")
    axes.set_title(f"{film.layer}: {format_count(distance.shape[1], 'filter')}", fontsize=style.LABEL)
    axes.set_ylabel("distance from the initial weights\n÷ their norm", fontsize=style.LABEL)
    _label_steps(axes, film)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=style.SMALL, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _select_named(last: np.ndarray) -> np.ndarray:
    """Return the filters to name, from the largest to the smallest distance: all, or of many those at both ends."""
    known = np.flatnonzero(~np.isnan(last))
    order = known[np.argsort(-last[known], kind="stable")]
    if len(last) <= MOST_NAMED:
        return order
    n = MOST_NAMED // 4
    return np.concatenate([order[:n], order[n:][-n:]])


# ---- the contact sheet


def _select_moments(film: _Film) -> _Film:
    """Return at most MOST_MOMENTS frames, evenly spaced, with the first and the last."""
    kept = np.unique(np.linspace(0, len(film.steps) - 1, MOST_MOMENTS).round().astype(int))
    return film._replace(steps=film.steps[kept], weights=film.weights[kept])


# ---- the animation


def _render_gif_frames(film: _Film, losses: np.ndarray, title: str | None) -> Iterator[Image.Image]:
    """Render the frames of the GIF, all with the same 256 colours so that nothing flickers."""
    frames = list(_render_frames(film, losses, title))
    palette = Image.new("P", (1, 1))
    colour = is_colour(film.weights[0], film.groups, film.reads_image)
    palette.putpalette(_make_palette(frames[:: max(1, len(frames) // 6)], colour).tobytes())
    for frame in frames:
        yield frame.quantize(palette=palette, dither=Image.Dither.NONE)


def _make_palette(frames: list[Image.Image], colour: bool) -> np.ndarray:
    """Return (256, 3) uint8: shades of text and chart, and the colour map of the filters or their common colours."""
    shades = (("black", TEXT_COLOURS), (style.BLUE, CURVE_COLOURS), (style.VERMILION, CURVE_COLOURS))
    ramps = [_ramp_from_white(hue, n) for hue, n in shades]
    left = 256 - sum(map(len, ramps))
    if not colour:
        return np.concatenate([*ramps, style.SIGNED(np.linspace(0, 1, left), bytes=True)[:, :3]])
    pixels = np.concatenate([np.asarray(frame).reshape(-1, 3) for frame in frames])
    coloured = pixels[pixels.min(axis=1) < NEARLY_WHITE]  # the white background must keep its own colour
    common = Image.fromarray(coloured[None]).quantize(left).getpalette() or []
    return np.concatenate([*ramps, np.resize(np.array(common, np.uint8).reshape(-1, 3), (left, 3))])


def _ramp_from_white(hue: str, n: int) -> np.ndarray:
    """Return (n, 3) uint8, from white to a colour."""
    return np.linspace(255, 255 * np.array(to_rgb(hue)), n).round().astype(np.uint8)


def _render_frames(film: _Film, losses: np.ndarray, title: str | None) -> Iterator[Image.Image]:
    """Lay out one figure, then render it with the filters and the marker of each frame."""
    last, norm = film.weights[-1], style.zero_centred(film.weights)
    draw, sheet = _plan_gif_sheet(film)
    figure, left, right = _make_gif_figure(film, sheet, title)
    draw(left, last, sheet, norm)
    add_weight_scale(figure, [left], norm)
    note_omissions(figure, last.shape, sheet, COLOUR_NOTE if sheet.height > 1 else "")
    past, marker = _draw_loss(right, film, losses)
    _show_moment(right, past, marker, film.steps, losses, len(losses) - 1)
    moving = [*left.images, *left.patches, past, marker, right.title]
    stage = Stage(figure, moving)
    for t, weight in enumerate(film.weights):
        for image, cell in zip(left.images, _make_cells(weight, sheet, norm), strict=True):
            image.set_data(cell)  # faster than drawing every cell again
        _show_moment(right, past, marker, film.steps, losses, t)
        yield stage.render(moving)


def _plan_gif_sheet(film: _Film) -> tuple[Any, Sheet]:
    """Return the drawing function and the layout of the filters: thumbnails form a square, so the chart is not flat."""
    weight = film.weights[-1]
    draw, sheet = plan_sheet(weight, film.groups, film.reads_image)
    if sheet.slot == 1:
        columns = math.ceil(math.sqrt(len(sheet.filters)))
        rows = -(-len(sheet.filters) // columns)
        sheet = sheet._replace(rows=rows, columns=columns, slot=max(0.85, 2.4 / rows))
    return draw, sheet


def _make_cells(weight: np.ndarray, sheet: Sheet, norm: Any) -> list[np.ndarray]:
    """Return the cells of a sheet of (F, C, KH, KW) weights in the order in which they are drawn."""
    if sheet.height > 1:
        return [cell for f in sheet.filters for cell in (to_colours(weight[f], norm), *weight[f])]
    if weight.shape[1] == 1:
        return [weight[f, 0] for f in sheet.filters]
    spread = spread_groups(weight, sheet.groups)[np.ix_(sheet.filters, sheet.channels)]
    return [w for w in spread.reshape(-1, *spread.shape[2:]) if not np.isnan(w).any()]


def _make_gif_figure(film: _Film, sheet: Sheet, title: str | None) -> tuple[Figure, Axes, Axes]:
    """Make a figure with axes for the filters on the left and for the loss chart on the right."""
    _, F, _, KH, KW = film.weights.shape
    width, height = sheet.columns * sheet.slot + sheet.labels, sheet.rows * sheet.height * sheet.slot + sheet.labels
    title = title or f"{film.layer}: {format_count(F, 'filter')} of {KH}×{KW} weights"
    figure = style.figure(width + 5.6, max(3.4, height + 1.2), title)
    figure.set_dpi(GIF_DOTS_PER_INCH)
    below = [height - CHART_HEIGHT] if height > CHART_HEIGHT + 1 else []  # blank, so that the chart is not too tall
    heights = [CHART_HEIGHT, *below]
    grid = figure.add_gridspec(len(heights), 2, width_ratios=[max(width, 1.5), 3.8], height_ratios=heights)
    left, right = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
    return figure, left, right


def _draw_loss(axes: Axes, film: _Film, losses: np.ndarray) -> tuple[Any, Any]:
    """Draw the whole curve faintly; return the line and the marker that each frame moves."""
    axes.plot(film.steps, losses, color=style.BLUE, alpha=0.3, linewidth=1.5)
    (past,) = axes.plot([], [], color=style.BLUE, linewidth=2)
    (marker,) = axes.plot([], [], "o", color=style.VERMILION, markersize=9, clip_on=False, zorder=3)
    axes.set_ylabel("training loss", fontsize=style.LABEL)
    if falls_tenfold(losses, losses):
        style.use_log_scale(axes, "training loss")
    _label_steps(axes, film)
    return past, marker


def _show_moment(axes: Axes, past: Any, marker: Any, steps: np.ndarray, losses: np.ndarray, t: int) -> None:
    """Draw the curve up to frame t, the marker at its end, and step and loss above the chart."""
    past.set_data(steps[: t + 1], losses[: t + 1])
    marker.set_data(steps[t : t + 1], losses[t : t + 1])
    axes.set_title(f"step {steps[t]:,}: loss {losses[t]:.3g}", fontsize=style.LABEL, pad=10)


def _label_steps(axes: Axes, film: _Film) -> None:
    """Give a chart a horizontal scale of whole training steps."""
    axes.set_xlim(0, film.steps[-1] or 1)
    axes.set_xlabel("\n".join(filter(None, ("training step", film.note))), fontsize=style.LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(which="both", labelsize=style.SMALL)
    style.tidy(axes)
