"""Pictures of coloured shapes, drawn by Pillow: a small problem in colour that needs no file."""

import colorsys
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..checks import LARGEST_SEED, whole_number
from ..data import ImageDataset

SHAPES, TEXTURES = ("disc", "square", "triangle"), ("plain", "striped")
COLOURS = {"red": 0.0, "green": 0.36, "blue": 0.62}  # hues, as parts of the colour circle
CLASSES = [" ".join(words) for words in product(TEXTURES, COLOURS, SHAPES)]
SIDE, SCALE = 32, 4  # pixels of a picture, and how many times larger it is drawn to have smooth edges


class ColorShapes(ImageDataset):
    """Pictures of discs, squares and triangles, plain or striped, in red, green or blue: 18 classes.

    n                 count   pictures; the classes take turns
    seed              0 or more   the same seed gives the same pictures
    transform         function of a PIL image
    target_transform  function of the label

    images            (n, 3, 32, 32)  uint8
    labels            (n,)            0 to 17
    classes           names, such as 'striped blue square'

    Position, size, rotation, hue, brightness and background are random, so that only shape, colour and texture identify
    the class.
    Raises   ValidationError   n is below 1, or seed below 0
    Example
    >>> pictures = ColorShapes(20)
    >>> pictures.images.shape, pictures.classes[pictures.labels[19]]
    ((20, 3, 32, 32), 'plain red square')
    """

    def __init__(self, n: int = 6000, seed: int = 0, transform: Any = None, target_transform: Any = None):
        n = whole_number("ColorShapes", "n", n, least=1)
        random = np.random.default_rng(whole_number("ColorShapes", "seed", seed, least=0, most=LARGEST_SEED))
        labels = np.arange(n) % len(CLASSES)
        images = np.stack([_draw(int(label), random) for label in labels])
        super().__init__(images, labels, transform=transform, target_transform=target_transform)
        self.classes = CLASSES.copy()


def _draw(label: int, random: np.random.Generator) -> np.ndarray:
    """Return a picture of a class, (3, 32, 32) uint8."""
    texture, colour, shape = CLASSES[label].split()
    fill, dark = _to_rgb(COLOURS[colour] + random.normal(0, 0.02), random.uniform(0.7, 1)), random.uniform(0.2, 0.5)
    paper = _to_rgb(random.uniform(), random.uniform(0.3, 0.9), random.uniform(0, 0.3))
    picture = Image.new("RGB", (SIDE * SCALE,) * 2, paper)
    x, y = random.uniform(12, 20, 2) * SCALE
    radius, turn = random.uniform(8, 11) * SCALE, random.uniform(0, 360)
    mask = Image.new("L", picture.size)
    _draw_outline(ImageDraw.Draw(mask), shape, x, y, radius, turn)
    surface = Image.new("RGB", picture.size, fill)
    if texture == "striped":
        _draw_stripes(ImageDraw.Draw(surface), tuple(int(dark * level) for level in fill), random)
    picture.paste(surface, mask=mask)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    return (small + random.normal(0, 8, small.shape)).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def _to_rgb(hue: float, value: float, saturation: float = 0.9) -> tuple[int, int, int]:
    r, g, b = (round(255 * level) for level in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return r, g, b


def _draw_outline(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, turn: float) -> None:
    if shape == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        pen.regular_polygon((x, y, 1.15 * radius), 4 if shape == "square" else 3, turn, fill=255)


def _draw_stripes(pen: ImageDraw.ImageDraw, colour: Any, random: np.random.Generator) -> None:
    """Draw bars of 2 pixels every 4 pixels, vertical or horizontal."""
    start, vertical = int(random.uniform(0, 4 * SCALE)), random.integers(2)
    for at in range(start - 4 * SCALE, SIDE * SCALE, 4 * SCALE):
        far, wide = SIDE * SCALE, at + 2 * SCALE - 1
        pen.rectangle((at, 0, wide, far) if vertical else (0, at, far, wide), fill=colour)
