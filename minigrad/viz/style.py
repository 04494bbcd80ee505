"""The style of all pictures: palette, colour maps, font sizes, and functions to make, label and save figures."""

import textwrap
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from minigrad.viz.formatting import format_name

# Distinguishable with every common form of colour blindness.  Source: Okabe & Ito 2008, "Color Universal Design"
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#888888"
PALE = "#DCE9F3"  # background of black text
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GREY)

SIGNED = colormaps["RdBu_r"]  # blue below zero, white at zero, red above
AMOUNT = colormaps["YlOrBr"]  # pale for small values, dark brown for large ones

TITLE, LABEL, SMALL = 13, 11, 9  # font sizes in points
LETTER, LINE = 0.085, 0.16  # inches, width and height of a small letter
DOTS_PER_INCH = 120
WIDEST = 13.5  # inches, of a gallery


class Picture(Figure):
    """A matplotlib Figure that a notebook shows by itself, without pyplot.

    Text is drawn literally: names of classes, layers and files may contain a `$`, which starts no formula here.
    """

    def draw(self, renderer: RendererBase) -> None:
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def figure(width: float, height: float, title: str | None = None, compress: bool = True) -> Picture:
    """Make an empty figure whose layout leaves room for every label.

    width, height  inches
    title          heading of the figure; wrapped if it is longer than the width
    compress       whether panels of a fixed aspect ratio move together; False where subfigures would lose labels
    returns        Picture, a matplotlib Figure made without pyplot

    >>> figure(4, 3, "Loss").get_suptitle()
    'Loss'
    """
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04, compress=compress)
    picture = Picture(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
    if title:
        picture.suptitle(wrap(format_name(title), letters=int(width * 72 / (0.6 * TITLE))), fontsize=TITLE)
    return picture


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file and create missing folders.

    figure   any matplotlib Figure
    path     the file; its extension selects the format: .png .svg .pdf
    returns  Path of the file

    >>> from tempfile import mkdtemp
    >>> save(Picture(), mkdtemp() + "/run 1/filters.png").name
    'filters.png'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def zero_centred(*arrays: ArrayLike) -> Normalize:
    """Make a colour scale from -m to m, where m is the largest absolute value of all arrays, or 1 if that is zero.

    arrays   any shapes, finite
    returns  Normalize

    >>> zero_centred([-3.0, 1.0], [2.0]).vmax
    3.0
    """
    limit = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return Normalize(-limit, limit)


def tidy(axes: Axes) -> None:
    """Remove the upper and right side of a chart's frame and draw a faint grid behind its curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def use_log_scale(axes: Axes, label: str) -> None:
    """Give a chart a logarithmic vertical scale with plain numbers."""
    axes.set(yscale="log", ylabel=f"{label} (log scale)")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())  # matplotlib's are formulas, which a Picture draws as $...$


def colour_bar(figure: Figure | SubFigure, scale: ScalarMappable, axes: list[Axes], label: str) -> Colorbar:
    """Add the legend of a colour scale, a fifth of an inch wide, to the right of the axes that share it."""
    bar = figure.colorbar(scale, ax=axes, aspect=5 * figure.bbox.height / figure.dpi, pad=0.03)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def grid_shape(n: int, most_columns: int) -> tuple[int, int]:
    """Return the smallest number of rows for n panels, and the number of columns that fills them most evenly.

    >>> grid_shape(10, most_columns=8)
    (2, 5)
    """
    rows = -(-n // most_columns)
    return rows, -(-n // rows)


def add_panels(figure: Figure, rows: int, columns: int, n: int) -> list[Axes]:
    """Add a grid of panels to a figure and return the first n; the others stay blank."""
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[n:]:
        panel.set_axis_off()
    return list(panels[:n])


def gallery(
    title: str, lines: Iterable[str], n: int, most_columns: int, cell: float, aspect: float, rows: int = 1
) -> tuple[Picture, np.ndarray]:
    """Make a figure with panels for n images of one size, wide enough for the longest line of text above or below one.

    lines         text of all panels
    most_columns  panels beside each other; fewer if the figure would be wider than a screen
    cell          inches, least width of an image
    aspect        height by width of the images
    rows          panels above each other that belong to one image
    returns       Picture, and panels (rows, n)
    """
    texts = [text for text in lines if text]
    longest = max((len(line) for text in texts for line in text.splitlines()), default=0)
    height = max((len(text.splitlines()) for text in texts), default=0)
    width = max(cell, LETTER * longest)
    down, across = grid_shape(n, min(most_columns, max(1, int(WIDEST / (width + 0.2)))))
    side = min(width, 1.4 * cell)
    each = side * min(max(aspect, 0.3), 2.0) + LINE * height + 0.4
    picture = figure(max(6.0, (width + 0.2) * across + 0.4), each * rows * down + 0.7, title, compress=False)
    cells = picture.subplots(down * rows, across, squeeze=False)
    panels = cells.reshape(down, rows, across).transpose(1, 0, 2).reshape(rows, down * across)
    for panel in panels[:, n:].ravel():
        panel.set_axis_off()
    return picture, panels[:, :n]


def draw_thin_frame(axes: Axes) -> None:
    """Draw a thin frame without ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=GREY, linewidth=0.8)


def draw_frame(axes: Axes, rows: Sequence[int] | np.ndarray, cols: Sequence[int] | np.ndarray, colour: str) -> None:
    """Draw a frame around pixels of a picture, if there are any.

    White beside it lets it stand out where the picture has its colour; around one pixel, white would hide the pixel.
    """
    if not len(rows) or not len(cols):
        return
    corner, width, height = (cols[0] - 0.5, rows[0] - 0.5), cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1
    frame = Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=2, clip_on=False)
    frame.set_path_effects([withStroke(linewidth=4, foreground="white")] if width * height > 1 else [])
    axes.add_patch(frame)


def wrap(text: str, letters: int) -> str:
    """Wrap text to lines of at most `letters` letters; keep its line breaks."""
    return "\n".join(textwrap.fill(line, letters) for line in text.splitlines())
