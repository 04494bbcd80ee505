"""Filters while they learn: a tape of their weights, and pictures, a film and distances made of it."""

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from minigrad.errors import DataError, StateError, ValidationError
from minigrad.runtime.files import write_whole
from minigrad.runtime.threads import local
from minigrad.viz import style
from minigrad.viz.filter_grid import Sheet, draw_cell, plan_sheet, say_what_is_left_out, strongest, weight_bar
from minigrad.viz.formatting import counted
from minigrad.viz.inputs import as_array
from minigrad.viz.tracing import chosen_convolutions
from minigrad.viz.training import falls_tenfold

MOST_MOMENTS, MOST_ROWS = 10, 16  # columns and rows of a contact sheet
NAMED = 8  # filters up to which every curve has a colour of its own; of more, half as many are named
CHART_HEIGHT = 3.0  # inches, of the loss beside the filters; where they are taller, less than they
ACROSS = 3  # charts beside each other
PLACE = 0.8  # inches for one filter at one moment
NEARLY_WHITE = 248  # of 255, in the darkest of red, green and blue
LETTERS, CHART = 32, 16  # colours of a GIF kept for black on white, and for each of the chart's two colours
FILM_DOTS_PER_INCH = 90  # a film is seen on screens, and every dot of every frame is stored
FASTEST = 50  # frames per second; browsers slow a faster GIF down


class _Film(NamedTuple):
    """The moments of one layer that can be shown: all weights finite."""

    layer: str
    steps: np.ndarray  # (T,)
    weights: np.ndarray  # (T, F, C, KH, KW)
    note: str  # what had to be left out


class FilterTape:
    """Record the weights of the convolutions while a model trains, and show how the filters came to be.

    model    a Module with one or more Conv2d
    every    steps     between two frames; doubled whenever the tape is full
    layers   path of a convolution, or a list of paths; None records all
    path     file that holds the tape after every frame, usually .npz; None keeps it in memory only
    limit    frames    when there are so many, every second one is dropped: at most `limit` times the weights

    The first frame, step 0, is taken at once.  Call step(loss) after each training step, outside of a function that
    mg.graph records.  Between two frames it only counts.

    layers   the recorded paths
    steps    (T,)  number of steps before each frame
    losses   (T,)  the loss of that step; of frame 0, the loss of the first step, which the initial weights made
    weights  path -> (T, F, C, KH, KW)

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
    ):
        _at_least("every", every, 1, "steps")
        _at_least("limit", limit, 2, "frames")
        self.every, self.limit, self.path = every, limit, None if path is None else Path(path)
        self._modules = chosen_convolutions("FilterTape", model, layers)
        self._count = 0
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._weights: dict[str, list[np.ndarray]] = {name: [] for name in self._modules}
        self._record(np.nan)

    # ---- recording

    def step(self, loss: Any) -> None:
        """Count one training step, and record the weights if it is the turn of a frame.

        loss   number, or Tensor of one element, which is read for a frame only

        Raises   StateError   the tape was read from a file and knows no model
                 GraphError   called inside a function that mg.graph records, where it would happen only once
        """
        if local.observer is not None:
            local.observer.refuse("FilterTape.step", "call it outside, with the loss that the function returns")
        if not self._modules:
            raise StateError(
                f"FilterTape.step: this tape of {len(self._steps)} frames was read from a file and has no model; "
                "make one with FilterTape(model)"
            )
        self._count += 1
        if self._count == 1:
            self._losses[0] = float(loss)
            self._keep()
        if self._count % self.every == 0:
            self._make_room()
        if self._count % self.every == 0:
            self._record(float(loss))

    def _make_room(self) -> None:
        """Drop every second frame of a full tape."""
        if len(self._steps) >= self.limit:
            self.every *= 2
            for frames in (self._steps, self._losses, *self._weights.values()):
                del frames[1::2]  # type: ignore[attr-defined]  # a list, of whatever

    def _record(self, loss: float) -> None:
        self._steps.append(self._count)
        self._losses.append(loss)
        for name, module in self._modules.items():
            self._weights[name].append(np.array(as_array(module.weight), order="C"))
        self._keep()

    def _keep(self) -> None:
        if self.path is not None:
            self.save(self.path)

    # ---- what is on it

    @property
    def layers(self) -> list[str]:
        """The recorded paths."""
        return list(self._weights)

    @property
    def steps(self) -> np.ndarray:
        """(T,) int64, the number of steps before each frame."""
        return np.array(self._steps, np.int64)

    @property
    def losses(self) -> np.ndarray:
        """(T,) float64, the loss at each frame; NaN where there was none yet."""
        return np.array(self._losses, np.float64)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Path -> (T, F, C, KH, KW), copies."""
        return {name: np.stack(frames) for name, frames in self._weights.items()}

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"FilterTape({counted(len(self), 'frame')}, every {self.every} steps, of {', '.join(self.layers)})"

    # ---- files

    def save(self, path: str | Path) -> Path:
        """Write the tape to a file, whole or not at all: it is written beside the old one, which it then replaces.

        path     file to write, usually .npz; its folders are made
        returns  Path of the file
        """
        path = Path(path)
        about = json.dumps({"layers": self.layers, "every": self.every, "limit": self.limit, "count": self._count})
        buffer = io.BytesIO()
        arrays = {f"weights{i}": frames for i, frames in enumerate(self.weights.values())}
        np.savez(buffer, about=np.array(about), steps=self.steps, losses=self.losses, **arrays)  # type: ignore[arg-type]
        write_whole(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "FilterTape":
        """Read what save(), or a tape with a path, has written: to look at, not to record more.

        path     the file
        returns  FilterTape without a model

        Raises   DataError   the file is missing, damaged, or no tape
        Example
        >>> from tempfile import mkdtemp
        >>> from minigrad.models import LeNet5
        >>> FilterTape.load(FilterTape(LeNet5(), layers="conv1").save(mkdtemp() + "/tape.npz"))
        FilterTape(1 frame, every 50 steps, of conv1)
        """
        about, arrays = _read(Path(path))
        tape = cls.__new__(cls)
        tape.every, tape.limit, tape._count = about["every"], about["limit"], about["count"]
        tape.path, tape._modules = None, {}
        tape._steps, tape._losses = arrays["steps"].tolist(), arrays["losses"].tolist()
        tape._weights = {name: list(arrays[f"weights{i}"]) for i, name in enumerate(about["layers"])}
        return tape

    # ---- distances

    def distance(self, layer: str | None = None) -> np.ndarray:
        """How far each filter has moved from its start, compared with its size there.

        layer    path of a recorded convolution; None takes the first
        returns  (T, F)  |w(t) - w(0)| / |w(0)|, with |.| the root of the sum of squares; NaN for a filter of zeros at
                 the start, which has no size to compare with

        Raises   ValidationError   no such layer on the tape
                 StateError        no frame yet after the start
        """
        weights = self._frames("distance", layer).astype(np.float64)
        flat = weights.reshape(*weights.shape[:2], -1)
        start = np.linalg.norm(flat[0], axis=-1)
        moved = np.linalg.norm(flat - flat[0], axis=-1)
        return np.divide(moved, start, out=np.full(moved.shape, np.nan), where=start > 0)

    def distances(self) -> Figure:
        """Show how far the filters of every layer have moved, a chart for each layer.

        returns   Figure

        The black curve is the mean of a layer.  Of many filters, those that moved most and least are named.

        Raises   StateError   no frame yet after the start
        """
        films = [self._film("distances", layer) for layer in self.layers]
        across = min(len(films), ACROSS)
        down = -(-len(films) // across)
        title = "How far the filters moved from their start"
        figure = style.figure(max(5.2, 4.8 * across), 3.8 * down + 0.4, title)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for panel, film in zip(panels, films, strict=False):
            _draw_distances(panel, film, self.distance(film.layer)[: len(film.steps)])
        for panel in panels[len(films) :]:
            panel.set_axis_off()
        return figure

    # ---- pictures

    def contact_sheet(self, layer: str | None = None) -> Figure:
        """Show the filters of a layer over time: a row for each filter, a column for each moment.

        layer    path of a recorded convolution; None takes the first
        returns  Figure

        All share one colour scale with zero in its middle.  A filter with 3 input channels is a colour image; of a
        deeper one, its strongest channel in the end is shown.  Of many filters the strongest are shown.

        Raises   ValidationError   no such layer on the tape
                 StateError        no frame yet after the start, or weights that are not finite from the first frame on
        """
        film = self._film("contact_sheet", layer)
        film = _thinned(film)
        last = film.weights[-1]
        shown = strongest(last, 0, MOST_ROWS)
        channels = np.square(last, dtype=np.float64).sum(axis=(2, 3)).argmax(axis=1)
        across, down = len(film.steps), len(shown)
        title = f"{film.layer}: {counted(len(last), 'filter')} while they learned"
        figure = style.figure(max(5.0, PLACE * across + 2.2), PLACE * down + 1.5, title)
        axes, norm = figure.subplots(), style.zero_centred(film.weights)
        axes.set(xlim=(0, across), ylim=(down, 0), aspect="equal", autoscale_on=False)
        for row, column in np.ndindex(down, across):
            f = shown[row]
            draw_cell(axes, row, column, _pixels(film.weights[column, f], channels[f], norm), norm)
        _label_sheet(axes, film, _row_names(shown, channels, last.shape[1]))
        weight_bar(figure, np.array([axes]), norm, colour=last.shape[1] == 3)
        left_out = f"shown: the {down} strongest of {len(last)} filters" if down < len(last) else ""
        deep = (
            "of each filter, the input channel with the largest weights in the end"
            if last.shape[1] not in (1, 3)
            else ""
        )
        figure.supxlabel("\n".join(filter(None, (left_out, deep, film.note))), fontsize=style.SMALL)
        return figure

    def gif(
        self,
        path: str | Path,
        layer: str | None = None,
        frames_per_second: float = 8,
        hold: float = 2.0,
        title: str | None = None,
    ) -> Path:
        """Write an animated GIF of a layer: its filters, and beside them the loss with a marker that moves.

        path               file to write; its folders are made
        layer              path of a recorded convolution; None takes the first
        frames_per_second  above 0, at most 50
        hold               seconds that the last frame stays on top, before the film begins again
        title              heading; None says how many filters there are
        returns            Path of the written file

        Raises   ValidationError   no such layer on the tape, or a speed or hold out of its range
                 StateError        no frame yet after the start
        """
        if not 0 < frames_per_second <= FASTEST:
            raise ValidationError(
                f"FilterTape.gif: frames_per_second is {frames_per_second}, not above 0 and at most {FASTEST}; try 8"
            )
        if not 0 <= hold < np.inf:
            raise ValidationError(f"FilterTape.gif: hold is {hold} seconds, not 0 or more; try 2")
        film = self._film("gif", layer)
        images = list(_screened(film, self.losses[: len(film.steps)], title))
        centiseconds = max(2, round(100 / frames_per_second))
        durations = [10 * centiseconds] * len(images)
        durations[-1] += 10 * round(100 * hold)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
        return path

    def _frames(self, method: str, layer: str | None) -> np.ndarray:
        """(T, F, C, KH, KW), the frames of a layer."""
        layer = self.layers[0] if layer is None else layer
        if layer not in self._weights:
            raise ValidationError(
                f"FilterTape.{method}: there is no layer {layer!r} on the tape; there are {', '.join(self.layers)}"
            )
        if len(self) < 2:
            raise StateError(
                f"FilterTape.{method}: no frames yet: {counted(self._count, 'step')} of {self.every} before the first; "
                "call step(loss) after each training step, or record more often"
            )
        return np.stack(self._weights[layer])

    def _film(self, method: str, layer: str | None) -> _Film:
        layer = self.layers[0] if layer is None else layer
        weights = self._frames(method, layer)
        broken = np.flatnonzero(~np.isfinite(weights).all(axis=(1, 2, 3, 4)))
        if not broken.size:
            return _Film(layer, self.steps, weights, "")
        end = broken[0]
        if end == 0:
            raise StateError(
                f"FilterTape.{method}: {layer} has NaN or infinite weights in all {len(self)} frames from step 0 on; "
                "initialise the model anew"
            )
        note = f"from step {self._steps[end]:,} on, weights are NaN or infinite"
        return _Film(layer, self.steps[:end], weights[:end], note)


# ---- settings and files


def _at_least(name: str, value: Any, least: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValidationError(
            f"FilterTape: {name} is {value!r} {unit}, not a whole number of {least} or more; try {50 * least}"
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays of a file that is a tape."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").item())
        lengths = {len(arrays[name]) for name in ("steps", "losses", *_weight_names(about))}
        if len(lengths) != 1:
            raise ValueError(f"arrays of {sorted(lengths)} frames")
        return {name: about[name] for name in ("layers", "every", "limit", "count")}, arrays
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the folder and the name") from None
    except Exception as error:  # readers of zip and npy raise errors of almost any kind for damaged files
        size = path.stat().st_size
        raise DataError(
            f"{path}: damaged, or no filter tape: {size} bytes ({error}); copy it again, or record a new one"
        ) from error


def _weight_names(about: dict[str, Any]) -> list[str]:
    return [f"weights{i}" for i in range(len(about["layers"]))]


# ---- distances


def _draw_distances(axes: Axes, film: _Film, distance: np.ndarray) -> None:
    """A curve for each filter, and their mean."""
    named = _named(distance[-1])
    others = np.setdiff1d(np.arange(distance.shape[1]), named)
    for place, f in enumerate(named):
        axes.plot(film.steps, distance[:, f], color=style.PALETTE[place], linewidth=1.5, label=f"filter {f}")
    for place, f in enumerate(others):
        label = "the others" if place == 0 else None
        axes.plot(film.steps, distance[:, f], color=style.GREY, linewidth=0.7, alpha=0.5, zorder=1, label=label)
    known = ~np.isnan(distance[0])
    if known.any():
        axes.plot(film.steps, distance[:, known].mean(axis=1), color="black", linewidth=2.2, label="mean of all")
    axes.set_title(f"{film.layer}: {counted(distance.shape[1], 'filter')}", fontsize=style.LABEL)
    axes.set_ylabel("distance from the start\n÷ size (norm) at the start", fontsize=style.LABEL)
    _label_steps(axes, film)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=style.SMALL, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _named(last: np.ndarray) -> np.ndarray:
    """The filters that get a colour and a name, from far to near: all of a few; of many, the extremes."""
    known = np.flatnonzero(~np.isnan(last))
    order = known[np.argsort(-last[known], kind="stable")]
    return order if len(last) <= NAMED else np.concatenate([order[: NAMED // 4], order[NAMED // 4 :][-NAMED // 4 :]])


# ---- the contact sheet


def _thinned(film: _Film) -> _Film:
    """At most MOST_MOMENTS moments, evenly spread, with the first and the last."""
    kept = np.unique(np.linspace(0, len(film.steps) - 1, MOST_MOMENTS).round().astype(int))
    return film._replace(steps=film.steps[kept], weights=film.weights[kept])


def _pixels(weight: np.ndarray, channel: int, norm: Any) -> np.ndarray:
    """A filter (C, KH, KW) as one picture: of three channels a colour image, else the slice of one channel."""
    return np.moveaxis(norm(weight).data, 0, -1) if len(weight) == 3 else weight[channel]


def _row_names(shown: np.ndarray, channels: np.ndarray, C: int) -> list[str]:
    return [f"filter {f}" if C in (1, 3) else f"filter {f},\nchannel {channels[f]}" for f in shown]


def _label_sheet(axes: Axes, film: _Film, names: list[str]) -> None:
    axes.set_xticks(np.arange(len(film.steps)) + 0.5, [f"{step:,}" for step in film.steps])
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.set_xlabel("training step", fontsize=style.LABEL)
    axes.tick_params(length=0, labelsize=style.SMALL)
    axes.spines[:].set_visible(False)


# ---- the film


def _screened(film: _Film, losses: np.ndarray, title: str | None) -> Iterator[Image.Image]:
    """The frames of the film, all in the same 256 colours, so that nothing flickers."""
    drawn = list(_drawn(film, losses, title))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette(drawn[:: max(1, len(drawn) // 6)], film.weights.shape[2] == 3).tobytes())
    for image in drawn:
        yield image.quantize(palette=palette, dither=Image.Dither.NONE)


def _palette(drawn: list[Image.Image], colour: bool) -> np.ndarray:
    """(256, 3) uint8: letters and chart exactly; for the filters the colour map, or what colour images need."""
    ramps = [_fading(hue, n) for hue, n in (("black", LETTERS), (style.BLUE, CHART), (style.VERMILION, CHART))]
    left = 256 - sum(map(len, ramps))
    if not colour:
        return np.concatenate([*ramps, style.SIGNED(np.linspace(0, 1, left), bytes=True)[:, :3]])
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in drawn])
    coloured = pixels[pixels.min(axis=1) < NEARLY_WHITE]  # or the ground would take a neighbour of white
    common = Image.fromarray(coloured[None]).quantize(left).getpalette() or []
    return np.concatenate([*ramps, np.resize(np.array(common, np.uint8).reshape(-1, 3), (left, 3))])


def _fading(hue: str, n: int) -> np.ndarray:
    """(n, 3) uint8, from white to a colour."""
    return np.linspace(255, 255 * np.array(to_rgb(hue)), n).round().astype(np.uint8)


def _drawn(film: _Film, losses: np.ndarray, title: str | None) -> Iterator[Image.Image]:
    """One figure, laid out once, and in it filters and marker changed from frame to frame."""
    last, norm = film.weights[-1], style.zero_centred(film.weights)
    draw, sheet = _screen(last)
    figure, left, right = _stage(film, sheet, title)
    draw(left, last, sheet, norm)
    weight_bar(figure, np.array([left]), norm, colour=last.shape[1] == 3)
    say_what_is_left_out(figure, last.shape, sheet)
    past, marker = _draw_loss(right, film, losses)
    canvas = FigureCanvasAgg(figure)
    _show(right, past, marker, film.steps, losses, len(losses) - 1)
    canvas.draw()
    figure.set_layout_engine("none")
    for t, weight in enumerate(film.weights):
        for image, pixels in zip(left.images, _cells(weight, sheet, norm), strict=True):
            image.set_data(pixels)  # drawn anew, 96 cells would take twice as long
        _show(right, past, marker, film.steps, losses, t)
        canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _screen(weight: np.ndarray) -> tuple[Any, Sheet]:
    """How filters are drawn and where: thumbnails nearly in a square, so that the chart beside them is not flat."""
    draw, sheet = plan_sheet(weight)
    if weight.shape[1] in (1, 3):
        columns = math.ceil(math.sqrt(len(sheet.filters)))
        rows = -(-len(sheet.filters) // columns)
        sheet = sheet._replace(rows=rows, columns=columns, place=max(0.85, 2.4 / rows))
    return draw, sheet


def _cells(weight: np.ndarray, sheet: Sheet, norm: Any) -> list[np.ndarray]:
    """What a sheet shows of (F, C, KH, KW) weights, cell by cell in the order in which it is drawn."""
    if weight.shape[1] in (1, 3):
        return [_pixels(weight[f], 0, norm) for f in sheet.filters]
    return [weight[f, c] for f in sheet.filters for c in sheet.channels]


def _stage(film: _Film, sheet: Sheet, title: str | None) -> tuple[Figure, Axes, Axes]:
    """A figure with room for filters on the left, and for the chart on the right."""
    _, F, _, KH, KW = film.weights.shape
    width, height = sheet.columns * sheet.place + sheet.labels, sheet.rows * sheet.place + sheet.labels
    figure = style.figure(
        width + 5.6, max(3.4, height + 1.2), title or f"{film.layer}: {counted(F, 'filter')} of {KH}×{KW} weights"
    )
    figure.set_dpi(FILM_DOTS_PER_INCH)
    below = [height - CHART_HEIGHT] if height > CHART_HEIGHT + 1 else []  # free, so that the chart is not a tower
    heights = [CHART_HEIGHT, *below]
    places = figure.add_gridspec(len(heights), 2, width_ratios=[max(width, 1.5), 3.8], height_ratios=heights)
    left, right = figure.add_subplot(places[:, 0]), figure.add_subplot(places[0, 1])
    return figure, left, right


def _draw_loss(axes: Axes, film: _Film, losses: np.ndarray) -> tuple[Any, Any]:
    """The whole curve, faint; the past of a frame, and its marker, still without a place."""
    axes.plot(film.steps, losses, color=style.BLUE, alpha=0.3, linewidth=1.5)
    (past,) = axes.plot([], [], color=style.BLUE, linewidth=2)
    (marker,) = axes.plot([], [], "o", color=style.VERMILION, markersize=9, clip_on=False, zorder=3)
    axes.set_ylabel("training loss", fontsize=style.LABEL)
    if falls_tenfold(losses, losses):
        axes.set(yscale="log", ylabel="training loss (log scale)")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter("{x:g}")
    _label_steps(axes, film)
    return past, marker


def _show(axes: Axes, past: Any, marker: Any, steps: np.ndarray, losses: np.ndarray, t: int) -> None:
    """The curve up to frame t, the marker at its end, and both numbers above."""
    past.set_data(steps[: t + 1], losses[: t + 1])
    marker.set_data(steps[t : t + 1], losses[t : t + 1])
    axes.set_title(f"step {steps[t]:,}: loss {losses[t]:.3g}", fontsize=style.LABEL, pad=10)


def _label_steps(axes: Axes, film: _Film) -> None:
    """A horizontal scale of whole steps."""
    axes.set_xlim(0, film.steps[-1] or 1)
    axes.set_xlabel("\n".join(filter(None, ("training step", film.note))), fontsize=style.LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(which="both", labelsize=style.SMALL)
    style.tidy(axes)
