"""HTML that a notebook shows: text, tables, and images as inline PNGs.

All text is escaped.  Colours of text and background are the notebook's own, light or dark.
"""

import base64
import html
import io
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

MOST_IMAGES = 16  # of a tensor or a batch
SMALL, LARGE = 72, 320  # pixels on the screen: the side of one image of many, and of a single one
LEAST_SIDE, MOST_SIDE = 8, 1 << 13  # pixels of what is taken for an image
LONGEST = 4  # sides of a matrix that is taken for an image: one is at most so many times the other

PRE = "margin:0.3em 0;background:none;color:inherit;overflow:auto"
GRID = "display:flex;flex-wrap:wrap;gap:6px;margin:0.3em 0"
CELL = "padding:0.1em 0.6em"
SCROLL = "max-height:30em;overflow:auto;display:inline-block;max-width:100%"


class Html(str):
    """Text that is HTML already."""


def escape(value: Any) -> Html:
    """Return any value as HTML; Html stays as it is.  A lone surrogate, as in a file name, becomes \\\\udce9.

    >>> escape("cats & <dogs>")
    'cats &amp; &lt;dogs&gt;'
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(str(value).encode("utf-8", "backslashreplace").decode()))


def stack(*parts: Any) -> Html:
    """Return one element with the parts below each other; empty ones are left out."""
    return Html("<div>" + "\n".join(f"<div>{escape(part)}</div>" for part in parts if part) + "</div>")


def preformatted(text: str, height: str = "none") -> Html:
    """Return text of several lines, in letters of equal width, which scrolls if it is higher, as "15em"."""
    return Html(f'<pre style="{PRE};max-height:{height}">{escape(text)}</pre>')


def table(lines: Iterable[Sequence[Any]], text_columns: Collection[int] = (), head: bool = True) -> Html:
    """Return a table, which scrolls if it is long.

    lines         cells, line by line; the first line is the head
    text_columns  numbers of the columns that are aligned to the left; the others hold numbers

    >>> table([("class", "images"), ("<A>", 3)], text_columns={0}).count("&lt;A&gt;")
    1
    """
    rows = []
    for number, line in enumerate(lines):
        tag = "th" if head and number == 0 else "td"
        sides = ("left" if column in text_columns else "right" for column in range(len(line)))
        cells = (
            f'<{tag} style="{CELL};text-align:{side}">{escape(x)}</{tag}>' for side, x in zip(sides, line, strict=True)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return Html(f'<div style="{SCROLL}"><table style="color:inherit">\n' + "\n".join(rows) + "\n</table></div>")


def frame(title: str, height: int, **attributes: str) -> Html:
    """Return another page in a box as wide as the cell, whose height the reader can change.

    title        what a screen reader says
    height       pixels on the screen
    attributes   of the iframe: src, or srcdoc with the text of the page; sandbox

    >>> frame("a < b", 300, src="http://127.0.0.1/").count('title="a &lt; b"')
    1
    """
    style = f"display:block;box-sizing:border-box;width:100%;height:{height}px;border:1px solid #888;resize:vertical"
    texts = {"title": title, "style": style, "referrerpolicy": "no-referrer", **attributes}
    written = " ".join(f'{name}="{escape(text)}"' for name, text in texts.items())
    return Html(f"<iframe {written}></iframe>")


# ---- pictures


def inline_image(data: bytes, kind: str, description: str, style: str = "") -> Html:
    """Return the content of an image file, "png" or "gif", as an element that needs no other file."""
    alt, encoded = escape(" ".join(description.split())), base64.b64encode(data).decode()
    return Html(f'<img alt="{alt}" style="{style}" src="data:image/{kind};base64,{encoded}">')


def picture(figure: Any, description: str = "picture", style: str = "max-width:100%") -> Html:
    """Return a matplotlib Figure, on its own white background; its title is the description if it has one."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return inline_image(buffer.getvalue(), "png", figure.get_suptitle() or description, style)


def pixel_image(pixels: np.ndarray, side: int = SMALL, description: str = "image") -> Html:
    """Return an image, enlarged by a whole number or reduced to about `side` pixels on the screen.

    pixels   (1, H, W) or (3, H, W)  uint8
    """
    from PIL import Image  # imported here, because most programs show no image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2)))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    width = image.width * max(1, side // max(image.size))
    style = f"width:{width}px;max-width:none;margin:0;image-rendering:pixelated;outline:1px solid #888"
    return inline_image(buffer.getvalue(), "png", description, style)


def image_grid(images: Sequence[np.ndarray], captions: Sequence[Any] = ()) -> Html:
    """Return images (C, H, W) uint8 beside each other, each with its caption below."""
    side = LARGE if len(images) == 1 else SMALL
    cells = []
    for number, pixels in enumerate(images):
        caption = escape(captions[number]) if len(captions) else ""
        text = f'<div style="max-width:{side + 20}px;overflow-wrap:anywhere">{caption}</div>' if caption else ""
        image = pixel_image(pixels, side, f"image {number}")
        cells.append(f'<div style="text-align:center;line-height:1.2;font-size:smaller">{image}{text}</div>')
    return Html(f'<div style="{GRID}">' + "\n".join(cells) + "</div>")


class Pixels(NamedTuple):
    """Images (N, C, H, W) uint8, and a remark on their scale."""

    images: np.ndarray
    remark: str


def image_axes(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return (N, C, H, W) of an array that can be shown as images; None if it cannot.

    shape   (N, C, H, W) or (C, H, W), C 1 or 3; or (H, W), if one side is at most 4 times the other

    >>> image_axes((64, 1, 28, 28)), image_axes((28, 28)), image_axes((64, 10))
    ((64, 1, 28, 28), (1, 1, 28, 28), None)
    """
    if len(shape) not in (2, 3, 4):
        return None
    N, C, H, W = full = (1,) * (4 - len(shape)) + tuple(shape)
    fits = N > 0 and C in (1, 3) and min(H, W) >= LEAST_SIDE and max(H, W) <= MOST_SIDE
    return full if fits and (len(shape) > 2 or max(H, W) <= LONGEST * min(H, W)) else None


def as_pixels(images: np.ndarray) -> Pixels:
    """Return images of any dtype as bytes, all with one scale.

    Bytes stay as they are.  Floats from 0 (black) to 1 (white) have that scale; other numbers that from the lowest to
    the highest, which the remark names.

    >>> as_pixels(np.array([[[[-1.0, 3.0]]]]))
    Pixels(images=array([[[[  0, 255]]]], dtype=uint8), remark='black is -1, white is 3')
    """
    if images.dtype == np.uint8:
        return Pixels(images, "")
    known = np.isfinite(images)
    low, high = _choose_scale(images[known])
    remarks = [] if (low, high) == (0, 1) else [f"black is {low:.3g}, white is {high:.3g}"]
    if not known.all():
        remarks.append(f"nan or infinite: {np.count_nonzero(~known):,} numbers, drawn black")
    shares = np.where(known, images.astype(np.float64) - low, 0) / ((high - low) or 1)
    return Pixels(np.rint(255 * shares).astype(np.uint8), "; ".join(remarks))


def _choose_scale(values: np.ndarray) -> tuple[float, float]:
    """Return the numbers that are black and white."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (0.0, 1.0) if values.dtype.kind in "fb" and low >= 0 and high <= 1 else (low, high)


def tensor_with_images(text: str, shape: Sequence[int], read: Callable[[], np.ndarray]) -> Html | None:
    """Return the text of a tensor and its first images; None if its shape is not that of images.

    read   returns the values, which are not read for other shapes
    """
    axes = image_axes(shape)
    return None if axes is None else stack(preformatted(text, height="15em"), batch_of_images(read().reshape(axes)))


def batch_of_images(images: np.ndarray, captions: Sequence[Any] = ()) -> Html:
    """Return the first images of a batch (N, C, H, W), and a line about them."""
    N, pixels = len(images), as_pixels(images[:MOST_IMAGES])
    count = f"the first {len(pixels.images)} of {N:,} images" if len(pixels.images) < N else ""
    return stack(image_grid(list(pixels.images), captions), "; ".join(filter(None, (count, pixels.remark))))
