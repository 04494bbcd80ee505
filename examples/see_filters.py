"""See what the filters of LeNet-5 learn: before, during and after training.

    python examples/see_filters.py              trains for 3 epochs and leaves pictures in runs/see_filters/
    python examples/see_filters.py --epochs 1   a quicker look

A filter is a small square of weights that slides over an image.  At every place it multiplies, sums, and leaves one
number: a large one where the pixels look like the filter.  Nobody draws these squares.  They start as random numbers,
and training moves each weight a little in the direction that makes the answers less wrong.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, optim, viz
from minigrad.models import LeNet5

MEAN, STD = 0.1307, 0.3081  # of all training pixels, scaled to 0..1
LOOKED_AT = 2000  # test digits that the report is made from


def main():
    args = arguments()

    # 1. A network of two convolutions.  The 6 filters of conv1 see the pixels; the 16 of conv2 see only what those 6
    #    found, so that they answer to arrangements: a corner is an edge beside another edge.
    mg.manual_seed(args.seed)
    model = LeNet5()
    init = {name: value.clone() for name, value in model.state_dict().items()}

    # 2. Training, with a tape that keeps the filters as they are after every so many steps.
    tape = viz.FilterTape(model, every=20)
    history = train(model, tape, args)

    # 3. How far did each filter move?  The distance from its random start, in lengths of that start: 1 means that it
    #    moved as far as it was long.
    for name in ("conv1", "conv2"):
        moved = tape.distance(name)[-1]
        print(f"{name}: filters moved by {moved.min():.2f} to {moved.max():.2f} of their first length")

    # 4. Pictures.  Early filters are edges and blobs; deep ones have a slice for every map below, and make sense only
    #    together with it.
    images, labels = digits(LOOKED_AT)
    viz.save(viz.filters(model.conv1, init["conv1.weight"], "conv1: early filters"), args.out / "early_filters.png")
    viz.save(viz.filters(model.conv2, init["conv2.weight"], "conv2: deep filters"), args.out / "deep_filters.png")
    viz.save(tape.contact_sheet("conv1"), args.out / "contact_sheet.png")
    viz.save(viz.feature_maps(model, images[0]), args.out / "feature_maps.png")
    viz.save(viz.explain_pixel(model, images[0], "conv1", 0, 14, 14).figure, args.out / "one_pixel.png")
    tape.gif(args.out / "evolution.gif", "conv1")

    # 5. Everything else in one file: open it in a browser, no network needed.
    page = viz.report(model, images, labels, args.out / "report.html", init, history, tape)
    print(f"pictures are in {args.out}/; open {page} in a browser")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training digits (3)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/see_filters"), help="folder for the pictures")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs is {args.epochs}; train for at least 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # refused now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); name another folder")
    return args


def train(model, tape, args):
    """Train the model while the tape runs; returns the history that viz.training_curves draws."""
    loader = data.DataLoader(datasets.MNIST(), 128, shuffle=True, seed=args.seed, drop_last=True, normalize=(MEAN, STD))
    optimizer = optim.Adam(model.parameters(), lr=0.002)

    @mg.graph
    def step(images, labels):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    history = {"loss": [], "accuracy": [], "steps_per_epoch": len(loader)}
    for epoch in range(args.epochs):
        for images, labels in tqdm(loader, desc=f"epoch {epoch + 1}/{args.epochs}", leave=False):
            loss = step(images, labels)
            history["loss"].append(loss.item())
            tape.step(loss)
        history["accuracy"].append(accuracy(model))
        print(f"epoch {epoch + 1}/{args.epochs}: {history['accuracy'][-1]:.2%} of the test digits right", flush=True)
    return history


def accuracy(model):
    test = data.DataLoader(datasets.MNIST(train=False), 1000, normalize=(MEAN, STD))
    with mg.no_grad():
        return float(np.mean([(model(images).argmax(1) == labels).numpy() for images, labels in test]))


def digits(count):
    """The first test digits as the network sees them, (count, 1, 28, 28), and what they are."""
    return next(iter(data.DataLoader(datasets.MNIST(train=False), count, normalize=(MEAN, STD))))


if __name__ == "__main__":
    main()
