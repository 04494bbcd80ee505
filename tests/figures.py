"""What is on a figure, and whether all of it can be read."""

from itertools import combinations
from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def drawn_texts(figure):
    """Every text that drawing the figure puts on the canvas."""
    texts = []
    with mock.patch.object(Text, "draw", lambda text, renderer: texts.append(text)):
        FigureCanvasAgg(figure).draw()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def texts(figure):
    return [text.get_text() for text in drawn_texts(figure)]


def images(figure, panel=0):
    return [np.asarray(image.get_array()) for image in figure.axes[panel].images]


def expect_readable(figure):
    """Every text lies on the canvas and on no other text."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text!r} is clipped"
    for (one, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), f"{one!r} and {other!r} overlap"
