"""Animated GIF files: their speed is checked before anything is drawn, and only what changes is drawn again."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from minigrad.errors import ValidationError

MOST_FRAMES_PER_SECOND = 50  # browsers slow down a faster GIF


class Stage:
    """A figure whose layout and background are drawn once.

    figure   as it looks in the frame that needs most room
    moving   artists that are no part of the background
    """

    def __init__(self, figure: Figure, moving: Iterable[Artist]):
        self._figure, self._canvas = figure, FigureCanvasAgg(figure)
        self._canvas.draw()
        figure.set_layout_engine("none")
        for artist in moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(figure.bbox)

    def render(self, artists: Iterable[Artist]) -> Image.Image:
        """Return a frame: the background with artists on it, in their order."""
        self._canvas.restore_region(self._background)
        for artist in artists:
            self._figure.draw_artist(artist)
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3].copy())


def check_speed(where: str, frames_per_second: float, hold: float) -> None:
    """Raise ValidationError for a number of frames or of seconds that is out of range."""
    if not 0 < frames_per_second <= MOST_FRAMES_PER_SECOND:
        raise ValidationError(
            f"{where}: frames_per_second is {frames_per_second}; use a number above 0 and at most "
            f"{MOST_FRAMES_PER_SECOND}"
        )
    if not 0 <= hold < np.inf:
        raise ValidationError(f"{where}: hold is {hold}; use a number of seconds of 0 or more")


def write_gif(path: str | Path, images: Sequence[Image.Image], frames_per_second: float, hold: float) -> Path:
    """Write images as an endless animation whose last frame stays `hold` seconds longer; make missing folders."""
    centiseconds = max(2, round(100 / frames_per_second))
    durations = [10 * centiseconds] * len(images)  # milliseconds
    durations[-1] += 10 * round(100 * hold)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return path
