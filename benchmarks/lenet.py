"""Compare a training step and a prediction of LeNet-5 in minigrad, NumPy, PyTorch and JAX.

    python benchmarks/lenet.py [--seconds 20] [--quick]

A training step is forward, cross-entropy, backward and SGD with momentum, on eight batches of MNIST images, NumPy
arrays, in rotation.  The rivals start from the same weights, must compute the same losses in five steps, and then take
turns.  Other tables show the time from the start of a process to the end of its first step, and the effects of a second
thread and of another busy process.
"""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import rivals
from harness import (
    FLOAT,
    alternate,
    arguments,
    busy_process,
    cores,
    draw,
    introduce,
    table,
    threads_text,
    version,
    write,
)

from minigrad.datasets import MNIST
from minigrad.viz import style

TRAINING = (64, 128, 256, 1, 7, 33, 100)
STEPS = 5  # in which the rivals must agree
CONDITION_BATCH = 128
QUICK_TRAINING = (64, 7)
NUMPY = "NumPy im2col + BLAS"


def main():
    args = arguments(__doc__, seconds=20)
    here = introduce("LeNet-5")
    cases = [("training", N) for N in (QUICK_TRAINING if args.quick else TRAINING)] + [("prediction", 1)]
    rows = []
    for work, N in cases:
        rows += compare(work, N, args, here)
    rows += first_steps(args.quick) + conditions(args.seconds, here)
    write("lenet", here, rows, args.quick)
    draw("lenet", picture(rows), args.quick)


# ---- rivals at one batch size


def compare(work, N, args, here):
    """Check and time the rivals, and print a table; return its rows."""
    found = contestants(batches(N), work == "training", compiled=not args.quick)
    timings = alternate(check_agreement(found), args.seconds)
    rows = [row(work, N, name, timing, here) for name, timing in timings.items()]
    show(f"{work}, batch {N}", rows)
    return rows


def contestants(batches, training, compiled):
    """Return {name: rival} of all installed rivals, with minigrad and mg.graph first."""
    weights, many = rivals.weights(), cores()
    found = {
        f"minigrad, mg.graph, {threads_text(many)}": rivals.Graph(weights, batches, training, many),
        f"minigrad, {threads_text(many)}": rivals.Minigrad(weights, batches, training, many),
        f"{NUMPY}, {threads_text(many)}": rivals.Numpy(weights, batches, training, many),
    }
    if version("torch"):
        for threads in sorted({many, 1}, reverse=True):
            name = f"PyTorch {short_version('torch')} eager, {threads_text(threads)}"
            found[name] = rivals.Torch(weights, batches, training, threads)
        if compiled:
            name = f"PyTorch {short_version('torch')} torch.compile, {threads_text(many)}"
            found[name] = rivals.Compiled(weights, batches, training, many)
    if version("jax"):
        found[f"JAX {short_version('jax')} jit"] = rivals.Jax(weights, batches, training)
    return found


def short_version(package):
    """Return the version of a package without the last number."""
    return ".".join(version(package).split(".")[:2])


def batches(N):
    """Return eight batches of test digits with a margin of two pixels: (images (N, 1, 32, 32), labels (N))."""
    digits = MNIST(train=False)
    pixels, labels = np.asarray(digits.images), np.array(digits.labels, np.int64)
    mean, std = rivals.MNIST
    result = []
    for start in range(0, 8 * N, N):
        images = (pixels[start : start + N].reshape(N, 1, 28, 28) / 255 - mean) / std
        margin = ((0, 0), (0, 0), (2, 2), (2, 2))
        result.append((np.pad(images, margin, constant_values=-mean / std).astype(FLOAT), labels[start : start + N]))
    return result


def check_agreement(found):
    """Return the rivals that run, after a check that their losses or logits on the same batches agree."""
    results = {name: values for name, rival in found.items() if (values := first_values(name, rival)) is not None}
    expected = next(value for name, value in results.items() if name.startswith(NUMPY))
    for name, values in results.items():
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4, err_msg=f"{name} against {NUMPY}")
    return {name: found[name] for name in results}


def first_values(name, rival):
    """Return the results of the first calls; None if torch.compile fails, as without a C++ compiler."""
    rival.begin()
    try:
        return np.array([rival.values() for _ in range(STEPS)])
    except Exception as error:
        if type(rival) is not rivals.Compiled:
            raise
        print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}")


def row(work, N, name, timing, here):
    """Return a row of the results."""
    rate = N / timing.median
    share = 2e-9 * rivals.multiply_adds(work == "training") * rate / here["fma_peak_gflops"]
    return {"work": work, "batch": N, "rival": name, **timing._asdict(), "images_per_s": rate, "of_fma_peak": share}


def show(title, rows):
    """Print rows; the last column compares them with the first."""
    head = (title, "ms", "quartiles", "images/s", "of FMA peak", "cores", "relative time")
    table(head, [cells(row, rows[0]) for row in rows])


def cells(row, first):
    return (
        row["rival"],
        f"{1e3 * row['median']:.3f}",
        f"{1e3 * row['low']:.3f}-{1e3 * row['high']:.3f}",
        f"{row['images_per_s']:,.0f}",
        f"{row['of_fma_peak']:.1%}",
        f"{row['cores']:.2f}",
        f"{row['median'] / first['median']:.2f}",
    )


# ---- the first step


def first_steps(quick):
    """Measure the seconds from the start of a process to the end of its first training step, and again with its cache.

    With --quick for minigrad alone, with its usual cache.
    """
    names = [name for name, kind in rivals.KINDS.items() if version(kind.package)]
    rows = []
    for name in names[:1] if quick else names:
        with tempfile.TemporaryDirectory() as folder:
            caches = {} if quick else {"MINIGRAD_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
            cold, warm = first_step(name, caches), first_step(name, caches)
        rows.append({"work": "first step", "batch": 64, "rival": name, "cold": cold, "warm": warm})
    head = ("first step, batch 64", "s, usual cache" if quick else "s, empty cache", "s, second start")
    table(head, [(row["rival"], f"{row['cold']:.2f}", f"{row['warm']:.2f}") for row in rows])
    return rows


def first_step(name, caches):
    """Return the seconds from the start of a process until it prints that its first step is done."""
    command, start = [sys.executable, rivals.__file__, name], time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **caches}, stdout=subprocess.PIPE, encoding="utf-8") as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if line != "done\n":
        raise SystemExit(f"{name}: its first step failed, see above")
    return seconds


# ---- threads and other processes


def conditions(seconds, here):
    """Time every rival, and minigrad on one thread, alone and while another process keeps a core busy."""
    given = batches(CONDITION_BATCH)
    found = contestants(given, training=True, compiled=False)
    found["minigrad, mg.graph, 1 thread"] = rivals.Graph(rivals.weights(), given, threads=1)
    alone = alternate(found, seconds)
    with busy_process():
        beside = alternate(found, seconds)
    timings = {"alone": alone, "one other busy process": beside}
    rows = [
        row("training", CONDITION_BATCH, f"{name}, {condition}", timing, here)
        for condition, found in timings.items()
        for name, timing in found.items()
    ]
    show(f"threads and other processes, batch {CONDITION_BATCH}", rows)
    return [{**row, "work": "conditions"} for row in rows]


# ---- picture

MEASURED = ("training", "prediction")


def picture(rows):
    """Draw the images per second of every rival, with a group of bars for each batch size."""
    rates = {
        (row["rival"], MEASURED.index(row["work"]), row["batch"]): row["images_per_s"]
        for row in rows
        if row["work"] in MEASURED
    }
    names, groups = list(dict.fromkeys(key[0] for key in rates)), sorted({key[1:] for key in rates})
    chart = style.figure(2 + 1.3 * len(groups), 5, "LeNet-5, images per second")
    axes, width = chart.subplots(), 0.8 / len(names)
    for number, name in enumerate(names):
        present = [i for i, group in enumerate(groups) if (name, *group) in rates]
        positions = [i + (number - len(names) / 2 + 0.5) * width for i in present]
        axes.bar(positions, [rates[name, *groups[i]] for i in present], width, label=name, color=style.PALETTE[number])
    axes.set_xticks(range(len(groups)), [f"{MEASURED[work]}\nbatch {N}" for work, N in groups])
    style.use_log_scale(axes, "images/s")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    style.tidy(axes)
    axes.legend(fontsize=style.SMALL, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    return chart


if __name__ == "__main__":
    main()
