"""Hand-made filters, and the filters that a network learns.

    python examples/hand_made_filters.py                a drawn scene, and a LeNet-5 trained for a few seconds
    python examples/hand_made_filters.py PHOTO.jpg      another picture
    python examples/hand_made_filters.py --weights runs/mnist/lenet5.safetensors

A convolution moves a small window over a picture and computes, at every position, the sum of pixels times weights.  The
weights decide which patterns it finds.  Here they are first chosen by hand, and then learned.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, optim
from minigrad.models import LeNet5
from minigrad.viz import save, slide_window, style, window_positions

# 1. Five weights in a row can compute a mean, a difference (where does it become brighter?), or a difference of
#    differences (where is it brighter than on both sides?).  The product of a column and a row is a 5x5 window.  A
#    column MEAN and a row SLOPE form Sobel's edge detector: the pixels on the right minus those on the left, averaged
#    along the edge.  MEAN and BEND, in both orders, form Laplace's.  The weights of the last four filters add up to 0,
#    so that a uniform area gives 0.  The last filter, SLOPE in both directions, finds slanted edges, such as those of a
#    roof: each gives a positive line beside a negative one.  It also responds to corners and ends of lines.  Only a
#    second layer, which compares the outputs of several filters, can tell these apart.
MEAN, SLOPE, BEND = np.array([[1, 4, 6, 4, 1], [-1, -2, 0, 2, 1], [1, 0, -2, 0, 1]], np.float32)
DOT = np.array([0, 0, 1, 0, 0], np.float32)
FILTERS = {
    "unchanged": np.outer(DOT, DOT),
    "blur": np.outer(MEAN, MEAN) / 256,
    "outlines": (np.outer(MEAN, BEND) + np.outer(BEND, MEAN)) / 64,
    "vertical edges": np.outer(MEAN, SLOPE) / 48,
    "horizontal edges": np.outer(SLOPE, MEAN) / 48,
    "slanted edges": np.outer(SLOPE, SLOPE) / 18,
}


def main():
    args = arguments()
    save(draw_outputs(args.picture), args.out / "answers.png")
    draw_windows(args.out)
    mg.manual_seed(args.seed)
    model = LeNet5()
    random = model.conv1.weight.detach().clone().numpy()
    if args.weights is None:
        train(model, args.seed)
    else:
        model.load_state_dict(args.weights)
    save(draw_nearest(model.conv1.weight.detach().numpy(), random), args.out / "learned.png")
    print(f"pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", type=Path, help="a picture (a drawn scene)")
    parser.add_argument("--weights", type=Path, help="a LeNet-5, or its weights (a new one is trained)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/hand_made_filters"), help="folder for pictures")
    args = parser.parse_args()
    if not 0 <= args.seed < 2**64:
        parser.error(f"--seed is {args.seed}; use 0 to 2**64 - 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    try:
        args.picture = scene() if args.image is None else photograph(args.image)
    except mg.errors.DataError as error:
        parser.error(str(error))
    if min(args.picture.shape) < 16:
        H, W = args.picture.shape
        parser.error(
            f"{args.image} is {W}×{H} pixels when reduced to fit 320×320; give a picture with sides of 16 or more"
        )
    if args.weights is not None:
        try:
            loaded = mg.load(args.weights)
            args.weights = loaded.state_dict() if isinstance(loaded, nn.Module) else loaded
            LeNet5().load_state_dict(args.weights)
        except (mg.errors.DataError, mg.errors.StateError) as error:
            parser.error(f"--weights: {error}")
    return args


def photograph(path):
    """Return the grey levels of a file, 0 to 1, rotated upright and reduced to fit 320×320 pixels."""
    picture = datasets.open_image(path, "L", reduce_to=640)
    picture.thumbnail((320, 320))
    return np.asarray(picture, np.float32) / 255


def scene():
    """Draw a brick house, a tree, a fence and the sun, four times as large, and reduce it to get smooth edges."""
    picture = Image.new("L", (960, 720), 200)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 520, 960, 720), fill=120)
    pen.ellipse((60, 50, 210, 200), fill=250)
    pen.rectangle((330, 280, 690, 580), fill=150)
    for row, y in enumerate(range(280, 580, 30)):
        pen.line((330, y, 690, y), fill=110, width=6)
        for x in range(330 + 30 * (row % 2), 690, 60):
            pen.line((x, y, x, y + 30), fill=110, width=6)
    pen.polygon([(290, 290), (510, 110), (730, 290)], fill=60)
    for box in ((380, 340, 460, 430), (560, 340, 640, 430), (470, 450, 550, 580)):
        pen.rectangle(box, fill=30, outline=235, width=12)
    for box in ((10, 530, 320, 546), *((x, 480, x + 20, 620) for x in range(20, 320, 40))):
        pen.rectangle(box, fill=235)
    pen.rectangle((810, 380, 850, 610), fill=70)
    pen.ellipse((730, 170, 930, 430), fill=90)
    return np.asarray(picture.resize((240, 180), Image.Resampling.LANCZOS), np.float32) / 255


# 2. Every filter is one F.conv2d: images (N, C, H, W), weights (F, C, KH, KW).  The output is 4 pixels smaller in both
#    directions, since a 5x5 window cannot be centred on the outer pixels.


def convolve(image, weight, **settings):
    return F.conv2d(mg.tensor(image[None, None]), mg.tensor(weight[None, None]), **settings).numpy()[0, 0]


def draw_outputs(picture):
    height = 2 * (3.7 * picture.shape[0] / picture.shape[1] + 2.1)
    figure = style.figure(12, height, "Six filters: the weights of the window, and the output for a picture")
    print(f"picture of {picture.shape[0]}×{picture.shape[1]} pixels, 0 black to 1 white; the output of each filter:")
    for axes, (name, weight) in zip(figure.subplots(2, 3).flat, FILTERS.items(), strict=True):
        output = convolve(picture, weight)
        print(f"  {name:17} {output.shape[0]}×{output.shape[1]}, from {output.min():+.2f} to {output.max():+.2f}")
        draw_output(axes, weight, output, is_picture=name in ("unchanged", "blur"))
        axes.set_title(name, fontsize=style.LABEL)
    figure.supxlabel("red: above 0, blue: below 0, white: 0; the scales differ", fontsize=style.SMALL)
    return figure


def draw_output(axes, weight, output, is_picture):
    """Draw the weights, and below them the output: grey for a picture, red and blue for signed values."""
    (H, W), strong = output.shape, np.quantile(np.abs(output), 0.998) or 1
    colours, low, high = ("gray", 0, 1) if is_picture else (style.SIGNED, -strong, strong)
    axes.imshow(output, cmap=colours, vmin=low, vmax=high, extent=(0, W, H, 0))
    top = -0.4 * W
    axes.imshow(weight, cmap=style.SIGNED, norm=style.zero_centred(weight), extent=(0.31 * W, 0.69 * W, -0.02 * W, top))
    axes.set(xlim=(0, W), ylim=(H, top))
    axes.set_axis_off()


# 3. The stride is the distance between two positions of the window.  The padding is the number of rows of zeros around
#    the image.  The dilation is the distance between the pixels of a window.  A window of K pixels has
#    (H + 2*padding - K) // stride + 1 positions along H pixels.


def draw_windows(folder):
    """Draw the windows of a 3x3 edge detector on a bright square of 9x9 pixels, and an animation of its sums."""
    image, edge = np.zeros((9, 9), np.float32), np.outer([1, 2, 1], [-1, 0, 1]).astype(np.float32)
    image[1:7, 2:6] = 1
    print("9×9 pixels and a 3×3 window:")
    for stride, padding in ((1, 0), (1, 1), (2, 0), (2, 1)):
        S = len(convolve(image, edge, stride=stride, padding=padding))
        print(f"  stride {stride}, padding {padding}: {S}×{S}, since (9 + 2*{padding} - 3) // {stride} + 1 = {S}")
    save(window_positions(image, edge, stride=2, padding=1), folder / "stride_and_padding.png")
    save(window_positions(image, edge, dilation=2), folder / "dilation.png")
    slide_window(image, edge, folder / "sliding.gif", stride=2, padding=1)


# 4. Nobody tells a network which patterns to find.  After three epochs, are the hand-made filters among its filters?
#    The correlation of two windows is 1 if they are alike, 0 if they have nothing in common, and -1 if they are
#    opposites.  An edge from dark to bright is as good as one from bright to dark, so the sign does not count.  Among
#    six random filters one always resembles a given filter a little; the row of random filters shows how much.  Weight
#    decay pulls all weights to 0, so that of the random start only the useful part remains.


def train(model, seed):
    digits = data.DataLoader(datasets.MNIST(), 128, shuffle=True, seed=seed, drop_last=True, normalize=(0.1307, 0.3081))
    optimizer = optim.AdamW(model.parameters(), weight_decay=0.3)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=3 * len(digits), cycle_momentum=False)

    @mg.graph
    def step(images, labels):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(3):
        for images, labels in digits:
            step(images, labels)
            scheduler.step()


def nearest(weight, filters):
    """Return the number of the filter with the largest absolute correlation to the weights, and the correlation."""
    correlation = np.corrcoef(weight.ravel(), filters.reshape(len(filters), -1))[0, 1:]
    best = int(np.abs(correlation).argmax())
    return best, correlation[best]


def draw_nearest(learned, random):
    figure = style.figure(
        10.5, 6.4, "Hand-made filters, and the filters of LeNet-5's first layer with the strongest correlation"
    )
    cells = figure.subplots(3, len(FILTERS) - 1)
    print("strongest correlation with one of LeNet-5's six filters, trained and random; below 0: the opposite:")
    for column, (name, weight) in zip(cells.T, list(FILTERS.items())[1:], strict=True):
        draw_filter(column[0], weight, "")
        column[0].set_title(name, fontsize=style.LABEL)
        for axes, filters in zip(column[1:], (learned, random), strict=True):
            f, r = nearest(weight, filters)
            draw_filter(axes, filters[f, 0], f"filter {f}: {r:+.2f}".replace("-", "−"))
        print(f"  {name:17} {nearest(weight, learned)[1]:+.2f} {nearest(weight, random)[1]:+.2f}")
    for axes, title in zip(cells[:, 0], ("hand-made", "strongest, trained", "strongest, random"), strict=True):
        axes.set_ylabel(title, fontsize=style.LABEL)
    figure.supxlabel(
        "below each filter: its correlation with the hand-made filter\n"
        "1: alike, 0: nothing in common, below 0: the opposite",
        fontsize=style.SMALL,
    )
    return figure


def draw_filter(axes, weight, label):
    axes.imshow(weight, cmap=style.SIGNED, norm=style.zero_centred(weight))
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(label, fontsize=style.LABEL)


if __name__ == "__main__":
    main()
