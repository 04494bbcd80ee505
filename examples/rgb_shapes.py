"""Colour: what filters look like that see red, green and blue.

    python examples/rgb_shapes.py          draws 6,000 pictures, learns them, half a minute
    python examples/rgb_shapes.py --quick  a short look: 1,500 pictures, fewer passes

A grey image has one channel, a colour image three, and each filter has a slice of weights for each.  Its three slices
together are a small colour picture: what the filter would like to see.
"""

import argparse
import colorsys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, viz
from minigrad.viz import style

SHAPES, TEXTURES = ("disc", "square", "triangle"), ("plain", "striped")
COLOURS = {"red": 0.0, "green": 0.36, "blue": 0.62}  # hues, as parts of the colour circle
CLASSES = [" ".join(words) for words in product(TEXTURES, COLOURS, SHAPES)]
SIDE, SCALE = 32, 4  # pixels; drawn four times too large, so that edges are smooth
NORMALIZE = (0.5, 0.25)


# 1. Data.  Place, size, turn, hue, brightness and background are all drawn by lot, so that none of them gives the class
#    away: only shape, colour and texture do.


def draw_one(label, lot):
    """One picture of a class, (3, 32, 32) uint8."""
    texture, colour, shape = CLASSES[label].split()
    fill, dark = paint(COLOURS[colour] + lot.normal(0, 0.02), lot.uniform(0.7, 1)), lot.uniform(0.2, 0.5)
    picture = Image.new("RGB", (SIDE * SCALE,) * 2, paint(lot.uniform(), lot.uniform(0.3, 0.9), lot.uniform(0, 0.3)))
    x, y = lot.uniform(12, 20, 2) * SCALE
    radius, turn = lot.uniform(8, 11) * SCALE, lot.uniform(0, 360)
    mask = Image.new("L", picture.size)
    outline(ImageDraw.Draw(mask), shape, x, y, radius, turn)
    surface = Image.new("RGB", picture.size, fill)
    if texture == "striped":
        stripes(ImageDraw.Draw(surface), tuple(int(dark * level) for level in fill), lot)
    picture.paste(surface, mask=mask)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    return (small + lot.normal(0, 8, small.shape)).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def paint(hue, value, saturation=0.9):
    return tuple(round(255 * level) for level in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def outline(pen, shape, x, y, radius, turn):
    if shape == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        pen.regular_polygon((x, y, 1.15 * radius), 4 if shape == "square" else 3, turn, fill=255)


def stripes(pen, colour, lot):
    """Bars of 2 pixels, 4 apart, upright or lying."""
    start, upright = int(lot.uniform(0, 4 * SCALE)), lot.integers(2)
    for at in range(start - 4 * SCALE, SIDE * SCALE, 4 * SCALE):
        far, wide = SIDE * SCALE, at + 2 * SCALE - 1
        pen.rectangle((at, 0, wide, far) if upright else (0, at, far, wide), fill=colour)


def draw_many(n, seed):
    lot = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    return data.ImageDataset(np.stack([draw_one(label, lot) for label in labels]), labels)


# 2. Network.  The first layer has 16 filters of 7x7 weights for each of 3 channels: (16, 3, 7, 7).  Weight decay fades
#    what is left of the random start, which would hide in the picture what was learned.


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, padding=3)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.fc = nn.Linear(32 * 4 * 4, len(CLASSES))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 4)
        return self.fc(x.flatten(1))


def fit(model, train, epochs):
    batches = data.DataLoader(train, 64, shuffle=True, seed=0, drop_last=True, normalize=NORMALIZE)
    optimizer = optim.AdamW(model.parameters(), weight_decay=0.5)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.006, total_steps=epochs * len(batches), cycle_momentum=False)

    @mg.graph
    def step(images, labels):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(epochs):
        for images, labels in batches:
            step(images, labels)
            scheduler.step()


def answers(model, test):
    with mg.no_grad():
        return np.concatenate([model(x).argmax(1).numpy() for x, _ in data.DataLoader(test, 500, normalize=NORMALIZE)])


# 3. What became of the filters.  Any filter is a sum of a grey part, the mean of its three slices, and a coloured rest;
#    and of an even part, the mean of each slice, and a pattern.  Of random weights 1/3 is grey and 1/49 even, on
#    average.  A filter for edges of any colour is more grey than that; one for a colour is less grey, and more even.


def shares(weight):
    """How much of each filter's sum of squares is grey, and how much is even."""
    whole = (weight**2).sum((1, 2, 3))
    grey = 3 * (weight.mean(1) ** 2).sum((1, 2)) / whole
    return grey, weight[0, 0].size * (weight.mean((2, 3)) ** 2).sum(1) / whole


def main():
    args = arguments()
    train, test = draw_many(1500 if args.quick else 6000, args.seed), draw_many(900, args.seed + 1)
    mg.manual_seed(args.seed)
    model = Net()
    before = model.conv1.weight.detach().clone().numpy()
    fit(model, train, 6 if args.quick else 15)
    after = model.conv1.weight.detach().numpy()
    print(f"{(answers(model, test) == test.labels).mean():.1%} of {len(test)} new pictures right, by lot {1 / 18:.1%}")
    for name, weight in (("random", before), ("learned", after)):
        grey, even = shares(weight)
        print(f"{name:8} filters: grey part {grey.min():.0%} to {grey.max():.0%}, even part up to {even.max():.0%}")
    viz.save(draw_examples(train), args.out / "pictures.png")
    viz.save(
        viz.filters(model.conv1, init=before, title="16 filters for red, green and blue"), args.out / "filters.png"
    )
    viz.save(draw_prototypes(model), args.out / "prototypes.png")
    print(f"pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of pictures, weights and shuffling (0)")
    parser.add_argument("--quick", action="store_true", help="1,500 pictures and 6 passes, not 6,000 and 15")
    parser.add_argument("--out", type=Path, default=Path("runs/rgb_shapes"), help="folder for pictures")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed is {args.seed}; use 0 or more")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # refused now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); name another folder")
    return args


def sheet(title):
    """A cell for each class under its name: rows are shapes, columns are textures and colours."""
    figure = style.figure(10, 6.2, title)
    cells = figure.subplots(3, 6).ravel(order="F")
    for axes, name in zip(cells, CLASSES, strict=True):
        axes.set_title(name, fontsize=style.SMALL)
        axes.set_axis_off()
    return figure, cells


def draw_examples(train):
    figure, cells = sheet(f"{len(CLASSES)} classes of pictures: shape × colour × texture")
    for axes, image in zip(cells, train.images, strict=False):
        axes.imshow(image.transpose(1, 2, 0))
    return figure


# 4. The network's own idea of each class: a picture that starts as faint noise and is changed, step by step, so that
#    the score of the class rises.  Colours and round outlines are plain to see; stripes, which run either way, become a
#    chequerboard, and triangles, which may be turned any way, points in all directions.


def draw_prototypes(model):
    mean, std = NORMALIZE
    images = viz.prototype_images(model, (3, SIDE, SIDE), limits=(-mean / std, (1 - mean) / std))
    figure, cells = sheet("What raises the score of each class most")
    for axes, image in zip(cells, images, strict=True):
        axes.imshow((image * std + mean).clip(0, 1).transpose(1, 2, 0))
    return figure


if __name__ == "__main__":
    main()
