"""page and embed: a model as one HTML page in which it runs, in a file or in a notebook."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minigrad.checks import whole_number
from minigrad.notebook import Html, frame
from minigrad.runtime.files import write_whole
from minigrad.viz.filter_tape import FilterTape, check_tape
from minigrad.viz.inputs import check_module, uses_model_info
from minigrad.viz.page.bundle import make_html
from minigrad.viz.page.encoding import plain_text
from minigrad.viz.page.payload import make_payload, make_subject


@uses_model_info
def page(
    model: Any,
    images: Any,
    path: str | Path,
    *,
    labels: Any = None,
    tape: FilterTape | None = None,
    classes: Iterable[Any] | None = None,
    normalize: Any = None,
    title: str | None = None,
) -> Path:
    """Write a page in which a trained model runs: draw, watch every map, change filters, replay the training.

    model      a Module that scores classes; it does not change.  At most 4 million weights and 500 million
               multiplications for an image
    images     (N, C, H, W), or one image; as the model reads them; of more than 200, the first are in the page.  Or a
               Dataset, of which evenly spaced samples are in the page; or a DataLoader, with its first batches
    path       the HTML file; missing folders are created
    labels     (N,) class numbers, for the accuracy; a Dataset or DataLoader has its own
    tape       a FilterTape of the training; with gradients=True, the page shows these, too
    classes    a name for each class number, of any type that has a str(); if None, those of the model's file or of the
               Dataset
    normalize  (mean, std) that pixels from 0 to 1 were normalised with, numbers or one for each channel; if None, those
               of the model's file, else such that the values of the images run from 0 to 1.  A Dataset of images in
               memory without a transform is normalised with them; a DataLoader, and a transform with Normalize, know
               their own
    title      heading; the class of the model if None
    returns    Path of the file

    The file needs no server and no network, and sends nothing.  The browser computes the forward pass in eval mode, and
    compares it with what Python computed: all layers for the first image, and the scores of up to three others.  A
    layer that it does not know is named, and shown for the images in the page only.  A forward that computes something
    else for other images, as by `if x.mean() > 0.3`, or draws random numbers, is refused.

    Raises   ValidationError   the model is too large, returns no scores of classes, or does not compute the same for
                               every image; normalize or a label is out of range, labels are given for a Dataset, or
                               tape has another model's layers
             ShapeError        images or tape do not fit the model; labels, classes or normalize do not fit the images
    Example
    >>> from tempfile import mkdtemp
    >>> import minigrad as mg
    >>> from minigrad.models import LeNet5
    >>> page(LeNet5(), mg.rand(2, 1, 28, 28), mkdtemp() + "/lab.html").name
    'lab.html'
    """
    html = _make("page", model, images, labels, tape, classes, normalize, title)
    write_whole(Path(path), html.encode())
    return Path(path)


@uses_model_info
def embed(
    model: Any,
    images: Any,
    *,
    labels: Any = None,
    tape: FilterTape | None = None,
    classes: Iterable[Any] | None = None,
    normalize: Any = None,
    title: str | None = None,
    height: int = 900,
) -> "EmbeddedPage":
    """Return the page of viz.page for the output of a notebook's cell: make it the last value of the cell.

    model, images, labels, tape, classes, normalize, title   as for viz.page
    height     pixels on the screen; the page scrolls inside, and its lower edge can be dragged
    returns    EmbeddedPage

    The page is as wide as the cell, and has the layout of a phone where that is narrow.  It is stored in the notebook:
    0.8 MB for LeNet-5 and 200 digits, more with more weights, larger images or a tape.  Notebooks exported as HTML show
    it, too.  A notebook of someone else shows it once it is trusted.  What the reader draws and changes is lost when
    the notebook is closed.

    Raises   ValidationError   as viz.page; or height is out of range
             ShapeError        as viz.page
    Example
    >>> import minigrad as mg
    >>> from minigrad.models import LeNet5
    >>> embed(LeNet5(), mg.rand(2, 1, 28, 28))
    EmbeddedPage('LeNet5', height=900)
    """
    height = whole_number("embed", "height", height, 100, 10_000)
    html = _make("embed", model, images, labels, tape, classes, normalize, title)
    return EmbeddedPage(html, _title(model, title), height)


class EmbeddedPage:
    """A page that a notebook shows; made by viz.embed.

    html     text of the page
    title    its heading
    height   pixels on the screen
    """

    def __init__(self, html: str, title: str, height: int):
        self.html, self.title, self.height = html, title, height

    def __repr__(self) -> str:
        return f"EmbeddedPage({self.title!r}, height={self.height})"

    def _repr_html_(self) -> Html:
        """The page in a frame that can run its scripts, and reach neither the notebook nor the network."""
        return frame(self.title, self.height, sandbox="allow-scripts", srcdoc=self.html)


def _title(model: Any, title: str | None) -> str:
    return type(model).__name__ if title is None else plain_text(title)


def _make(
    where: str, model: Any, images: Any, labels: Any, tape: FilterTape | None, classes: Any, normalize: Any,
    title: str | None,
) -> str:  # fmt: skip
    """Return the text of the page."""
    check_module(where, model)
    check_tape(where, tape, model)
    subject = make_subject(where, model, images, labels, classes, normalize)
    heading = _title(model, title)
    return make_html(heading, make_payload(subject, tape, heading), live=False)
