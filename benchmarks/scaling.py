"""Measure how the time of a training step grows with batch, image, channels, window and depth, and falls with threads.

    python benchmarks/scaling.py [--seconds 5] [--quick]

The network is `depth` convolutions with ReLU, the mean of each feature map, and a dense layer; the step is recorded by
mg.graph.  One size is varied at a time.  The measured exponent is the slope in log-log over the upper half of a range;
the expected exponent follows from the number of multiplications.
"""

import numpy as np
from harness import alternate, arguments, cores, draw, introduce, table, write
from matplotlib.ticker import LogLocator

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.viz import style

BASE = {"batch": 64, "image": 16, "channels": 16, "window": 3, "depth": 3, "threads": cores()}
RANGES = {
    "batch": (8, 16, 32, 64, 128, 256, 512),
    "image": (4, 8, 12, 16, 24, 32, 48),
    "channels": (2, 4, 8, 16, 32, 64),
    "window": (1, 3, 5, 7, 9),
    "depth": (1, 2, 3, 4, 6, 8, 12),
    "threads": tuple(range(1, cores() + 1)),
}
EXPECTED = {"batch": 1, "image": 2, "channels": 2, "window": 2, "depth": 1, "threads": -1}
LARGER = {"window": {"image": 32}}  # the image must be large, or much of the window lies in the padding


def main():
    args = arguments(__doc__, seconds=5)
    here = introduce("Scaling of a training step")
    check_agreement()
    rows = [row for size in RANGES for row in vary(size, args)]
    exponents = {size: exponent([row for row in rows if row["size"] == size]) for size in RANGES}
    report(rows, exponents)
    write("scaling", here, rows, args.quick)
    draw("scaling", picture(rows, exponents), args.quick)


class Step:
    """A training step of a network on random images; a call returns the loss."""

    def __init__(self, batch, image, channels, window, depth, threads, device="cpu"):
        mg.manual_seed(0)
        self.threads = threads
        layers = [nn.Conv2d(channels, channels, window, padding=window // 2) for _ in range(depth)]
        self.features = nn.Sequential(*[layer for conv in layers for layer in (conv, nn.ReLU())]).to(device)
        self.classes = nn.Linear(channels, 10).to(device)
        self.optimizer = optim.SGD([*self.features.parameters(), *self.classes.parameters()], lr=0.01)
        self.images = mg.randn(batch, channels, image, image).to(device)
        self.labels = mg.randint(0, 10, (batch,)).to(device)
        self.recorded = mg.graph(self.learn)

    def learn(self, images, labels):
        loss = F.cross_entropy(self.classes(self.features(images).mean((2, 3))), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def begin(self):
        mg.set_num_threads(self.threads)

    def __call__(self):
        return self.recorded(self.images, self.labels)


def check_agreement():
    """Check that the cpu and numpy backends compute the same losses."""
    small = {**BASE, "batch": 7, "channels": 3}
    compiled, reference = (Step(**small, device=device) for device in ("cpu", "numpy"))
    for _ in range(3):
        np.testing.assert_allclose(compiled().item(), reference().item(), rtol=1e-3)


def vary(size, args):
    """Return the rows of one size: each value with the time of a step."""
    values = RANGES[size][:4] if args.quick else RANGES[size]
    steps = {value: Step(**{**BASE, **LARGER.get(size, {}), size: value}) for value in values}
    timings = alternate(steps, args.seconds)
    mg.set_num_threads(cores())
    return [{"size": size, "value": value, **timing._asdict()} for value, timing in timings.items()]


def exponent(rows):
    """Return the slope in log-log over the upper half of a range, or None for a single value."""
    upper = rows[-max(2, (len(rows) + 1) // 2) :]
    if len(upper) < 2:
        return None
    return float(np.polyfit(np.log([row["value"] for row in upper]), np.log([row["median"] for row in upper]), 1)[0])


def format_slope(slope):
    return "-" if slope is None else f"{slope:.2f}"


def report(rows, exponents):
    """Print the times of each range, and its measured and expected exponents."""
    lines = []
    for size, slope in exponents.items():
        selected = [row for row in rows if row["size"] == size]
        times = "  ".join(f"{row['value']}: {1e3 * row['median']:.2f}" for row in selected)
        lines.append((size, times, format_slope(slope), str(EXPECTED[size])))
    table(("size", "ms per step", "exponent", "expected"), lines)


def picture(rows, exponents):
    """Draw a panel for each size: the times, and a line with the expected slope through the last of them."""
    chart = style.figure(12, 7, f"A training step: {', '.join(f'{size} {value}' for size, value in BASE.items())}")
    for axes, (size, slope) in zip(chart.subplots(2, 3).flat, exponents.items(), strict=True):
        selected = [row for row in rows if row["size"] == size]
        values, times = (
            np.array([row["value"] for row in selected]),
            np.array([1e3 * row["median"] for row in selected]),
        )
        expected = times[-1] * (values / values[-1]) ** float(EXPECTED[size])
        axes.loglog(values, expected, "--", color=style.GREY, label=f"expected: {EXPECTED[size]}")
        axes.loglog(values, times, "o-", color=style.BLUE, label=f"measured: {format_slope(slope)}")
        axes.set_xticks(values, [str(value) for value in values])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_xlabel(size, fontsize=style.SMALL)
        axes.set_ylabel("ms per step", fontsize=style.SMALL)
        axes.legend(title="exponent", fontsize=style.SMALL, title_fontsize=style.SMALL)
        style.tidy(axes)
    return chart


if __name__ == "__main__":
    main()
