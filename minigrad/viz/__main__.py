"""Watch a network learn in the browser, or write a page of a trained model.

python -m minigrad.viz                           trains LeNet-5 on MNIST and serves the page
python -m minigrad.viz --paused --lr 0.01        waits for "play"
python -m minigrad.viz --write lab.html          trains for one pass and writes a page of the result
python -m minigrad.viz model.safetensors         opens the page of a model that reads MNIST digits, from mg.save_model
python -m minigrad.viz model.safetensors --write lab.html    writes this page
"""

import argparse
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import minigrad.nn.functional as F
from minigrad import data, datasets, optim
from minigrad.errors import MinigradError, ValidationError
from minigrad.models import LeNet5
from minigrad.random import manual_seed
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.inputs import as_array
from minigrad.viz.page import live, page
from minigrad.viz.probe import compute_scores

MEAN_STD = 0.1307, 0.3081  # of all training pixels of MNIST, scaled to 0..1
SHAPE, CLASSES = (1, 28, 28), 10  # of MNIST
SHOWN = 200  # digits of the test set in the page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    args = _parse(arguments)
    try:
        if args.model is not None:
            return _write_model(args)
        return _write_training(args) if args.write else _serve_training(args)
    except (MinigradError, OSError) as error:
        print(f"minigrad.viz: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m minigrad.viz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a file of mg.save_model that reads MNIST digits")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write a page in place of serving one")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training digits (1)")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate (0.05)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and shuffling (0)")
    parser.add_argument("--port", type=int, default=0, help="port of the server (any free one)")
    parser.add_argument("--paused", action="store_true", help='wait until the page says "play"')
    parser.add_argument(
        "--no-browser", action="store_true", help="do not open a browser; print the file or the address"
    )
    args = parser.parse_args(arguments)
    if args.epochs < 1 or args.seed < 0 or not args.lr > 0 or not 0 <= args.port <= 65535:
        parser.error("use --epochs of 1 or more, --seed of 0 or more, --lr above 0, and --port from 0 to 65535")
    return args


def _write_model(args: argparse.Namespace) -> int:
    from minigrad.model_files import load_model

    model, digits = load_model(args.model), datasets.MNIST(train=False)
    images, labels = as_array(digits.data[:SHOWN])[:, None], as_array(digits.targets[:SHOWN])
    _check_reads_digits(args.model, model)
    path = page(model, images, args.write or Path(tempfile.mkdtemp()) / "lab.html", labels=labels)
    print(path)
    if args.write is None and not args.no_browser:
        webbrowser.open(path.as_uri())
    return 0


def _check_reads_digits(path: Path, model: Any) -> None:
    """Refuse a model of other images than grey digits."""
    C, H, W = model.model_info.get("input_size", SHAPE)
    pad = 2 * model.model_info.get("pad", 0)
    K = compute_scores("minigrad.viz", model, np.zeros((1, C, H + pad, W + pad), np.float32)).shape[-1]
    if SHAPE[0] != C or K != CLASSES:
        raise ValidationError(
            f"{path}: the model reads images {(C, H, W)} and scores {K} classes; this program shows the digits of "
            f"MNIST, {SHAPE} and {CLASSES} classes; for other images, call viz.page(mg.load_model(file), images, path)"
        )


def _write_training(args: argparse.Namespace) -> int:
    training = _Training(args)
    tape = FilterTape(training.model, every=10, gradients=True)
    for x, y in training.batches():
        tape.step(training.step(x, y))
    print(page(training.model, _shown_digits(), args.write, tape=tape, normalize=MEAN_STD))
    return 0


def _serve_training(args: argparse.Namespace) -> int:
    training = _Training(args)
    settings: dict[str, Any] = {"optimizer": training.optimizer, "restart": training.restart, "normalize": MEAN_STD}
    settings |= {"paused": args.paused, "port": args.port, "open_browser": not args.no_browser}
    with live(training.model, _shown_digits(), **settings) as session:
        print(f"open {session.url}\nCtrl-C ends the training", flush=True)
        session.wait()
        while True:
            for x, y in training.batches():
                session.step(training.step(x, y))
            session.finish()
            print("the training is finished; the page stays until Ctrl-C, and can start another one", flush=True)
            session.wait()


class _Training:
    """LeNet-5, its optimiser, and the batches of all epochs; it can be restarted with another seed."""

    def __init__(self, args: argparse.Namespace):
        self.epochs, self.digits = args.epochs, datasets.MNIST()
        manual_seed(args.seed)
        self.model = LeNet5()
        self.optimizer = optim.SGD(self.model.parameters(), lr=args.lr, momentum=0.9)
        self._left = self._start_epochs(args.seed)

    def restart(self, seed: int) -> None:
        """Begin again with the weights and the order of another seed; the learning rate stays."""
        manual_seed(seed)
        self.model.load_state_dict(LeNet5().state_dict())
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.load_state_dict(optim.SGD(self.model.parameters(), lr=lr, momentum=0.9).state_dict())
        self._left = self._start_epochs(seed)

    def batches(self) -> Iterator[Any]:
        """Yield the batches that are left; from the first one after a restart."""
        while (batch := next(self._left, None)) is not None:
            yield batch

    def step(self, x: Any, y: Any) -> Any:
        """Train on a batch and return its loss."""
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def _start_epochs(self, seed: int) -> Iterator[Any]:
        loader = data.DataLoader(self.digits, 128, shuffle=True, seed=seed, drop_last=True, normalize=MEAN_STD)
        return (batch for _ in range(self.epochs) for batch in loader)


def _shown_digits() -> data.Subset:
    """Return the digits of the test set that are in the page."""
    return data.Subset(datasets.MNIST(train=False), range(SHOWN))


if __name__ == "__main__":
    sys.exit(main())
