"""Why convolution: compare it with fully connected networks.

    python examples/why_convolution.py          18 trainings, less than a minute
    python examples/why_convolution.py --quick  one training of each network, on a fifth of the digits

A fully connected layer has a weight for every pixel, and must learn the look of a stroke for every position.  A
convolution uses one small window at all positions.  This is an assumption about images: neighbouring pixels belong
together, and a pattern that is useful at one position is useful at all of them.  Three experiments measure its value.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, nn, optim
from minigrad.models import LeNet5
from minigrad.viz import save, style

NORMALIZE = (0.1307, 0.3081)
SHIFTS = range(7)  # pixels
CNN, FULL = "LeNet-5", "fully connected"


def small_cnn():
    """Two convolutions of 3 and 6 filters, and a single dense layer."""
    convolutions = nn.Conv2d(1, 3, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.ReLU()
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(6 * 4 * 4, 10))


def fully_connected(*hidden):
    layers = [nn.Flatten()]
    for wide, narrow in zip((784, *hidden), hidden, strict=False):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10))


# 1. Parameters and accuracy.  The networks are LeNet-5; a fully connected network with as many parameters; a
#    convolutional network that is small enough to be no better than that; and a fully connected network with nine times
#    as many parameters.
NETS = {
    CNN: LeNet5,
    FULL: lambda: fully_connected(78),
    "small convolutional": small_cnn,
    "large fully connected": lambda: fully_connected(512, 256),
}


def main():
    args = arguments()
    train, test = datasets.MNIST(), datasets.MNIST(train=False)
    if args.quick:
        train, test = part(train, 12_800), part(test, 2_000)
    nets = {name: [train_network(make, train, seed) for seed in range(args.seeds)] for name, make in NETS.items()}
    rows = {name: (count_parameters(trained[0]), accuracy(trained, test)) for name, trained in nets.items()}
    for name, (count, share) in rows.items():
        print(f"{name:21} {count:7,} parameters: {share:.2%} of the test digits right")

    # 2. Shifted digits.  The networks were trained only on centred digits.  The output of a convolution moves with the
    #    digit, and pooling tolerates a small shift.  The dense layers of LeNet-5 do depend on the position, so that a
    #    large shift fails as well.  From about 5 pixels on, some digits are also cut off: their margin is 4 pixels.
    moved = {name: [accuracy(nets[name], *shifted(test, s)) for s in SHIFTS] for name in (CNN, FULL)}
    for name, shares in moved.items():
        print(f"{name:21} shifted by {SHIFTS[0]} to {SHIFTS[-1]} pixels: {', '.join(f'{s:.1%}' for s in shares)}")

    # 3. Shuffled pixels.  The order is the same for all images, so only the neighbourhood of pixels is lost.  A fully
    #    connected network does not use it, and is as accurate as before.  The convolutional network does use it, and
    #    becomes less accurate than the fully connected one.
    order = np.random.default_rng(0).permutation(784)
    mixed, mixed_test = shuffled(train, order), shuffled(test, order)
    unordered = {
        name: accuracy([train_network(NETS[name], mixed, seed) for seed in range(args.seeds)], mixed_test)
        for name in (CNN, FULL)
    }
    for name, share in unordered.items():
        print(f"{name:21} with pixels in order {rows[name][1]:.2%}, trained and tested with shuffled ones {share:.2%}")
    save(draw(rows, moved, unordered, test, order, args.seeds), args.out / "why_convolution.png")
    print(f"the picture is {args.out}/why_convolution.png")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of trainings of each network, whose mean is shown (3)"
    )
    parser.add_argument("--quick", action="store_true", help="one training of each network, on a fifth of the digits")
    parser.add_argument("--out", type=Path, default=Path("runs/why_convolution"), help="folder for the picture")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; use 1 or more")
    args.seeds = 1 if args.quick else args.seeds
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def train_network(make, train, seed, epochs=3):
    """Return a network after three epochs; the settings are the same for all networks."""
    mg.manual_seed(seed)
    model = make()
    batches = data.DataLoader(train, 128, shuffle=True, seed=seed, drop_last=True, normalize=NORMALIZE)
    optimizer = optim.Adam(model.parameters())
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.005, total_steps=epochs * len(batches), cycle_momentum=False)

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
    return model


def accuracy(models, *digits):
    """Return the accuracy, as the mean over models and data sets of one length."""
    right = seen = 0
    with mg.no_grad():
        for images, labels in (batch for part in digits for batch in data.DataLoader(part, 1000, normalize=NORMALIZE)):
            right += sum((model(images).argmax(1) == labels).sum().item() for model in models)
            seen += len(models) * len(labels)
    return right / seen


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def part(digits, n):
    return data.ImageDataset(digits.images[:n], digits.labels[:n])


def shifted(digits, pixels):
    """Return the digits shifted right, left, down and up, with paper on the empty side."""
    padded = np.pad(digits.images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    corners = (pixels, 0), (pixels, 2 * pixels), (0, pixels), (2 * pixels, pixels)
    return [data.ImageDataset(padded[:, y : y + 28, x : x + 28], digits.labels) for y, x in corners]


def shuffled(digits, order):
    return data.ImageDataset(digits.images.reshape(-1, 784)[:, order].reshape(-1, 28, 28), digits.labels)


# ---- the picture


def draw(rows, moved, unordered, test, order, seeds):
    each = f"mean of {seeds} trainings" if seeds > 1 else "one training of each network"
    figure = style.figure(13, 5.2, f"Why convolution: answers to the test digits, {each}")
    panels = figure.subplots(2, 3, height_ratios=[1, 3.2])
    draw_table(figure, panels, rows)
    show(panels[0, 1], np.hstack([shifted(test, s)[0].images[0] for s in (0, 3, 6)]), "shifted by 0, 3, 6 pixels")
    both = np.hstack([test.images[0], shuffled(test, order).images[0]])
    show(panels[0, 2], both, "one digit: pixels in order, and shuffled")
    draw_shifts(panels[1, 1], moved)
    draw_shuffled(panels[1, 2], {name: (rows[name][1], unordered[name]) for name in unordered})
    return figure


def show(axes, pixels, title):
    axes.imshow(pixels, cmap="gray_r", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    for x in range(28, pixels.shape[1], 28):
        axes.axvline(x - 0.5, color=style.GREY, linewidth=0.8)
    axes.set_title(title, fontsize=style.LABEL)


def draw_table(figure, panels, rows):
    """Draw bars of the wrong answers, with names and numbers of parameters, in both rows of the first column."""
    grid = panels[0, 0].get_gridspec()
    panels[0, 0].remove()
    panels[1, 0].remove()
    axes = figure.add_subplot(grid[:, 0])
    wrong = [100 - 100 * share for _, share in rows.values()]
    colours = [style.VERMILION if "full" in name else style.BLUE for name in rows]
    axes.barh(range(len(rows)), wrong, color=colours, height=0.45)
    for y, (name, (count, share)) in enumerate(rows.items()):
        axes.text(0, y - 0.3, f" {name}: {count:,} parameters", va="bottom", fontsize=style.LABEL)
        axes.text(100 - 100 * share, y, f" {100 - 100 * share:.2f} %", va="center", fontsize=style.LABEL)
    axes.set(xlim=(0, 1.3 * max(wrong)), ylim=(len(rows) - 0.6, -0.65), yticks=[])
    chart(axes, "test digits wrong (%)", "", "parameters and errors")


def draw_shifts(axes, moved):
    for (name, shares), colour in zip(moved.items(), (style.BLUE, style.VERMILION), strict=True):
        axes.plot(SHIFTS, np.multiply(shares, 100), "o-", color=colour, linewidth=2, label=name)
    axes.set(xticks=SHIFTS, ylim=(0, 103))
    axes.legend(fontsize=style.SMALL, frameon=False, loc="lower left")
    chart(axes, "shift (pixels), mean of four directions", "test digits right (%)", "")


def draw_shuffled(axes, pairs):
    for x, (shares, colour) in enumerate(zip(pairs.values(), (style.BLUE, style.VERMILION), strict=True)):
        wrong = 100 - np.multiply(shares, 100)
        axes.bar((x - 0.2, x + 0.2), wrong, 0.36, color=colour)
        for dx, share, what in zip((-0.2, 0.2), wrong, ("in order", "shuffled"), strict=True):
            axes.text(x + dx, share, f"{what}\n{share:.2f} %", ha="center", va="bottom", fontsize=style.SMALL)
    axes.set_xticks(range(len(pairs)), pairs)
    axes.set_ylim(0, 125 - 125 * min(map(min, pairs.values())))
    chart(axes, "trained and tested on the same order", "test digits wrong (%)", "")


def chart(axes, x, y, title):
    axes.set_xlabel(x, fontsize=style.LABEL)
    axes.set_ylabel(y, fontsize=style.LABEL)
    axes.set_title(title, fontsize=style.LABEL)
    axes.tick_params(labelsize=style.SMALL)
    style.tidy(axes)


if __name__ == "__main__":
    main()
