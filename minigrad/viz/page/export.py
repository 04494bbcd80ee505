"""page: write a model as one HTML file in which it runs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minigrad.runtime.files import write_whole
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.inputs import uses_model_info
from minigrad.viz.page.bundle import make_html
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
    compares it with values that Python computed for the first image.  A layer that it does not know is named, and shown
    for the images in the page only.

    Raises   ValidationError   the model returns no scores or is too large, normalize or a label is out of range, or
                               labels are given for a Dataset
             ShapeError        images do not fit the model; labels, classes or normalize do not fit the images
    Example
    >>> from tempfile import mkdtemp
    >>> import minigrad as mg
    >>> from minigrad.models import LeNet5
    >>> page(LeNet5(), mg.rand(2, 1, 28, 28), mkdtemp() + "/lab.html").name
    'lab.html'
    """
    subject = make_subject("page", model, images, labels, classes, normalize)
    title = type(model).__name__ if title is None else title
    path = Path(path)
    write_whole(path, make_html(title, make_payload(subject, tape, title), live=False).encode())
    return path
