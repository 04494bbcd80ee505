"""Helpers for tests of figures: read what a figure shows, and check that its text is readable."""

from itertools import combinations
from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def drawn_texts(figure):
    """Return every Text that drawing the figure puts on the canvas."""
    texts = []
    with mock.patch.object(Text, "draw", lambda text, renderer: texts.append(text)):
        FigureCanvasAgg(figure).draw()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def drawn_strings(figure):
    """Return the strings of all drawn texts."""
    return [text.get_text() for text in drawn_texts(figure)]


def image_arrays(figure, panel=0):
    """Return the arrays of the images in one panel."""
    return [np.asarray(image.get_array()) for image in figure.axes[panel].images]


def check_readable(figure):
    """Check that every text lies inside the canvas and overlaps no other text."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text!r} is clipped"
    for (text, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), f"{text!r} and {other!r} overlap"
