"""Measure the seconds from the start of a process until it reads 99 % of MNIST's test digits, for several seeds.

    python benchmarks/mnist99.py [--quick]

It runs examples/train_mnist.py, whose kernels were compiled by a run that is not timed.  With --quick it runs one seed,
to 90 %.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import arguments, draw, introduce, table, write

from minigrad.viz import style

SCRIPT = Path(__file__).parents[1] / "examples" / "train_mnist.py"
SEEDS = range(5)
EPOCH = re.compile(r"epoch \d+/\d+: .*; validation .*accuracy ([\d.]+)")


def main():
    args = arguments(__doc__, seconds=0)
    here = introduce("MNIST to a target")
    target, seeds = (0.9, SEEDS[:1]) if args.quick else (0.99, SEEDS)
    run(target=0.01, seed=0)  # compiles
    rows = [run(target, seed) for seed in seeds]
    report(rows)
    write("mnist99", here, rows, args.quick)
    draw("mnist99", picture(rows), args.quick)


def run(target, seed):
    """Train with a seed to a target accuracy; return seconds, epochs and accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"--target": target, "--seed": seed, "--out": folder}
        command = [sys.executable, str(SCRIPT), *[str(part) for pair in settings.items() for part in pair]]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
            shares = [(time.perf_counter() - start, float(found[1])) for found in epochs(process.stdout)]
            message = process.stderr.read()
        whole = time.perf_counter() - start
    if process.returncode or not shares:
        raise SystemExit(f"{SCRIPT.name} with seed {seed} failed:\n{message}")
    seconds, accuracy = shares[-1]
    return {
        "seed": seed,
        "target": target,
        "reached": accuracy >= target,
        "seconds": seconds,
        "whole_process": whole,
        "epochs": len(shares),
        "accuracy": accuracy,
    }


def epochs(lines):
    """Yield matches of the lines that end an epoch."""
    return filter(None, map(EPOCH.match, lines))


def report(rows):
    """Print the row of each seed, the mean and the worst time."""
    seconds = [row["seconds"] for row in rows]
    lines = [
        (
            str(row["seed"]),
            f"{row['seconds']:.2f}",
            f"{row['whole_process']:.2f}",
            str(row["epochs"]),
            f"{row['accuracy']:.2%}",
            "yes" if row["reached"] else "no",
        )
        for row in rows
    ]
    ends = [(name, f"{choose(seconds):.2f}", "", "", "", "") for name, choose in (("mean", np.mean), ("worst", max))]
    table(
        ("seed", "s to the target", "s with pictures", "epochs", "accuracy", f"{rows[0]['target']:.0%} reached"),
        lines + ends,
    )


def picture(rows):
    """Draw the seconds of each seed, and their mean."""
    chart = style.figure(6, 4, f"Seconds from process start to {rows[0]['target']:.0%} of the test digits")
    axes, seconds = chart.subplots(), [row["seconds"] for row in rows]
    bars = axes.bar(
        [str(row["seed"]) for row in rows],
        seconds,
        color=[style.BLUE if row["reached"] else style.GREY for row in rows],
    )
    texts = [f"{row['seconds']:.1f} s\n{row['accuracy']:.2%}" for row in rows]
    axes.bar_label(bars, texts, label_type="center", color="white", fontsize=style.SMALL)
    axes.axhline(np.mean(seconds), color=style.VERMILION, label=f"mean {np.mean(seconds):.1f} s")
    axes.set_xlabel("seed (grey: target not reached)", fontsize=style.LABEL)
    axes.set_ylabel("s", fontsize=style.LABEL)
    axes.legend(fontsize=style.SMALL, loc="lower left")
    style.tidy(axes)
    return chart


if __name__ == "__main__":
    main()
