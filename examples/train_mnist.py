"""Train LeNet-5 on MNIST, and draw what it has learned.

    python examples/train_mnist.py                  three epochs, a few seconds, 99 % of the test digits right
    python examples/train_mnist.py --device numpy   the same in plain NumPy, to compare the speed
    python examples/train_mnist.py --resume         continue the last run; with --epochs 5, for more epochs
    python examples/train_mnist.py --target 0.99    stop after the first epoch with this accuracy

This file has everything that a training script needs, in the order in which it happens.
"""

import argparse
import contextlib
import math
import os
import signal
import tempfile
from itertools import islice
from pathlib import Path

from tqdm import tqdm

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, optim, viz
from minigrad.models import LeNet5

MEAN, STD = 0.1307, 0.3081  # of all training pixels, scaled to 0..1
TEST_BATCH = 1024
CHECKPOINT = "checkpoint.safetensors"
FORMAT = "minigrad examples/train_mnist.py, version 1"  # identifies the checkpoints of this script
DEFAULTS = {"epochs": 3, "batch_size": 128, "lr": 0.005, "seed": 0, "device": "cpu"}
FIXED = ("batch_size", "lr", "seed")  # settings that --resume does not change, because they change the whole run


def main():
    args = arguments()

    # 1. Data: 60,000 digits for training, and 10,000 digits for the test, which are not used in training.  They stay in
    #    memory as bytes.  One kernel selects the images of a batch, normalises them, and pads them from 28x28 to 32x32
    #    pixels, the input size of LeNet-5.  The incomplete last batch is left out; it has other images in each epoch.
    settings = {"normalize": (MEAN, STD), "pad": 2, "device": args.device}
    train = data.DataLoader(
        datasets.MNIST(train=True), args.batch_size, shuffle=True, seed=args.seed, drop_last=True, **settings
    )
    test = data.DataLoader(datasets.MNIST(train=False), TEST_BATCH, **settings)

    # 2. Kernels: the first run on a machine compiles them, and later runs load them from disk.
    mg.warmup(lambda: use_all_kernels(args, settings))

    # 3. Model and optimiser, from random numbers or from the checkpoint.  The learning rate rises for a third of the
    #    training and then falls almost to 0: large steps first, small steps at the end (Smith & Topin,
    #    "Super-convergence", 2018).  It depends only on the number of the step.
    mg.manual_seed(args.seed)
    model = LeNet5(image_size=32).to(args.device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr, betas=(0.9, 0.99))
    run = {"epoch": 0, "batch": 0, "saved": 0, "loss": [], "accuracy": [], "steps_per_epoch": len(train)}
    before = model.conv1.weight.detach().clone()
    if args.resume:
        before = resume(args, model, optimizer, run)
        if is_finished(args, run):
            print(f"nothing is left to train after {run['epoch']} epochs; give more with --epochs")
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.epochs * len(train), cycle_momentum=False, last_epoch=len(run["loss"]) - 1
    )

    # 4. Training.  A step does the same work for every batch, so mg.graph records it at the first call and replays it
    #    afterwards.  A checkpoint holds everything on which the next steps depend.  Ctrl-C writes one, and --resume
    #    continues from the last one with bit-for-bit the same results as an uninterrupted run.
    step = mg.graph(lambda images, labels: train_step(model, optimizer, images, labels))
    with StopRequest() as stop:
        while not (is_finished(args, run) or stop.requested):
            for _ in train_epoch(model, train, step, scheduler, run, args):
                if stop.requested:
                    break
                if args.checkpoint_every and len(run["loss"]) % args.checkpoint_every == 0:
                    save(args, model, optimizer, run, before)
            if run["batch"] == len(train):
                accuracy = evaluate(model, test)[0]
                run["accuracy"].append(accuracy)
                run["epoch"], run["batch"] = run["epoch"] + 1, 0
                print(f"epoch {run['epoch']}/{args.epochs}: {accuracy:.2%} of the test digits right", flush=True)
            save(args, model, optimizer, run, before)
    if not is_finished(args, run):
        print(f"\nstopped in epoch {run['epoch'] + 1}; continue with --resume (checkpoint in {args.out})")
        return
    if args.target is not None and not has_reached_target(args, run):
        print(f"{args.target:.2%} was not reached in {args.epochs} epochs; train for more epochs")

    # 5. Pictures of what it has learned.
    draw(args.out, model, test, run, before)
    print(f"weights and pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="passes over the training digits (3)")
    parser.add_argument("--batch-size", type=int, help="digits in a step (128)")
    parser.add_argument("--lr", type=float, help="highest learning rate (0.005)")
    parser.add_argument("--device", help="cpu, numpy or cuda (cpu)")
    parser.add_argument("--seed", type=int, help="seed of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="folder for weights and pictures")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in the folder")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="also write checkpoints within an epoch")
    parser.add_argument("--target", type=float, help="stop after the first epoch with this accuracy, from 0 to 1")
    args = parser.parse_args()
    try:
        complete_settings(args)
        mg.device(args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # fail now, not after an epoch
    except mg.errors.MinigradError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); choose another folder")
    return args


def complete_settings(args):
    """Fill in settings that were not given, from the run to resume or from DEFAULTS, and check all settings."""
    args.checkpoint = load_checkpoint(args.out / CHECKPOINT) if args.resume else None
    known = args.checkpoint["settings"] if args.resume else DEFAULTS
    for name, value in known.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    wrong = [
        (args.epochs < 1, f"--epochs is {args.epochs}; use 1 or more"),
        (args.batch_size < 1, f"--batch-size is {args.batch_size}; use 1 or more"),
        (not 0 < args.lr < math.inf, f"--lr is {args.lr}; use a number above 0"),
        (not 0 <= args.seed < 2**64, f"--seed is {args.seed}; use 0 to 2**64 - 1"),
        (args.checkpoint_every is not None and args.checkpoint_every < 1,
         f"--checkpoint-every is {args.checkpoint_every} steps; use 1 or more"),
        (args.target is not None and not 0 < args.target <= 1,
         f"--target is {args.target}; use a number above 0 and at most 1"),
    ]  # fmt: skip
    if args.resume:
        wrong += find_conflicts(args, known, args.checkpoint["run"])
    for is_wrong, message in wrong:
        if is_wrong:
            raise mg.errors.ValidationError(message)


def load_checkpoint(path):
    """Return the content of a checkpoint; the file is not changed."""
    if not path.exists():
        raise mg.errors.DataError(
            f"--resume: there is no {path}; train without it first, or give the folder with --out"
        )
    checkpoint = mg.load(path)
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise mg.errors.DataError(
            f"--resume: {path} is not a checkpoint of this version of the script; train without --resume, or in "
            "another folder (--out) to keep the file"
        )
    return checkpoint


def find_conflicts(args, known, run):
    """Return pairs (whether a setting conflicts with the run to resume, message)."""
    others = [name for name in FIXED if getattr(args, name) != known[name]]
    flags = ["--" + name.replace("_", "-") for name in others]
    pairs = [
        f"{flag} is {getattr(args, name)}, but it was {known[name]}" for flag, name in zip(flags, others, strict=True)
    ]
    begun = run["epoch"] + (run["batch"] > 0)
    return [
        (bool(others), f"--resume: {'; '.join(pairs)}; leave out {' and '.join(flags)} to continue, or train "
         "without --resume in another folder (--out)"),
        (args.epochs < begun, f"--resume: --epochs is {args.epochs}, but {begun} were begun; use {begun} or more"),
    ]  # fmt: skip


def use_all_kernels(args, settings):
    """Run a training step and a test batch of a temporary model, which use all kernels of a run."""
    digits = datasets.MNIST(train=False)
    model = LeNet5(image_size=32).to(args.device)
    train, test = (data.DataLoader(digits, size, prefetch=0, **settings) for size in (args.batch_size, TEST_BATCH))
    train_step(model, optim.Adam(model.parameters()), *next(iter(train)))
    evaluate(model, [next(iter(test))])


def train_step(model, optimizer, images, labels):
    """Compute the loss and its gradients and update the weights; return the loss and the number of right answers."""
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, (logits.argmax(1) == labels).sum()


def is_finished(args, run):
    return run["epoch"] >= args.epochs or has_reached_target(args, run)


def has_reached_target(args, run):
    return args.target is not None and bool(run["accuracy"]) and run["accuracy"][-1] >= args.target


def train_epoch(model, train, step, scheduler, run, args):
    """Train on the batches of an epoch from run["batch"] on; yield after each complete step."""
    model.train()
    train.epoch = run["epoch"]
    bar = tqdm(
        total=len(train) * args.batch_size,
        initial=run["batch"] * args.batch_size,
        unit=" images",
        unit_scale=True,
        desc=f"epoch {run['epoch'] + 1}/{args.epochs}",
    )
    right = seen = 0
    with bar:
        for images, labels in islice(train, run["batch"], None):
            loss, hits = (value.item() for value in step(images, labels))
            if not math.isfinite(loss):
                raise SystemExit(divergence_message(args, run, loss))
            scheduler.step()
            run["loss"].append(loss)
            run["batch"] += 1
            right, seen = right + hits, seen + len(labels)
            bar.update(len(labels))
            if run["batch"] % 50 == 1:
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right / seen:.1%}")
            yield


def divergence_message(args, run, loss):
    """Return the message for a loss of nan or infinity, after which only the last checkpoint is usable."""
    epoch, batch = divmod(run["saved"], run["steps_per_epoch"])
    moment = f"step {batch} of epoch {epoch + 1}" if batch else f"epoch {epoch}"
    good = f"the checkpoint in {args.out}, after {moment}, is good" if run["saved"] else "there is no checkpoint yet"
    return (
        f"\nthe loss is {loss} at step {run['batch'] + 1} of epoch {run['epoch'] + 1}; {good}.  "
        f"Try a learning rate smaller than --lr {args.lr}"
    )


class StopRequest:
    """Catch Ctrl-C and SIGTERM: the first sets `requested`, the second stops at once."""

    def __enter__(self):
        self.requested = False
        self.handlers = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def handle(self, number, frame):
        self.requested = True
        self.restore_handlers()
        with contextlib.suppress(OSError):  # not print(), which the signal may have interrupted
            os.write(2, b"\nstopping after this step; a second Ctrl-C stops at once\n")

    def restore_handlers(self):
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def __exit__(self, kind, error, trace):
        self.restore_handlers()
        if kind is KeyboardInterrupt:
            raise SystemExit("\nstopped at once; --resume continues from the last checkpoint") from None


def evaluate(model, batches):
    """Return the accuracy, the labels and the answers."""
    model.eval()
    labels, answers = [], []
    with mg.no_grad():
        for images, truth in batches:
            answers.append(model(images).argmax(1))
            labels.append(truth)
    labels, answers = mg.cat(labels), mg.cat(answers)
    return (labels == answers).float().mean().item(), labels, answers


def save(args, model, optimizer, run, before):
    """Write the weights alone, for any program that reads safetensors, and a checkpoint for --resume."""
    run["saved"] = len(run["loss"])
    mg.save(model.state_dict(), args.out / "lenet5.safetensors")
    mg.save(
        {
            "format": FORMAT,
            "settings": {name: getattr(args, name) for name in DEFAULTS},
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "run": run,
            "before": before,
        },
        args.out / CHECKPOINT,
    )


def resume(args, model, optimizer, run):
    """Load the state of the checkpoint; return the filters of conv1 before training."""
    checkpoint, known = args.checkpoint, args.checkpoint["settings"]
    steps = checkpoint["run"]["steps_per_epoch"]
    if steps != run["steps_per_epoch"]:
        raise SystemExit(
            f"--resume: an epoch has {run['steps_per_epoch']} steps, but it had {steps}; use the same data set"
        )
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    run.update(checkpoint["run"])
    if args.epochs != known["epochs"]:
        print(f"the learning rate continues as in a run of {args.epochs} epochs; it was set for {known['epochs']}")
    if args.device != known["device"]:
        print(f"continuing on {args.device}; the run was on {known['device']}, whose results differ in the last bits")
    return checkpoint["before"]


def draw(out, model, test, run, before):
    """Draw the filters before and after training, the training curves, and the confusion matrix."""
    _, labels, answers = evaluate(model, test)
    viz.save(viz.filters(model.conv1, init=before.numpy(), title="LeNet-5, first layer"), out / "filters.png")
    viz.save(viz.training_curves(run), out / "training.png")
    viz.save(viz.confusion_matrix(labels.numpy(), answers.numpy()), out / "confusion.png")


if __name__ == "__main__":
    main()
