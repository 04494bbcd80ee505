"""Say what a picture shows, and which pixels decided: a digit, or a class of a model of your own.

    python examples/train_mnist.py                                            once, for the model of digits
    python examples/predict.py PHOTO.jpg ...                                  one digit in each picture
    python examples/predict.py PHOTO.jpg ... --model runs/folder/model.safetensors      a model of train_folder.py

A network can read only images like those in its training.  A model file says which size, channels and normalisation
these had, so that a photograph is prepared in a line.  MNIST's digits are also white on black and 20 pixels high or
wide, and their centre of mass is in the middle of 28x28 pixels.  Most of this file converts a photograph to such an
image; the prediction itself is short.
"""

import argparse
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from PIL import Image, ImageFilter, ImageOps

import minigrad as mg
from minigrad import datasets, nn, train, viz
from minigrad.models import LeNet5
from minigrad.viz import save, style
from minigrad.viz.formatting import format_name

DIGITS = {  # what a file of train_mnist.py says; older ones hold weights alone
    "class_names": [str(digit) for digit in range(10)],
    "input_size": [1, 28, 28],
    "normalize": [[0.1307], [0.3081]],
    "pad": 2,
}
SIDE, BOX, STROKE = 28, 20, 2.5  # pixels: the side of MNIST's images, of the digits in them, and the width of strokes
WORKING_SIDE = 280  # pixels of the longer side to which a photograph of a digit is reduced
LEAST_CONTRAST = 0.08  # difference of ink and paper, where black and white differ by 1
MOST_BARS, MOST_LETTERS = 10, 28  # classes that are drawn, and letters of their names
LEAST_RESEMBLANCE = (
    0.941  # cosine to the nearest training digit, in smoothed pixels: 99.2 % of the test digits reach it
)
WINDOW, MOST_INK = 8, 0.973  # side in pixels; share of ink in the fullest window, which 99.8 % of them stay below
NO_OTHER = "The network has no answer 'none of these': a picture of anything else gets one of its classes, too."


class Prepared(NamedTuple):
    """A photograph and the image that the network reads, both from 0 to 1: grey levels (H, W), or colours (H, W, 3)."""

    path: Path
    photograph: np.ndarray
    image: np.ndarray


def main():
    args = arguments()
    names = args.model.model_info["class_names"]
    print(f"the {'digits' if is_for_digits(args.model) else 'classes'}, with their probabilities:")
    for number, (path, photograph, image) in enumerate(args.prepared, 1):
        probabilities, decided = (read_digit if is_for_digits(args.model) else read_photograph)(args.model, image)
        likely = ", ".join(f"{names[k]} {probabilities[k]:.1%}" for k in np.argsort(-probabilities)[:3])
        warning = warn_of_no_digit(image) if is_for_digits(args.model) else ""
        figure = draw(path.name, photograph, image, probabilities, decided, names, warning)
        picture = save(figure, args.out / f"{number}_{format_name(path.stem)[:50]}.png")
        print(f"  {format_name(path)}: {likely}; see {format_name(picture)}")
        print(f"    {warning}\n" if warning else "", end="")
    if not is_for_digits(args.model):
        print(f"  {NO_OTHER}  Nothing is known here of its training images, so none is compared with them.")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a photograph or drawing")
    digits = Path("runs/mnist/lenet5.safetensors")
    parser.add_argument(
        "--model", "--weights", type=Path, default=digits, help=f"model of train_folder.py or train_mnist.py ({digits})"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/predict"), help="folder for pictures")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    if not args.model.is_file():
        parser.error(f"--model: there is no {args.model}; run python examples/train_mnist.py, which writes {digits}")
    try:
        args.model = load(args.model)
        prepare = prepare_digit if is_for_digits(args.model) else prepare_photograph
        args.prepared = [prepare(args.model, path) for path in args.images]
    except mg.errors.MinigradError as error:
        parser.error(str(error))
    return args


def load(path):
    """Return the model of a file; weights alone are those of train_mnist.py's LeNet-5."""
    model = mg.load(path)
    if not isinstance(model, nn.Module):
        state, model = model, LeNet5(image_size=32)
        model.load_state_dict(state.get("model", state) if isinstance(state, dict) else state)
        model.model_info = DIGITS
    missing = [name for name in ("class_names", "input_size", "normalize") if name not in model.model_info]
    if missing:
        raise mg.errors.DataError(
            f"{path}: the model does not say its {', '.join(missing)}; write it by mg.save_model(model, file, "
            "class_names=names, input_size=(C, H, W), normalize=(mean, std))"
        )
    return model.eval()


def is_for_digits(model):
    return all(model.model_info[name] == DIGITS[name] for name in ("class_names", "input_size"))


# 1. Photographs for models that say how their images must be prepared.


def prepare_photograph(model, path):
    """Return the photograph, and the middle of it in the size of the model's images."""
    C, H, W = model.model_info["input_size"]
    photograph = datasets.open_image(path, "L" if C == 1 else "RGB", reduce_to=2 * max(H, W))
    image = ImageOps.fit(photograph, (W, H), Image.Resampling.BILINEAR)
    return Prepared(path, *(np.asarray(picture, np.float32) / 255 for picture in (photograph, image)))


def read_photograph(model, image):
    """Return the probability of each class, and how far the lead of the first falls when pixels are hidden."""
    pixels = Image.fromarray(np.uint8(np.rint(255 * image)))
    probabilities = train.predict(model, pixels).probabilities.numpy()[0]
    stride, pad = max(1, min(image.shape[:2]) // 16), model.model_info.get("pad", 0)
    first, second = (
        viz.occlusion_map(model, pixels, target=int(label), stride=stride) for label in np.argsort(-probabilities)[:2]
    )
    H, W = image.shape[:2]
    return probabilities, (first - second)[pad : pad + H, pad : pad + W]


# 2. Convert a photograph of a digit to an image like MNIST's.


def prepare_digit(model, path):
    """Return the grey levels of the photograph, and its digit, 28x28, white on black."""
    picture = datasets.open_image(path, "L", reduce_to=2 * WORKING_SIDE)
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    grey = np.asarray(picture, np.float64) / 255
    if min(grey.shape) < 8:
        raise mg.errors.DataError(
            f"{path}: only {grey.shape[1]}×{grey.shape[0]} pixels when reduced to fit {WORKING_SIDE}×{WORKING_SIDE}; "
            "give a picture with sides of 8 or more"
        )
    return Prepared(path, grey, centred(thicken(crop(extract_ink(grey, path)))))


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


def warn_of_no_digit(digit):
    """Return a warning if an image (28, 28) is unlike all digits of the training, or "" if it is not.

    The probabilities do not tell that: they share out 100 % among the ten digits, whatever the image is.  So the image
    is compared with the training digits themselves.  A shape or letter that looks like a digit gets no warning.
    Source: Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors"; here the features are smoothed
    pixels, because the network's own keep only what separates digits from each other
    """
    fullest = np.lib.stride_tricks.sliding_window_view(digit, (WINDOW, WINDOW)).mean((2, 3)).max()
    if fullest > MOST_INK:
        return (
            f"Is this a digit?  It has no strokes: a window of {WINDOW}×{WINDOW} pixels is full of ink to "
            f"{fullest:.1%}, and 99.8 % of the test digits stay below {MOST_INK:.1%}"
        )
    nearest = float((training_digits() @ smooth(digit[None])[0]).max())
    if nearest < LEAST_RESEMBLANCE:
        return (
            f"Is this a digit?  It resembles no training digit: the cosine to the nearest is {nearest:.3f}, "
            f"and 99.2 % of the test digits reach {LEAST_RESEMBLANCE}"
        )
    return ""


@cache
def training_digits():
    """Return the digits of MNIST's training, smoothed."""
    return smooth(datasets.MNIST().images.reshape(-1, SIDE, SIDE))


def smooth(images):
    """Return images (N, 28, 28) as vectors (N, 196) of length 1: each number is a weighted mean of 6×6 pixels."""
    half = SIDE // 2
    small = np.pad(images.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32), ((0, 0), (1, 1), (1, 1)))
    rows = small[:, :-2] + 2 * small[:, 1:-1] + small[:, 2:]
    vectors = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]).reshape(len(images), -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_digit(model, digit):
    """Return the probability of each digit, and each pixel's contribution to the lead of the first over the second.

    The gradient is the change of the lead if a pixel becomes a little brighter.  The gradient times the ink of a pixel
    is the pixel's contribution, as far as the network is linear between black and this image.
    Source: Shrikumar et al. 2016, "Not just a black box" (gradient times input)
    """
    pad, ((mean,), (std,)) = model.model_info.get("pad", 0), model.model_info["normalize"]
    black = np.pad(digit, pad)
    image = mg.tensor(np.float32((black[None, None] - mean) / std), requires_grad=True)
    scores = model(image)
    first, second = np.argsort(-scores.detach().numpy()[0])[:2]
    (scores[0, int(first)] - scores[0, int(second)]).backward()
    decided = image.grad.numpy()[0, 0] * black / std
    return scores.detach().softmax(1).numpy()[0], decided[pad : pad + SIDE, pad : pad + SIDE]


# 3. Draw what decided.


def draw(name, photograph, image, probabilities, decided, names, warning=""):
    """Draw the photograph, the image that the network reads, the pixels that decided, and the probabilities."""
    first, second = (shorten(names[k]) for k in np.argsort(-probabilities)[:2])
    figure = style.figure(12, 4.1, f"{name}: {first}, {100 * probabilities.max():.1f} %")
    figure.supxlabel(warning or NO_OTHER, fontsize=style.SMALL, color=style.VERMILION if warning else "black")
    panels = figure.subplots(1, 4)
    for axes, picture in zip(panels, (photograph, image), strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
    draw_decided(figure, panels[2], image, decided)
    titles = "picture", "input of the network", f"in favour of {first} (red)\nor of {second} (blue)"
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(title, fontsize=style.LABEL)
        axes.set(xticks=[], yticks=[])
    draw_probabilities(panels[3], probabilities, names)
    return figure


def draw_decided(figure, axes, image, decided):
    """Draw the contributions of pixels with the outline of grey images, or over a colour image in pale colours."""
    norm, alpha = style.zero_centred(decided), None
    if image.ndim == 3:
        axes.imshow(0.3 + 0.6 * image)
        alpha = 0.9 * np.sqrt(np.abs(decided) / norm.vmax)
    elif np.ptp(image) > 0:
        axes.contour(image, [(image.min() + image.max()) / 2], colors=style.GREY, linewidths=0.8)
    axes.imshow(decided, cmap=style.SIGNED, norm=norm, alpha=alpha)
    scale = ScalarMappable(norm, style.SIGNED)
    style.colour_bar(figure, scale, [axes], "contribution to the lead (score)")


def draw_probabilities(axes, probabilities, names):
    """Draw a bar for each class; of many, for the most likely ones."""
    shown = np.sort(np.argsort(-probabilities, kind="stable")[:MOST_BARS])
    percent = 100 * probabilities[shown]
    axes.barh(range(len(shown)), percent, color=[style.BLUE if p == percent.max() else style.GREY for p in percent])
    for row, p in enumerate(percent):
        axes.text(p + 2, row, f"{p:.1f}", va="center", fontsize=style.SMALL)
    axes.set(xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6), xticks=(0, 50, 100))
    axes.set_yticks(range(len(shown)), [shorten(names[k]) for k in shown])
    axes.set_xlabel("probability (%)", fontsize=style.LABEL)
    axes.tick_params(labelsize=style.SMALL)
    style.tidy(axes)


def shorten(name):
    """Return a name, with its middle left out if it is long."""
    text, half = format_name(name), MOST_LETTERS // 2
    return text if len(text) <= MOST_LETTERS else f"{text[: half - 1]}…{text[-half:]}"


if __name__ == "__main__":
    main()
