"""The look that every picture shares: palette, colour maps, letter sizes, and how a figure is made and saved."""

import textwrap
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
from matplotlib.text import Text
from numpy.typing import ArrayLike

from minigrad.viz.formatting import plain

# Told apart with every common form of colour blindness.  Source: Okabe & Ito 2008, "Color Universal Design"
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#888888"
PALE = "#DCE9F3"  # a ground behind black letters
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GREY)

SIGNED = colormaps["RdBu_r"]  # blue below zero, white at zero, red above
AMOUNT = colormaps["YlOrBr"]  # pale for little, dark brown for much

TITLE, LABEL, SMALL = 13, 11, 9  # letter sizes in points
DOTS_PER_INCH = 120


class Picture(Figure):
    """A matplotlib Figure that a notebook shows by itself, without pyplot.

    Text is drawn as it stands: names of classes, layers and files may hold a `$`, which begins no formula here.
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
    title          heading of the whole figure, broken into lines where it is too long for the width
    compress       whether panels of a fixed shape move together; in subfigures labels are lost so
    returns        Picture, a matplotlib Figure made without pyplot

    >>> figure(4, 3, "Loss").get_suptitle()
    'Loss'
    """
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04, compress=compress)
    picture = Picture(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
    if title:
        picture.suptitle(_broken(plain(title), letters=int(width * 72 / (0.6 * TITLE))), fontsize=TITLE)
    return picture


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, making the folders on its way.

    figure   any matplotlib Figure
    path     file whose ending names the format: .png .svg .pdf
    returns  Path of the written file

    >>> from tempfile import mkdtemp
    >>> save(Picture(), mkdtemp() + "/run 1/filters.png").name
    'filters.png'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def zero_centred(*arrays: ArrayLike) -> Normalize:
    """Make the colour scale, as wide below zero as above, that holds every value of the arrays.

    arrays   any shapes, finite
    returns  Normalize from -m to m, where m is the largest absolute value, or 1 if all are zero

    >>> zero_centred([-3.0, 1.0], [2.0]).vmax
    3.0
    """
    limit = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return Normalize(-limit, limit)


def tidy(axes: Axes) -> None:
    """Take the frame's upper and right side off a chart and lay a faint grid behind its curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def colour_bar(figure: Figure | SubFigure, scale: ScalarMappable, axes: list[Axes], label: str) -> Colorbar:
    """Add the legend of a colour scale, a fifth of an inch wide, to the right of the axes that share it."""
    bar = figure.colorbar(scale, ax=axes, aspect=5 * figure.bbox.height / figure.dpi, pad=0.03)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def _broken(text: str, letters: int) -> str:
    """The text in lines of at most so many letters; its own line breaks stay."""
    return "\n".join(textwrap.fill(line, letters) for line in text.splitlines())
