"""Train with every combination of settings, and see which are good: a table and a picture.

    python examples/sweep.py                                      on the cores of this machine
    python examples/sweep.py --lr 0.02 0.1 0.5 --batch-size 32 128 --seeds 3
    mpiexec -n 5 python -m mpi4py.futures examples/sweep.py       on four processes of an MPI job, also of many machines
    python examples/sweep.py --dask tcp://scheduler:8786          on the workers of a Dask cluster

Each combination is a task of its own: LeNet-5 learns from a part of MNIST's training digits.  It is measured on other
training digits.  The test digits are not used: whoever chooses settings by them no longer knows how good the result is.
"""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, distributed, optim, train
from minigrad.models import LeNet5
from minigrad.viz import save, style

HELD_OUT = 5000  # training digits that measure a network
NORMALIZE = (0.1307, 0.3081)


class Settings(NamedTuple):
    """What a task trains with."""

    lr: float
    batch_size: int
    seed: int
    epochs: int
    digits: int


def main():
    args = arguments()
    tasks = [Settings(*pair, args.epochs, args.digits) for pair in product(args.lr, args.batch_size, range(args.seeds))]
    with make_pool(args) as pool:
        waiting = {pool.submit(accuracy_with, task): task for task in tasks}
        bar = tqdm(as_completed(waiting), total=len(tasks), unit=" trainings")
        found = {waiting[future]: future.result() for future in bar}
    means = np.array([
        [np.mean([found[Settings(lr, size, seed, args.epochs, args.digits)] for seed in range(args.seeds)])
         for size in args.batch_size]
        for lr in args.lr
    ])  # fmt: skip
    print_table(args, means)
    path = save(draw(args, means), args.out / "sweep.png")
    row, column = np.unravel_index(means.argmax(), means.shape)
    print(f"\nbest: --lr {args.lr[row]:g} --batch-size {args.batch_size[column]}; the picture is {path}")


def accuracy_with(settings):
    """Train with some settings on one thread; return the share of held-out digits that are recognised."""
    mg.set_num_threads(1)  # there are as many tasks at a time as cores
    mg.manual_seed(settings.seed)
    digits = datasets.MNIST(train=True)
    learned = data.Subset(digits, range(HELD_OUT, HELD_OUT + settings.digits))
    loader = data.DataLoader(learned, settings.batch_size, shuffle=True, seed=settings.seed, normalize=NORMALIZE)
    held_out = data.DataLoader(data.Subset(digits, range(HELD_OUT)), 1000, normalize=NORMALIZE)
    model = LeNet5()
    optimizer = optim.SGD(model.parameters(), lr=settings.lr, momentum=0.9)
    try:
        train.fit(model, loader, F.cross_entropy, optimizer, settings.epochs, progress=False)
    except mg.errors.DivergenceError:
        return 0.0
    return train.evaluate(model, held_out)["accuracy"]


def make_pool(args):
    """Return an executor of concurrent.futures: of MPI, of Dask, or of processes on this machine."""
    if distributed.launched_size() is not None:
        from mpi4py.futures import MPIPoolExecutor

        return MPIPoolExecutor()
    if args.dask is not None:
        from dask.distributed import Client

        return Client(args.dask).get_executor()
    return ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))


def print_table(args, means):
    """Print the mean accuracies, a row for each learning rate."""
    print("\naccuracy on held-out digits" + (f", mean of {args.seeds} seeds" if args.seeds > 1 else ""))
    print("lr \\ batch" + "".join(f"{size:>9}" for size in args.batch_size))
    for lr, row in zip(args.lr, means, strict=True):
        print(f"{lr:<10g}" + "".join(f"{value:>9.2%}" for value in row))


def draw(args, means):
    """Draw a line of accuracies for each batch size."""
    times = "once" if args.epochs == 1 else f"{args.epochs} times"
    figure = style.figure(7, 4.2, f"LeNet-5 after seeing {args.digits:,} digits {times}")
    axes = figure.subplots()
    for column, size in enumerate(args.batch_size):
        axes.semilogx(args.lr, means[:, column], "o-", label=f"batch {size}")
    axes.set_xticks(args.lr, [f"{lr:g}" for lr in args.lr])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("held-out digits recognised")
    axes.legend()
    style.tidy(axes)
    return figure


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lr", type=positive, nargs="+", default=[0.005, 0.02, 0.08, 0.32], help="learning rates")
    parser.add_argument("--batch-size", type=count, nargs="+", default=[32, 128], help="digits in a step")
    parser.add_argument("--seeds", type=count, default=1, help="trainings with each combination (1)")
    parser.add_argument("--epochs", type=count, default=1, help="passes over the digits (1)")
    parser.add_argument("--digits", type=count, default=10000, help="training digits, at most 55,000 (10,000)")
    parser.add_argument("--dask", metavar="ADDRESS", help="the scheduler of a Dask cluster")
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"), help="folder for the picture")
    args = parser.parse_args()
    if args.digits > 60000 - HELD_OUT:
        parser.error(f"--digits is {args.digits}; use at most {60000 - HELD_OUT}, because {HELD_OUT} are held out")
    if max(args.batch_size) > args.digits:
        parser.error(f"--batch-size is {max(args.batch_size)}; use at most {args.digits}, the number of --digits")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    launched = distributed.launched_size()
    if launched == 1 or (launched and "mpi4py.futures" not in sys.orig_argv):
        workers = f"mpiexec -n {1 + os.cpu_count()} python -m mpi4py.futures {sys.argv[0]}"
        parser.error(f"start one process that divides the tasks, and workers: {workers}")
    args.lr, args.batch_size = sorted(set(args.lr)), sorted(set(args.batch_size))
    return args


def positive(text):
    """A number above 0."""
    if not 0 < float(text) < np.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def count(text):
    """A whole number of 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


if __name__ == "__main__":
    main()
