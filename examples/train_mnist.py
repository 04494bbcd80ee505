"""Train LeNet-5 on MNIST, and look at what it learned.

    python examples/train_mnist.py                  three epochs, a few seconds, 99 % of the test digits right
    python examples/train_mnist.py --device numpy   the same in plain NumPy: how fast are the compiled kernels?
    python examples/train_mnist.py --resume         go on where the last run stopped; with --epochs 5 for longer
    python examples/train_mnist.py --target 0.99    stop as soon as so many test digits are right

Everything a training script needs is on this page, in the order in which it happens.
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
WRITER = "examples/train_mnist.py, form 1"  # stands in every checkpoint, so that others are told from them
DEFAULTS = {"epochs": 3, "batch_size": 128, "lr": 0.005, "seed": 0, "device": "cpu"}
FIXED = ("batch_size", "lr", "seed")  # a run that goes on with another of these would be neither the old nor a new one


def main():
    args = arguments()

    # 1. Data: 60,000 digits to learn from and 10,000 the network never sees while it learns.  They stay in memory as
    #    bytes; one kernel picks, normalises and pads the images of a batch from 28x28 to 32x32, LeNet-5's input size.
    #    The incomplete last batch of an epoch is left out: other images make it up each time.
    settings = {"normalize": (MEAN, STD), "pad": 2, "device": args.device}
    train = data.DataLoader(
        datasets.MNIST(train=True), args.batch_size, shuffle=True, seed=args.seed, drop_last=True, **settings
    )
    test = data.DataLoader(datasets.MNIST(train=False), TEST_BATCH, **settings)

    # 2. Kernels: the first run on a machine compiles them, later runs find them on disk.
    mg.warmup(lambda: rehearse(args, settings))

    # 3. Model and optimiser, from random numbers or from the checkpoint.  The learning rate climbs for a third of the
    #    training and then falls to almost nothing: large steps first, fine ones at the end (Smith & Topin,
    #    "Super-convergence", 2018).  It follows from the number of steps that were done.
    mg.manual_seed(args.seed)
    model = LeNet5(image_size=32).to(args.device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr, betas=(0.9, 0.99))
    run = {"epoch": 0, "batch": 0, "saved": 0, "loss": [], "accuracy": [], "steps_per_epoch": len(train)}
    before = model.conv1.weight.detach().clone()
    if args.resume:
        before = resume(args, model, optimizer, run)
        if finished(args, run):
            print(f"nothing is left to train after {run['epoch']} epochs; ask for more by --epochs")
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.epochs * len(train), cycle_momentum=False, last_epoch=len(run["loss"]) - 1
    )

    # 4. Training.  A step is the same work for every batch: recorded at its first call, it is replayed afterwards.
    #    Between two steps, a checkpoint holds all that the steps to come depend on: Ctrl-C writes one, and --resume
    #    goes on from the last one as if nothing had happened, to the bit.
    step = mg.graph(lambda images, labels: learn(model, optimizer, images, labels))
    with Stop() as stop:
        while not (finished(args, run) or stop.asked):
            for _ in train_epoch(model, train, step, scheduler, run, args):
                if stop.asked:
                    break
                if args.checkpoint_every and len(run["loss"]) % args.checkpoint_every == 0:
                    save(args, model, optimizer, run, before)
            if run["batch"] == len(train):
                accuracy = evaluate(model, test)[0]
                run["accuracy"].append(accuracy)
                run["epoch"], run["batch"] = run["epoch"] + 1, 0
                print(f"epoch {run['epoch']}/{args.epochs}: {accuracy:.2%} of the test digits right", flush=True)
            save(args, model, optimizer, run, before)
    if not finished(args, run):
        print(f"\nstopped in epoch {run['epoch'] + 1}; go on with --resume (checkpoint in {args.out})")
        return
    if args.target is not None and not reached(args, run):
        print(f"{args.target:.2%} was not reached in {args.epochs} epochs; train for more of them")

    # 5. What it learned.
    draw(args.out, model, test, run, before)
    print(f"weights and pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="passes over the training digits (3)")
    parser.add_argument("--batch-size", type=int, help="digits per step (128)")
    parser.add_argument("--lr", type=float, help="highest learning rate (0.005)")
    parser.add_argument("--device", help="cpu, numpy or cuda (cpu)")
    parser.add_argument("--seed", type=int, help="of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="folder for weights and pictures")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder, as it was set")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="a checkpoint also within an epoch")
    parser.add_argument("--target", type=float, help="stop after the epoch that reads this share of the test digits")
    args = parser.parse_args()
    try:
        complete(args)
        mg.device(args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # refused now, not after an epoch
    except mg.errors.MinigradError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); name another folder")
    return args


def complete(args):
    """Settings that were not given: those of the run that goes on, or the usual ones.  All are checked."""
    args.checkpoint = load_checkpoint(args.out / CHECKPOINT) if args.resume else None
    known = args.checkpoint["settings"] if args.resume else DEFAULTS
    for name, value in known.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    wrong = [
        (args.epochs < 1, f"--epochs is {args.epochs}; train for at least 1"),
        (args.batch_size < 1, f"--batch-size is {args.batch_size}; use at least 1"),
        (not 0 < args.lr < math.inf, f"--lr is {args.lr}; use a number above 0"),
        (not 0 <= args.seed < 2**64, f"--seed is {args.seed}; use 0 to 2**64 - 1"),
        (args.checkpoint_every is not None and args.checkpoint_every < 1,
         f"--checkpoint-every is {args.checkpoint_every} steps; use at least 1"),
        (args.target is not None and not 0 < args.target <= 1,
         f"--target is {args.target}; it is a share, above 0 and at most 1"),
    ]  # fmt: skip
    if args.resume:
        wrong += differences(args, known, args.checkpoint["run"])
    for is_wrong, message in wrong:
        if is_wrong:
            raise mg.errors.ValidationError(message)


def load_checkpoint(path):
    """What save() wrote.  The file is left as it is, whatever it holds."""
    if not path.exists():
        raise mg.errors.DataError(f"--resume: there is no {path}; train without it first, or name the folder by --out")
    checkpoint = mg.load(path)
    if not isinstance(checkpoint, dict) or checkpoint.get("writer") != WRITER:
        raise mg.errors.DataError(
            f"--resume: {path} is no checkpoint of this script as it is now; train without --resume, with --out for "
            "another folder if the file is to stay"
        )
    return checkpoint


def differences(args, known, run):
    """What cannot be another one in a run that goes on; (whether it is, what to say)."""
    others = [name for name in FIXED if getattr(args, name) != known[name]]
    flags = ["--" + name.replace("_", "-") for name in others]
    pairs = [f"{flag} is {getattr(args, name)}, it was {known[name]}" for flag, name in zip(flags, others, strict=True)]
    begun = run["epoch"] + (run["batch"] > 0)
    return [
        (bool(others), f"--resume: {'; '.join(pairs)}; leave out {' and '.join(flags)} to go on, or train without "
         "--resume in another folder (--out)"),
        (args.epochs < begun, f"--resume: --epochs is {args.epochs}, and {begun} were begun; ask for as many or more"),
    ]  # fmt: skip


def rehearse(args, settings):
    """A step and a test batch of a model that is thrown away: the kernels that the run will need."""
    digits = datasets.MNIST(train=False)
    model = LeNet5(image_size=32).to(args.device)
    train, test = (data.DataLoader(digits, size, prefetch=0, **settings) for size in (args.batch_size, TEST_BATCH))
    learn(model, optim.Adam(model.parameters()), *next(iter(train)))
    evaluate(model, [next(iter(test))])


def learn(model, optimizer, images, labels):
    """One step: forward, loss, gradients, new weights.  Returns the loss and the number of right answers."""
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, (logits.argmax(1) == labels).sum()


def finished(args, run):
    """Whether there is nothing left to train."""
    return run["epoch"] >= args.epochs or reached(args, run)


def reached(args, run):
    """Whether the last epoch was good enough."""
    return args.target is not None and bool(run["accuracy"]) and run["accuracy"][-1] >= args.target


def train_epoch(model, train, step, scheduler, run, args):
    """The batches of an epoch from run["batch"] on; yields after each step, when all of it is done."""
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
                raise SystemExit(diverged(args, run, loss))
            scheduler.step()
            run["loss"].append(loss)
            run["batch"] += 1
            right, seen = right + hits, seen + len(labels)
            bar.update(len(labels))
            if run["batch"] % 50 == 1:
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right / seen:.1%}")
            yield


def diverged(args, run, loss):
    """What to say when the loss is no number: the weights are lost, the last checkpoint is not."""
    epoch, batch = divmod(run["saved"], run["steps_per_epoch"])
    moment = f"step {batch} of epoch {epoch + 1}" if batch else f"epoch {epoch}"
    good = f"the checkpoint in {args.out}, after {moment}, is good" if run["saved"] else "no checkpoint was written yet"
    return (
        f"\nthe loss is {loss} at step {run['batch'] + 1} of epoch {run['epoch'] + 1}; {good}.  "
        f"Try a smaller learning rate than --lr {args.lr}"
    )


class Stop:
    """Whether the run is asked to stop, by Ctrl-C or SIGTERM: after the step at hand.  The second one does not wait."""

    def __enter__(self):
        self.asked = False
        self.before = {number: signal.signal(number, self.ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def ask(self, number, frame):
        self.asked = True
        for number, handler in self.before.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):  # print() may be what was interrupted
            os.write(2, b"\nstopping after this step; the second time stops at once\n")

    def __exit__(self, kind, error, trace):
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt:
            raise SystemExit("\nstopped at once; --resume goes on from the last checkpoint") from None


def evaluate(model, batches):
    """The share of right answers, and all labels and answers."""
    model.eval()
    labels, answers = [], []
    with mg.no_grad():
        for images, truth in batches:
            answers.append(model(images).argmax(1))
            labels.append(truth)
    labels, answers = mg.cat(labels), mg.cat(answers)
    return (labels == answers).float().mean().item(), labels, answers


def save(args, model, optimizer, run, before):
    """The weights alone, for any program that reads safetensors, and all that --resume needs."""
    run["saved"] = len(run["loss"])
    mg.save(model.state_dict(), args.out / "lenet5.safetensors")
    mg.save(
        {
            "writer": WRITER,
            "settings": {name: getattr(args, name) for name in DEFAULTS},
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "run": run,
            "before": before,
        },
        args.out / CHECKPOINT,
    )


def resume(args, model, optimizer, run):
    """Take over the state of the checkpoint; returns the first filters as they were before training."""
    checkpoint, known = args.checkpoint, args.checkpoint["settings"]
    steps = checkpoint["run"]["steps_per_epoch"]
    if steps != run["steps_per_epoch"]:
        raise SystemExit(
            f"--resume: an epoch has {run['steps_per_epoch']} steps, it had {steps}; was the data set another one?"
        )
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    run.update(checkpoint["run"])
    if args.epochs != known["epochs"]:
        print(f"the learning rate goes on as in a run of {args.epochs} epochs; it was set for {known['epochs']}")
    if args.device != known["device"]:
        print(f"goes on on {args.device}; the run was on {known['device']}, whose last bits differ")
    return checkpoint["before"]


def draw(out, model, test, run, before):
    """Filters before and after, the course of training, and which digits are taken for which."""
    _, labels, answers = evaluate(model, test)
    viz.save(viz.filters(model.conv1, init=before.numpy(), title="LeNet-5, first layer"), out / "filters.png")
    viz.save(viz.training_curves(run), out / "training.png")
    viz.save(viz.confusion_matrix(labels.numpy(), answers.numpy()), out / "confusion.png")


if __name__ == "__main__":
    main()
