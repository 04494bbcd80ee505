"""Read a digit in a photograph or a drawing, and show which pixels decided.

    python examples/train_mnist.py                  once, for the weights
    python examples/predict.py PHOTO.jpg ...        one digit in each picture, filling a good part of it

A network can read only images like those in its training.  MNIST's digits are white on black and 20 pixels high or
wide, and their centre of mass is in the middle of 28x28 pixels.  Most of this file converts a photograph to such an
image; the prediction itself is short.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

import minigrad as mg
from minigrad.models import LeNet5
from minigrad.viz import save, style
from minigrad.viz.formatting import format_name

MEAN, STD = 0.1307, 0.3081  # as in train_mnist.py
SIDE, BOX, STROKE = 28, 20, 2.5  # pixels: the side of MNIST's images, of the digits in them, and the width of strokes
WORKING_SIDE = 280  # pixels of the longer side to which a photograph is reduced
MOST_PIXELS = 50_000_000  # that are decoded, at 8 bytes each; larger JPEG files are decoded at a reduced size
LEAST_CONTRAST = 0.08  # difference of ink and paper, where black and white differ by 1


def main():
    args = arguments()
    print("the digits, with their probabilities:")
    for number, (path, photograph, digit) in enumerate(args.digits, 1):
        probabilities, decided = read(args.model, digit)
        order = np.argsort(-probabilities)
        likely = ", ".join(f"{d} {probabilities[d]:.1%}" for d in order[:3])
        name = f"{number}_{format_name(path.stem)[:50]}.png"
        picture = save(draw(path.name, photograph, digit, probabilities, decided), args.out / name)
        print(f"  {format_name(path)}: {likely}; see {format_name(picture)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a photograph or drawing of one digit")
    weights = Path("runs/mnist/lenet5.safetensors")
    parser.add_argument(
        "--weights", type=Path, default=weights, help=f"weights from examples/train_mnist.py ({weights})"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/predict"), help="folder for pictures")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    if not args.weights.is_file():
        parser.error(f"--weights: there is no {args.weights}; run python examples/train_mnist.py, which writes it")
    try:
        args.model = LeNet5(image_size=32)
        state = mg.load(args.weights)
        args.model.load_state_dict(state.get("model", state) if isinstance(state, dict) else state)
        args.digits = [(path, *prepare(path)) for path in args.images]
    except mg.errors.MinigradError as error:
        parser.error(str(error))
    return args


# 1. Convert a photograph to an image like MNIST's.


def prepare(path):
    """Return the grey levels of the photograph and its digit, 28x28, white on black; both from 0 to 1."""
    grey = open_upright(path)
    if min(grey.shape) < 8:
        raise mg.errors.DataError(
            f"{path}: only {grey.shape[1]}×{grey.shape[0]} pixels when reduced to fit {WORKING_SIDE}×{WORKING_SIDE}; "
            "give a picture with sides of 8 or more"
        )
    return grey, centred(thicken(crop(extract_ink(grey, path))))


def open_upright(path):
    """Return grey levels, rotated as EXIF says, with white in place of transparent pixels."""
    if not path.is_file():
        raise mg.errors.DataError(f"{path}: no such file; check the name")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # checked below, after draft
    try:
        with Image.open(path) as file:
            file.draft(None, (2 * WORKING_SIDE, 2 * WORKING_SIDE))
            if file.width * file.height > MOST_PIXELS:
                raise mg.errors.DataError(
                    f"{path}: has {file.width}×{file.height} pixels, at most {MOST_PIXELS:,} are read; reduce it"
                )
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):  # 16 bits, which convert would clip at 255
                picture = picture.convert("I").point(lambda level: level / 257).convert("L")
            picture = picture.convert("RGBA")
    except mg.errors.DataError:
        raise
    except Exception as error:  # Pillow's readers raise errors of almost any kind for damaged files
        raise mg.errors.DataError(
            f"{path}: is not an image, or is damaged ({error}); give a PNG or JPEG file"
        ) from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    paper = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(paper, picture).convert("L"), np.float64) / 255


def extract_ink(grey, path):
    """Return the amount of ink at each pixel, 0 to 1, for any lighting and for dark or light ink."""
    smooth = filtered(grey, ImageFilter.GaussianBlur(max(grey.shape) / 200))
    difference = estimate_paper(smooth) - smooth
    if (difference**3).sum() < 0:  # the long tail is ink, which covers little and differs much
        difference = -difference
    between = otsu_threshold(difference)
    written, blank = difference[difference > between], difference[difference <= between]
    contrast = written.mean() - blank.mean() if 0 < written.size < grey.size else 0
    if contrast < LEAST_CONTRAST:
        raise mg.errors.DataError(
            f"{path}: no digit found: ink and paper differ by {contrast:.1%}, expected {LEAST_CONTRAST:.0%} or more; "
            "write with a darker pen, or crop the picture to the digit"
        )
    return ((difference - between) / (written.mean() - between) + 0.5).clip(0, 1) * (
        difference > between - contrast / 4
    )


def estimate_paper(grey):
    """Return the picture without ink: a surface of second degree, fitted to all pixels except outliers."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in grey.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    kept = np.ones(grey.shape, bool)
    for _ in range(8):  # without the pixels whose distance is more than twice the median
        surface = terms @ np.linalg.lstsq(terms[kept], grey[kept], rcond=None)[0]
        distance = np.abs(grey - surface)
        kept = distance <= 2 * np.median(distance) + 1e-6
    return surface


def otsu_threshold(values):
    """Return the number that divides values into the two groups that are farthest apart.  Source: Otsu 1979."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * middles).cumsum()
    distance = sums / np.maximum(below, 1) - (sums[-1] - sums) / np.maximum(above, 1)
    return edges[1 + int((below * above * distance**2).argmax())]


def crop(ink):
    """Return the smallest rectangle that holds all ink."""
    rows, columns = (np.flatnonzero(ink.max(axis) > 0.5) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thicken(ink):
    """Widen strokes to the width of MNIST's; a fine line would fade when the digit is reduced."""
    black = ink > 0.5
    inner = black[1:-1, 1:-1] & black[:-2, 1:-1] & black[2:, 1:-1] & black[1:-1, :-2] & black[1:-1, 2:]
    stroke = 2 * black.sum() / max(black.sum() - inner.sum(), 1)  # twice the area over the length of the outline
    missing = STROKE / BOX * max(ink.shape) - stroke
    if missing < 1:
        return ink
    room = int(missing / 2) + 1
    return filtered(np.pad(ink, room), ImageFilter.MaxFilter(2 * int(missing / 2) + 1))


def filtered(values, filter):
    return np.asarray(Image.fromarray((255 * values).astype(np.uint8)).filter(filter), np.float64) / 255


def centred(ink):
    """Return the digit, 20 pixels high or wide, with its centre of mass in the middle of 28x28 pixels."""
    H, W = (max(1, round(BOX * size / max(ink.shape))) for size in ink.shape)
    small = Image.fromarray((255 * ink).astype(np.uint8)).resize((W, H), Image.Resampling.BOX)
    digit = np.asarray(small, np.float32) / 255
    digit /= digit.max()
    top, left = (
        int(np.clip(round(SIDE / 2 - 0.5 - float(mass @ np.arange(mass.size) / mass.sum())), 0, SIDE - mass.size))
        for mass in (digit.sum(1), digit.sum(0))
    )
    return np.pad(digit, ((top, SIDE - H - top), (left, SIDE - W - left)))


# 2. Predict the digit, and find the pixels that decided.


def read(model, digit):
    """Return the probability of each digit, and each pixel's contribution to the lead of the first over the second.

    The gradient is the change of the lead if a pixel becomes a little brighter.  The gradient times the ink of a pixel
    is the pixel's contribution, as far as the network is linear between black and this image.
    Source: Shrikumar et al. 2016, "Not just a black box" (gradient times input)
    """
    black = np.pad(digit, 2)  # LeNet-5 as trained here takes 32x32 pixels
    image = mg.tensor((black[None, None] - MEAN) / STD, requires_grad=True)
    scores = model(image)
    first, second = np.argsort(-scores.detach().numpy()[0])[:2]
    (scores[0, int(first)] - scores[0, int(second)]).backward()
    decided = image.grad.numpy()[0, 0] * black / STD
    return scores.detach().softmax(1).numpy()[0], decided[2:-2, 2:-2]


def draw(name, photograph, digit, probabilities, decided):
    first, second = np.argsort(-probabilities)[:2]
    figure = style.figure(12, 3.7, f"{name}: a {first}, {probabilities[first]:.1%}")
    panels = figure.subplots(1, 4)
    panels[0].imshow(photograph, cmap="gray", vmin=0, vmax=1)
    panels[1].imshow(digit, cmap="gray", vmin=0, vmax=1)
    norm = style.zero_centred(decided)
    shown = panels[2].imshow(decided, cmap=style.SIGNED, norm=norm)
    panels[2].contour(digit, [0.5], colors=style.GREY, linewidths=0.8)
    style.colour_bar(figure, shown, [panels[2]], f"contribution to the lead of {first} (score)")
    titles = "picture, in grey", "input of the network", f"ink in favour of {first} (red)\nor of {second} (blue)"
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(title, fontsize=style.LABEL)
        axes.set(xticks=[], yticks=[])
    draw_probabilities(panels[3], probabilities)
    return figure


def draw_probabilities(axes, probabilities):
    percent = 100 * probabilities
    colours = [style.BLUE if p == percent.max() else style.GREY for p in percent]
    axes.barh(range(10), percent, color=colours)
    for digit, p in enumerate(percent):
        axes.text(p + 2, digit, f"{p:.1f}", va="center", fontsize=style.SMALL)
    axes.set(xlim=(0, 122), ylim=(9.6, -0.6), yticks=range(10), xticks=(0, 50, 100))
    axes.set_xlabel("probability (%)", fontsize=style.LABEL)
    axes.set_ylabel("digit", fontsize=style.LABEL)
    axes.tick_params(labelsize=style.SMALL)
    style.tidy(axes)


if __name__ == "__main__":
    main()
