"""About 99.6 % of MNIST's test digits in minutes: a small network, and digits that are moved a little in each epoch.

    python examples/mnist_best.py            one training
    python examples/mnist_best.py --seeds 3  three, with the mean of their accuracies

A network sees each training digit thirteen times.  If it is rotated, sheared, scaled and shifted by other amounts each
time, the network cannot learn it by heart, and what it learns holds for digits that it has not seen.  The last three
epochs are without these changes, since the test digits have none.

The network and the recipe were chosen by 5,000 training digits that were held out.  The test digits are used once, at
the end.
"""

import argparse
import time

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, optim, train, transforms
from minigrad.models import MnistNet

EPOCHS, CLEAN = 13, 3  # in all, and at the end without changes
BATCH, RATE, DECAY = 256, 0.16, 1e-4
PLAIN = [transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)]  # mean and deviation of the training pixels
MOVE = transforms.RandomAffine(
    12, translate=(2 / 28, 2 / 28), scale=(0.88, 1.12), shear=(-8.5, 8.5), interpolation="bilinear"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings (1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; use 1 or more")
    accuracies = []
    try:
        mg.zeros(1, device=args.device)
    except mg.errors.DeviceError as error:
        parser.error(f"--device: {error}")
    for seed in range(args.seeds):
        start = time.perf_counter()
        accuracies.append(train_once(seed, args.device))
        print(f"seed {seed}: {accuracies[-1]:.2%} of the test digits right, {time.perf_counter() - start:.0f} s")
    if args.seeds > 1:
        print(f"mean {np.mean(accuracies):.3%}, from {min(accuracies):.2%} to {max(accuracies):.2%}")


def train_once(seed, device):
    """Train from a seed, and return the accuracy on the test digits."""
    mg.manual_seed(seed)
    digits = datasets.MNIST(train=True, transform=transforms.Compose([MOVE, *PLAIN]))
    batches = data.DataLoader(digits, BATCH, shuffle=True, seed=seed, drop_last=True, device=device)
    model = MnistNet().to(device)
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=EPOCHS * len(batches), pct_start=0.25, cycle_momentum=False
    )

    def end_changes(run):
        if run.epoch == EPOCHS - CLEAN:
            digits.transform = transforms.Compose(PLAIN)

    train.fit(model, batches, F.cross_entropy, optimizer, EPOCHS, scheduler=scheduler, on_epoch=end_changes)
    test = data.DataLoader(datasets.MNIST(train=False, transform=transforms.Compose(PLAIN)), 1000, device=device)
    return train.evaluate(model, test)["accuracy"]


if __name__ == "__main__":
    main()
