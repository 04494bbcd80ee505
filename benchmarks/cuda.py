"""Test device 'cuda', compare its results with the CPU's, time it beside PyTorch, and check its speed targets.

    python -m benchmarks.cuda [--seconds 5] [--quick]

Run this on a computer with an NVIDIA GPU, from the project's root, and commit the results: `results/cuda-<GPU>.json`
and `.png`.  One command does everything, in sections: first steps, the tests of the device, every tile at sizes that
fill it or not, large arrays, NVIDIA's sanitizer, training beside the CPU's and PyTorch's, launch by launch, kernels,
memory, and last a table of the targets.  A section that fails is named, and the next one runs; the results are written
after each.  What is not installed, such as PyTorch, compute-sanitizer or ncu, is left out and named.

Kernels are timed by the GPU's clock.  Steps and epochs include Python: they are timed by the wall clock, with one wait
for the GPU after many steps, for every rival.  PyTorch computes in float32 with TF32 off, and selects its convolutions
by timing them (cudnn.benchmark).  With --quick the tests and sanitizers are skipped and everything is timed briefly.

With NUMBA_ENABLE_CUDASIM=1 and --quick everything except PyTorch runs without a GPU, on toy sizes; times are then
meaningless.
"""

import sys

if __name__ == "cuda":
    # PyTorch imports NVIDIA's package `cuda` if it finds one, and finds this file when another script of this folder
    # runs; on the CPU it does not need the package
    raise ModuleNotFoundError("benchmarks/cuda.py is not NVIDIA's package 'cuda'", name="cuda")

import re
import time
import traceback
from importlib import util
from pathlib import Path
from typing import NamedTuple

if (folder := str(Path(__file__).resolve().parent)) in sys.path:
    sys.path.remove(folder)  # so that numba-cuda and PyTorch find NVIDIA's package `cuda`
if util.find_spec("torch"):
    import torch  # noqa: F401 - before the folder is on the path

import minigrad as mg
from minigrad.errors import DeviceError
from minigrad.viz import style

sys.path.insert(0, folder)
import harness
from cuda_checks import check_large, check_tiles, run_sanitizers, run_tests, take_first_steps
from cuda_gpu import CAPTURED, EAGER, GRAPH, PLAIN, PYTORCH, configure_pytorch, find_peak, is_simulated, why_no_pytorch
from cuda_kernels import CONVOLUTIONS, measure_peak, profile_kernels, time_kernels
from cuda_steps import (
    compare_training,
    describe_growth,
    measure_memory,
    time_epoch,
    time_launches,
    time_steps,
    time_to_accuracy,
)
from harness import arguments, draw, table, write

sys.path.remove(folder)

ROOT = Path(__file__).resolve().parents[1]
EPOCH_TARGET = 0.1  # seconds


class Sizes(NamedTuple):
    """The sizes of the measurements."""

    compared: tuple[int, int]  # batch and steps of the training that is compared with the CPU's
    batches: tuple[int, ...]  # of timed steps; the first two have targets
    block: int  # steps between two waits for the GPU
    epoch: tuple[int, int | None]  # batch, and number of digits; None: all
    replays: tuple[int, int]  # of a step, during which memory must stay constant; and with --quick
    convolution: tuple[int, int, int]  # images, channels, side
    matrix: int  # rows and columns
    copied: int  # floats, more than fit in the GPU's cache
    images: tuple[int, ...]  # batches of convolutions with every tile
    sides: tuple[int, ...]  # rows and columns of products with every tile
    large: int  # bytes of an array, more than 32 bits can count


SIZES = {  # key: whether this is the simulator
    False: Sizes(
        *[(64, 20), (64, 256, 512), 100, (512, None), (1000, 50), (64, 64, 56), 4096, 2**26],
        *[(1, 3, 64, 65, 130, 256), (1, 65, 300), 2**31 + 2**20],
    ),
    True: Sizes(*[(3, 3), (1, 2, 3), 1, (2, 4), (20, 20), (2, 2, 4), 8, 300], (3,), (5,), 2**10),
}


def main():
    args = arguments(__doc__, seconds=5)
    here = introduce(args.quick)
    sizes, report = SIZES[here["simulated"]], Report(here, args.quick)
    run = report.run
    run("first steps", take_first_steps)
    if not args.quick:
        run("tests", run_tests)
    run("tiles", check_tiles, sizes.images, sizes.sides)
    run("large arrays", check_large, sizes.large)
    run("training", compare_training, *sizes.compared)
    for N in sizes.batches:
        run(f"steps at {N}", time_steps, N, sizes.block, args.seconds)
        run(f"launches at {N}", time_launches, N)
    run("epoch", time_epoch, *sizes.epoch, args.seconds)
    clock = run("clock", measure_peak, sizes, here["peak_tflops"])
    run("kernels", time_kernels, sizes, args.seconds, clock[0]["peak_tflops"] if clock else here["peak_tflops"])
    run("memory", measure_memory, sizes.batches[0], sizes.replays[args.quick])
    if not args.quick:
        run("accuracy", time_to_accuracy, 0.99)
        run("ncu", profile_kernels)
        run("sanitizer", run_sanitizers)
    run("targets", check_targets, report.rows, sizes.batches[:2], here)
    run("picture", lambda: draw(report.name, make_picture(report.rows, here), args.quick))
    print(f"\nresults: {harness.place(report.name, args.quick).relative_to(ROOT)}.json and .png")
    if report.failed:
        sys.exit(f"failed: {', '.join(report.failed)}")


class Report:
    """The rows of all sections, written after each.

    failed   the names of the sections that failed
    """

    def __init__(self, here, quick):
        self.here, self.quick, self.rows, self.failed = here, quick, [], []
        self.name = f"cuda-{re.sub('[^a-z0-9]+', '-', here['gpu']['device'].lower()).strip('-')}"

    def run(self, section, function, *arguments):
        """Run a section and return its rows; if it fails, print why, and return none."""
        start = time.perf_counter()
        try:
            found = function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException:
            self.failed.append(section)
            found = {"work": "failure", "section": section, "error": traceback.format_exc()}
            print(f"\nsection {section} failed:\n{found['error']}", flush=True)
        rows = [found] if isinstance(found, dict) else found or []
        self.rows += [{"section": section, **row} for row in rows]
        self.here.setdefault("seconds", {})[section] = round(time.perf_counter() - start, 1)
        write(self.name, self.here, self.rows, self.quick)
        return [] if section in self.failed else rows


# ---- the GPU


def introduce(quick):
    """Print the computer, the GPU and the versions; return them, with the GPU's peak."""
    try:
        report = mg.cuda.report()
    except DeviceError as error:
        raise SystemExit(str(error)) from None
    if is_simulated() and not quick:
        raise SystemExit("benchmarks.cuda: this is Numba's simulator, whose times are meaningless; add --quick")
    here = {**harness.machine(), "gpu": report, "peak_tflops": find_peak(), "simulated": is_simulated()}
    print("\nThe GPU")
    for name, value in report.items():
        print(f"  {name:<20}{value}")
    limit = f"{here['peak_tflops']:.1f} TFLOP/s" if here["peak_tflops"] else "unknown, the simulator has no clock"
    print(f"  {'float32 peak':<20}{limit}")
    print(f"  {'PyTorch':<20}{why_no_pytorch() or configure_pytorch()}")
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load_before']} before, {here['date']}")
    if is_simulated():
        print("This is Numba's simulator: sizes are tiny, times are meaningless, and no target is checked.")
    return here


# ---- targets


def check_targets(rows, batches, here):
    """Print the targets and whether they are reached; return the rows of this table."""
    targets = [row for N in batches for row in step_targets(rows, N)]
    if epoch := row_of(rows, "epoch"):
        seconds = epoch["median"]
        targets.append(
            target_row("one epoch of MNIST", f"below {EPOCH_TARGET} s", f"{seconds:.3f} s", seconds < EPOCH_TARGET)
        )
    peak = (row_of(rows, "clock") or here)["peak_tflops"]
    targets += [kernel_target(rows, work, 0.5, peak, or_pytorch=True) for work in CONVOLUTIONS if row_of(rows, work)]
    if row_of(rows, "dense"):
        targets.append(kernel_target(rows, "dense", 0.6, peak, or_pytorch=False))
    if memory_row := row_of(rows, "memory"):
        grown, figure = memory_row["grown"], f"memory held, {memory_row['replays']:,} replays"
        targets.append(target_row(figure, "constant", describe_growth(grown), not grown))
    words = {True: "yes", False: "no", None: "not checked"}
    lines = [(row["figure"], row["target"], row["measured"], words[row["reached"]]) for row in targets]
    table(("figure", "target", "measured", "reached"), lines)
    return targets


def target_row(figure, target, measured, reached):
    """A row; `reached` is None if it is unknown, as in the simulator."""
    reached = None if is_simulated() else reached
    return {"work": "target", "figure": figure, "target": target, "measured": measured, "reached": reached}


def row_of(rows, work):
    """The first row of a work; None if its section failed."""
    return next((row for row in rows if row["work"] == work), None)


def step_targets(rows, N):
    """The rows that compare the speed of a step with PyTorch's; not checked without PyTorch."""
    rates = {row["rival"]: row["images_per_s"] for row in rows if row["work"] == "step" and row["batch"] == N}
    if not rates:
        return
    for mine, least, theirs in ((GRAPH, 3, EAGER), (GRAPH, 1, CAPTURED), (PLAIN, 1, EAGER)):
        ratio = rates[mine] / rates[theirs] if theirs in rates else None
        measured = f"{ratio:.2f} times" if ratio else f"{rates[mine]:,.0f} images/s, no rival"
        yield target_row(f"{mine}: step at {N}", f"{least} times {theirs}", measured, ratio and ratio >= least)


def kernel_target(rows, work, share, peak, or_pytorch):
    """The row that compares a kernel with a share of the peak or, if or_pytorch, with PyTorch's better layout if that
    is slower."""
    rates = {row["rival"]: row["tflops"] for row in rows if row["work"] == work}
    mine, target = rates.pop(PLAIN), f"{share:.0%} of the peak"
    if peak is None:
        return target_row(work, target, f"{mine:.3g} TFLOP/s", None)
    least = share * peak
    if or_pytorch and rates and max(rates.values()) < least:
        least, target = max(rates.values()), "PyTorch's speed"
    measured = f"{mine:.1f}, {mine / peak:.0%} of the peak"
    return target_row(work, f"{least:.1f} TFLOP/s: {target}", measured, mine >= least)


# ---- picture


def make_picture(rows, here):
    """Draw images per second of every rival by batch, and TFLOP/s of the kernels, PyTorch's in its better layout."""
    chart = style.figure(11, 5, f"{here['gpu']['device']}, float32")
    left, right = chart.subplots(1, 2)
    steps = [row for row in rows if row["work"] == "step"]
    draw_bars(left, {(row["rival"], f"batch {row['batch']}"): row["images_per_s"] for row in steps})
    left.set_ylabel("images/s", fontsize=style.LABEL)
    left.set_title(
        "LeNet-5, training" if not here["simulated"] else "a tiny model, in the simulator", fontsize=style.LABEL
    )
    best = {}
    for row in rows:
        if row.get("tflops"):
            key = PLAIN if row["rival"] == PLAIN else PYTORCH, row["work"].replace(" ", "\n")
            best[key] = max(best.get(key, 0), row["tflops"])
    if here["peak_tflops"]:
        right.axhline(here["peak_tflops"], color="black", linestyle="--", label="peak at the highest clock")
    draw_bars(right, best)
    right.set_ylabel("TFLOP/s", fontsize=style.LABEL)
    sizes = [found["size"] for work in ("conv forward", "dense") if (found := row_of(rows, work))]
    right.set_title("; ".join(sizes), fontsize=style.LABEL)
    return chart


def draw_bars(axes, values):
    """Draw a group of bars for each second key, in it a bar for each first key, and the legend below."""
    names, groups = (list(dict.fromkeys(key[part] for key in values)) for part in range(2))
    width = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        own = [i for i, group in enumerate(groups) if (name, group) in values]
        positions = [i + (number - len(names) / 2 + 0.5) * width for i in own]
        heights = [values[name, groups[i]] for i in own]
        axes.bar(positions, heights, width, label=name, color=style.PALETTE[number])
    axes.set_xticks(range(len(groups)), groups, fontsize=style.SMALL)
    style.tidy(axes)
    axes.legend(fontsize=style.SMALL, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


if __name__ == "__main__":
    main()
