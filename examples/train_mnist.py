"""Train LeNet-5 on MNIST, and draw what it has learned.

    python examples/train_mnist.py                  three epochs, a few seconds, 99 % of the test digits right
    python examples/train_mnist.py --device numpy   the same in plain NumPy, to compare the speed
    python examples/train_mnist.py --resume         continue the last run; with --epochs 5, for more epochs
    python examples/train_mnist.py --target 0.99    stop after the first epoch with this accuracy
    mpiexec -n 2 python examples/train_mnist.py --distributed       on two processes, each with half of every batch

This file has everything that a training script needs, in the order in which it happens.  The loop itself is
minigrad/train/loop.py.
"""

import argparse
import math
import tempfile
from functools import partial
from pathlib import Path

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, distributed, optim, train, viz
from minigrad.models import LeNet5

MEAN, STD = 0.1307, 0.3081  # of all training pixels, scaled to 0..1
TEST_BATCH = 1024
DEFAULTS = {"epochs": 3, "batch_size": 128, "lr": 0.005, "seed": 0}


def main():
    args = arguments()
    mg.manual_seed(args.seed)

    # 1. Data: 60,000 digits for training, and 10,000 digits for the test, which are not used in training.  They stay in
    #    memory as bytes.  One kernel selects the images of a batch, normalises them, and pads them from 28x28 to 32x32
    #    pixels, the input size of LeNet-5.  The incomplete last batch is left out; it has other images in each epoch.
    settings = {"normalize": (MEAN, STD), "pad": 2, "device": args.device}
    digits, test_digits = (load(args, partial(datasets.MNIST, train=train)) for train in (True, False))
    batches = data.DataLoader(digits, args.batch_size, shuffle=True, seed=args.seed, drop_last=True, **settings)
    test = data.DataLoader(test_digits, TEST_BATCH, **settings)

    # 2. Model and optimiser, from random numbers that follow from the seed.  The learning rate rises for a third of the
    #    training and then falls almost to 0: large steps first, small steps at the end (Smith & Topin,
    #    "Super-convergence", 2018).
    model = LeNet5(image_size=32).to(args.device)
    before = model.conv1.weight.detach().clone()
    optimizer = optim.Adam(model.parameters(), lr=args.lr, betas=(0.9, 0.99))
    steps = args.epochs * len(batches)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, cycle_momentum=False)

    # 3. Training.  The first run on a machine compiles the kernels, and later runs load them from disk.  Ctrl-C writes
    #    a checkpoint, and --resume continues from it with bit-for-bit the same results as an uninterrupted run.
    try:
        history = train.fit(
            model, batches, F.cross_entropy, optimizer, args.epochs, validation=test, scheduler=scheduler,
            folder=args.out, resume=args.resume, checkpoint_every=args.checkpoint_every,
            settings={"lr": args.lr, "seed": args.seed}, on_epoch=lambda run: has_reached(args.target, run.history),
            distributed=args.distributed,
        )  # fmt: skip
    except mg.errors.MinigradError as error:
        raise SystemExit(f"train_mnist.py: {error}") from None
    if distributed.get_rank() > 0:
        return  # the first rank alone writes
    if len(history.loss) < steps and not has_reached(args.target, history):
        raise SystemExit(f"continue with --resume (checkpoint in {args.out})")
    if args.target is not None and not has_reached(args.target, history):
        print(f"{args.target:.2%} was not reached in {args.epochs} epochs; train for more epochs")

    # 4. The trained model, in a file that any program reads, and pictures of what it has learned.
    names = [str(digit) for digit in range(10)]
    weights = args.out / "lenet5.safetensors"
    mg.save_model(model, weights, class_names=names, input_size=(1, 28, 28), normalize=(MEAN, STD), pad=2)
    answers = train.predict(model, test)
    viz.save(viz.filters(model.conv1, init=before, title="LeNet-5, first layer"), args.out / "filters.png")
    viz.save(viz.training_curves(history), args.out / "training.png")
    viz.save(viz.confusion_matrix(answers.targets, answers.labels, names), args.out / "confusion.png")
    print(f"{history['val_accuracy'][-1]:.2%} of the test digits are right; weights and pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="passes over the training digits (3)")
    parser.add_argument("--batch-size", type=int, help="digits in a step (128)")
    parser.add_argument("--lr", type=float, help="highest learning rate (0.005)")
    parser.add_argument("--device", default="cpu", help="cpu, numpy or cuda (cpu)")
    parser.add_argument("--seed", type=int, help="seed of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="folder for weights and pictures")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in the folder")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="also write checkpoints within an epoch")
    parser.add_argument("--target", type=float, help="stop after the first epoch with this accuracy, from 0 to 1")
    parser.add_argument("--distributed", action="store_true", help="train on all processes that mpiexec started")
    parser.add_argument("--shard", action="store_true", help="one copy of the digits for all processes of a machine")
    args = parser.parse_args()
    try:
        if args.distributed:
            distributed.init(required=True)
        known = train.saved_settings(args.out) if args.resume else DEFAULTS
        for name in DEFAULTS:
            if getattr(args, name) is None:
                setattr(args, name, known[name])
        check(args)
        mg.zeros(1, device=args.device)  # fail now if the device is not there
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after an epoch
    except mg.errors.MinigradError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def load(args, make):
    """Make a data set, with --shard once for all processes of a machine."""
    return distributed.load_once(make) if args.shard else make()


def check(args):
    """Raise ValidationError for the first setting that is out of range."""
    every, target = args.checkpoint_every, args.target
    wrong = [
        (args.epochs < 1, f"--epochs is {args.epochs}; use 1 or more"),
        (not 1 <= args.batch_size <= 60000, f"--batch-size is {args.batch_size}; use 1 to 60000"),
        (not 0 < args.lr < math.inf, f"--lr is {args.lr}; use a number above 0"),
        (not 0 <= args.seed < 2**64, f"--seed is {args.seed}; use 0 to 2**64 - 1"),
        (every is not None and every < 1, f"--checkpoint-every is {every} steps; use 1 or more"),
        (target is not None and not 0 < target <= 1, f"--target is {target}; use a number above 0 and at most 1"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise mg.errors.ValidationError(message)


def has_reached(target, history):
    """Whether the last epoch had the accuracy that --target asks for."""
    return target is not None and history["val_accuracy"][-1:] >= [target]


if __name__ == "__main__":
    main()
