"""See what the filters of LeNet-5 learn: before, during and after training.

    python examples/see_filters.py              trains for 3 epochs and writes pictures to runs/see_filters/
    python examples/see_filters.py --epochs 1   trains for 1 epoch

A filter is a small square of weights that moves over an image.  At every position the pixels are multiplied by the
weights and added.  The sum is large where the pixels look like the filter.  Nobody designs these squares: they start as
random numbers, and training changes each weight a little in the direction that reduces the error.
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

NORMALIZE = 0.1307, 0.3081  # mean and standard deviation of all training pixels, scaled to 0..1
REPORT_DIGITS = 2000  # number of test digits in the report


def main():
    args = arguments()

    # 1. A network of two convolutions.  The 6 filters of conv1 read pixels.  The 16 filters of conv2 read the output of
    #    those 6, and therefore respond to combinations of what those find.
    mg.manual_seed(args.seed)
    model = LeNet5()
    init = {name: value.clone() for name, value in model.state_dict().items()}

    # 2. Training, with a tape that keeps a copy of the filters after every 20 steps.
    tape = viz.FilterTape(model, every=20)
    history = train(model, tape, args)

    # 3. The distance of each filter from its random start, relative to the length of the start.
    for name in ("conv1", "conv2"):
        moved = tape.distance(name)[-1]
        print(f"{name}: filters moved by {moved.min():.2f} to {moved.max():.2f} of their initial length")

    # 4. Pictures.  An early filter is a pattern of bright and dark pixels.  A deep filter has a slice for every map
    #    that it reads, and only all of them have a meaning: patches of digits that excite it tell more.  One step of
    #    learning changes a filter against the gradient of the loss.
    images, labels = load_digits(REPORT_DIGITS)
    viz.save(viz.filters(model.conv1, init["conv1.weight"], "conv1: early filters"), args.out / "early_filters.png")
    viz.save(viz.filters(model.conv2, init["conv2.weight"], "conv2: deep filters"), args.out / "deep_filters.png")
    viz.save(tape.contact_sheet("conv1"), args.out / "contact_sheet.png")
    viz.save(viz.feature_maps(model, images[0], classes=range(10), normalize=NORMALIZE), args.out / "feature_maps.png")
    pixel = viz.explain_pixel(model, images[0], "conv1", 0, 14, 14, normalize=NORMALIZE)
    viz.save(pixel.figure, args.out / "one_pixel.png")
    viz.save(viz.patch_grid(model, images, normalize=NORMALIZE), args.out / "patches.png")
    viz.save(viz.shared_weights(model, images[0], "conv1", 0, normalize=NORMALIZE), args.out / "shared_weights.png")
    viz.save(viz.shifted_maps(model, images[0], "conv1", 0, normalize=NORMALIZE), args.out / "shifted_maps.png")
    viz.save(viz.filter_step(model, images[:128], labels[:128], "conv1", 0), args.out / "one_step.png")
    tape.gif(args.out / "evolution.gif", "conv1")

    # 5. Everything else in one HTML file, which needs no network.
    report = viz.report(
        model, images, labels, args.out / "report.html", init, history, tape, classes=range(10), normalize=NORMALIZE
    )
    print(f"pictures are in {args.out}/; open {report} in a browser")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training digits (3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/see_filters"), help="folder for the pictures")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs is {args.epochs}; use 1 or more")
    if not 0 <= args.seed < 2**64:
        parser.error(f"--seed is {args.seed}; use 0 to 2**64 - 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after the training
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def train(model, tape, args):
    """Train the model while the tape records; return the history that viz.training_curves draws."""
    loader = data.DataLoader(datasets.MNIST(), 128, shuffle=True, seed=args.seed, drop_last=True, normalize=NORMALIZE)
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
        history["accuracy"].append(measure_accuracy(model))
        print(f"epoch {epoch + 1}/{args.epochs}: {history['accuracy'][-1]:.2%} of the test digits right", flush=True)
    return history


def measure_accuracy(model):
    test = data.DataLoader(datasets.MNIST(train=False), 1000, normalize=NORMALIZE)
    with mg.no_grad():
        return float(np.mean([(model(images).argmax(1) == labels).numpy() for images, labels in test]))


def load_digits(count):
    """Return the first test digits as the network reads them, (count, 1, 28, 28), and their labels."""
    return next(iter(data.DataLoader(datasets.MNIST(train=False), count, normalize=NORMALIZE)))


if __name__ == "__main__":
    main()
