"""Colour: what filters look like that read red, green and blue.

    python examples/rgb_shapes.py          draws 6,000 pictures and learns them, in half a minute
    python examples/rgb_shapes.py --quick  1,500 pictures and fewer epochs

A grey image has one channel and a colour image has three, and each filter has a slice of weights for each channel.  The
three slices of a filter form a small colour picture: of all patches of the same contrast, the filter responds most to
the one that looks like it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, optim, viz
from minigrad.datasets.shapes import CLASSES
from minigrad.viz import style

NORMALIZE = (0.5, 0.25)


# 1. Data.  Pictures of 18 classes, such as "striped blue square".  Position, size, rotation, hue, brightness and
#    background are random, so that only shape, colour and texture identify the class: see `datasets.ColorShapes`.


# 2. Network.  The first layer has 16 filters with 7x7 weights for each of 3 channels: (16, 3, 7, 7).  Weight decay
#    removes the rest of the random start, which would hide in the picture what was learned.


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


def predict(model, test):
    with mg.no_grad():
        return np.concatenate([model(x).argmax(1).numpy() for x, _ in data.DataLoader(test, 500, normalize=NORMALIZE)])


# 3. The filters.  Any filter is the sum of a grey part (the mean of its three slices) and a coloured rest, and also the
#    sum of an even part (the mean of each slice) and a pattern.  Of random weights 1/3 is grey and 1/49 is even, on
#    average.  A filter for edges of any colour is more grey; a filter for a colour is less grey and more even.


def shares(weight):
    """Return the shares of each filter's sum of squares that are grey and even."""
    whole = (weight**2).sum((1, 2, 3))
    grey = 3 * (weight.mean(1) ** 2).sum((1, 2)) / whole
    return grey, weight[0, 0].size * (weight.mean((2, 3)) ** 2).sum(1) / whole


def main():
    args = arguments()
    train = datasets.ColorShapes(1500 if args.quick else 6000, args.seed)
    test = datasets.ColorShapes(900, (args.seed + 1) % 2**64)
    mg.manual_seed(args.seed)
    model = Net()
    before = model.conv1.weight.detach().clone().numpy()
    fit(model, train, 6 if args.quick else 15)
    after = model.conv1.weight.detach().numpy()
    accuracy = (predict(model, test) == test.labels).mean()
    print(f"{accuracy:.1%} of {len(test)} new pictures right, {1 / len(CLASSES):.1%} by chance")
    for name, weight in (("random", before), ("learned", after)):
        grey, even = shares(weight)
        print(f"{name} filters: {grey.min():.0%} to {grey.max():.0%} of a filter is alike in red, green and blue,")
        print(f"    so this part sees no colour; up to {even.max():.0%} is one colour everywhere, so that sees no edge")
    viz.save(draw_examples(train), args.out / "pictures.png")
    viz.save(
        viz.filters(model.conv1, init=before, title="16 filters for red, green and blue"), args.out / "filters.png"
    )
    images = next(iter(data.DataLoader(test, len(test), normalize=NORMALIZE)))[0]
    shown = {"images": images, "labels": test.labels, "classes": CLASSES, "normalize": NORMALIZE}
    viz.save(viz.prototypes(model, **shown), args.out / "prototypes.png")
    viz.save(viz.patch_grid(model, images, normalize=NORMALIZE), args.out / "patches.png")
    print(f"pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of pictures, weights and shuffling (0)")
    parser.add_argument("--quick", action="store_true", help="1,500 pictures and 6 epochs instead of 6,000 and 15")
    parser.add_argument("--out", type=Path, default=Path("runs/rgb_shapes"), help="folder for pictures")
    args = parser.parse_args()
    if not 0 <= args.seed < 2**64:
        parser.error(f"--seed is {args.seed}; use 0 to 2**64 - 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def class_grid(title):
    """Return a figure with a cell for each class: rows are shapes, columns are textures and colours."""
    figure = style.figure(10, 6.2, title)
    cells = figure.subplots(3, 6).ravel(order="F")
    for axes, name in zip(cells, CLASSES, strict=True):
        axes.set_title(name, fontsize=style.SMALL)
        axes.set_axis_off()
    return figure, cells


def draw_examples(train):
    figure, cells = class_grid(f"{len(CLASSES)} classes of pictures: shape × colour × texture")
    for axes, image in zip(cells, train.images, strict=False):
        axes.imshow(image.transpose(1, 2, 0))
    return figure


# 4. What excites filters and classes.  `prototypes` changes a picture step by step to raise the score of a class, and
#    shows the best real picture below the result.  The results look like no shape: the network was trained on shapes
#    only.  `patch_grid` looks for the parts of real pictures that excite each filter.


if __name__ == "__main__":
    main()
