"""Train LeNet-5 on MNIST, and look at what it learned.

    python examples/train_mnist.py                  three epochs, a few seconds, 99 % of the test digits right
    python examples/train_mnist.py --device numpy   the same in plain NumPy: how fast are the compiled kernels?
    python examples/train_mnist.py --resume         go on where the last run stopped
    python examples/train_mnist.py --target 0.99    stop as soon as so many test digits are right

Everything a training script needs is on this page, in the order in which it happens.
"""

import argparse
import math
import tempfile
from pathlib import Path

from tqdm import tqdm

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, optim, viz
from minigrad.models import LeNet5

MEAN, STD = 0.1307, 0.3081  # of all training pixels, scaled to 0..1
TEST_BATCH = 1024
CHECKPOINT = "checkpoint.safetensors"


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

    # 3. Model and optimiser.  The learning rate climbs for a third of the training and then falls to almost nothing:
    #    large steps first, fine ones at the end (Smith & Topin, "Super-convergence", 2018).
    mg.manual_seed(args.seed)
    model = LeNet5(image_size=32).to(args.device)
    optimizer, scheduler = optimizers(model, train, args)
    run = {"epoch": 0, "batch": 0, "loss": [], "accuracy": [], "steps_per_epoch": len(train)}
    before = model.conv1.weight.detach().clone()
    if args.resume:
        before = resume(args, model, optimizer, scheduler, run)

    # 4. Training.  A step is the same work for every batch: recorded at its first call, it is replayed afterwards.
    #    Ctrl-C saves a checkpoint that --resume continues from, batch for batch.
    step = mg.graph(lambda images, labels: learn(model, optimizer, images, labels))
    try:
        while run["epoch"] < args.epochs and not reached(args, run):
            train_epoch(model, train, step, scheduler, run, args)
            accuracy = evaluate(model, test)[0]
            run["accuracy"].append(accuracy)
            run["epoch"], run["batch"] = run["epoch"] + 1, 0
            print(f"epoch {run['epoch']}/{args.epochs}: {accuracy:.2%} of the test digits right", flush=True)
            save(args, model, optimizer, scheduler, run, before)
    except KeyboardInterrupt:
        save(args, model, optimizer, scheduler, run, before)
        print(f"\nstopped in epoch {run['epoch'] + 1}; go on with --resume (checkpoint in {args.out})")
        return
    if args.target is not None and not reached(args, run):
        print(f"{args.target:.2%} was not reached in {args.epochs} epochs; train for more of them")

    # 5. What it learned.
    draw(args.out, model, test, run, before)
    print(f"weights and pictures are in {args.out}/")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training digits (3)")
    parser.add_argument("--batch-size", type=int, default=128, help="digits per step (128)")
    parser.add_argument("--lr", type=float, default=0.005, help="highest learning rate (0.005)")
    parser.add_argument("--device", default="cpu", help="cpu, numpy or cuda (cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and shuffling (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="folder for weights and pictures")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--target", type=float, help="stop after the epoch that reads this share of the test digits")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs is {args.epochs}; train for at least 1")
    if args.batch_size < 1:
        parser.error(f"--batch-size is {args.batch_size}; use at least 1")
    if not args.lr > 0:
        parser.error(f"--lr is {args.lr}; use a number above 0")
    if args.target is not None and not 0 < args.target <= 1:
        parser.error(f"--target is {args.target}; it is a share, above 0 and at most 1")
    if args.resume and not (args.out / CHECKPOINT).is_file():
        parser.error(
            f"--resume: there is no {args.out / CHECKPOINT}; train without it first, or name the folder by --out"
        )
    try:
        mg.device(args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # refused now, not after an epoch
    except mg.errors.DeviceError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out: {args.out} cannot be written ({error.strerror}); name another folder")
    return args


def optimizers(model, train, args):
    optimizer = optim.Adam(model.parameters(), lr=args.lr, betas=(0.9, 0.99))
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.epochs * len(train), cycle_momentum=False
    )
    return optimizer, scheduler


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


def reached(args, run):
    """Whether the last epoch was good enough."""
    return args.target is not None and bool(run["accuracy"]) and run["accuracy"][-1] >= args.target


def train_epoch(model, train, step, scheduler, run, args):
    """All batches of an epoch, from run["batch"] on."""
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
    for number, (images, labels) in enumerate(train):
        if number < run["batch"]:
            continue
        loss, hits = (value.item() for value in step(images, labels))
        if not math.isfinite(loss):
            raise SystemExit(diverged(args, run, number, loss))
        scheduler.step()
        run["loss"].append(loss)
        run["batch"] = number + 1
        right, seen = right + hits, seen + len(labels)
        bar.update(len(labels))
        if number % 50 == 0:
            bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right / seen:.1%}")
    bar.close()


def diverged(args, run, number, loss):
    """What to say when the loss is no number: the weights are lost, the last checkpoint is not."""
    good = f"{args.out}, after epoch {run['epoch']}, is good" if run["epoch"] else "was not written yet"
    return (
        f"\nthe loss is {loss} at step {number + 1} of epoch {run['epoch'] + 1}; the checkpoint in {good}.  "
        f"Try a smaller learning rate than --lr {args.lr}"
    )


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


def save(args, model, optimizer, scheduler, run, before):
    """The weights alone, for any program that reads safetensors, and all that --resume needs."""
    mg.save(model.state_dict(), args.out / "lenet5.safetensors")
    mg.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "run": run,
            "before": before,
        },
        args.out / CHECKPOINT,
    )


def resume(args, model, optimizer, scheduler, run):
    checkpoint = mg.load(args.out / CHECKPOINT, device=args.device)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    run.update(checkpoint["run"])
    return checkpoint["before"]


def draw(out, model, test, run, before):
    """Filters before and after, the course of training, and which digits are taken for which."""
    _, labels, answers = evaluate(model, test)
    viz.save(viz.filters(model.conv1, init=before.numpy(), title="LeNet-5, first layer"), out / "filters.png")
    viz.save(viz.training_curves(run), out / "training.png")
    viz.save(viz.confusion_matrix(labels.numpy(), answers.numpy()), out / "confusion.png")


if __name__ == "__main__":
    main()
