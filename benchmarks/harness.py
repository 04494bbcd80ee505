"""What all benchmarks share: the machine, its two limits, rivals taking turns, tables, results on disk.

Each script checks that the rivals compute the same, lets them take turns by `alternate`, prints a table by `table`, and
leaves `results/<name>.json` and `.png`; with --quick these go to `results/quick/`, where they replace no real ones.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module, metadata, util
from pathlib import Path
from typing import NamedTuple

if util.find_spec("torch"):  # loaded first: minigrad's first launch makes OpenMP wait passively, PyTorch half as fast
    import_module("torch")

import numpy as np

import minigrad as mg
from minigrad import viz
from minigrad.runtime.elementwise import elementwise
from minigrad.runtime.kernel import Memory, Tile, kernel
from minigrad.runtime.threads import threading_layer
from minigrad.runtime.tile import choose, lanes, outer_fma, store, zeros

RESULTS = Path(__file__).parent / "results"
RIVALS = ("torch", "jax")
FLOAT = np.dtype("float32")
REST = 0.1  # seconds: threads of OpenMP and BLAS spin on for a while and would slow the next rival down
BLOCK = 0.1  # seconds of one rival's turn, or a tenth of all if that is less
PEAK_REPEAT = 0.02  # seconds, at least, of one measurement of a limit
REPEATS = 15
COPIED = 4 * 2**20  # floats: 16 MiB, as the largest feature maps here; more than a core's own cache


def arguments(docstring, seconds):
    """The command line of a script: --seconds for each comparison, and --quick."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=seconds, help=f"of timing for each comparison ({seconds})")
    parser.add_argument("--quick", action="store_true", help="check, and time a few cases for a moment")
    args = parser.parse_args()
    if args.quick:
        args.seconds = 0.3
    return args


# ---- the machine


def version(package):
    """The installed version of a package, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name():
    """The processor's name as Linux knows it, elsewhere as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def load():
    """The machine's load average over the last minute, None where it has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine():
    """All that a figure depends on, as a dictionary; call it before anything else runs."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": datetime.now().isoformat(timespec="minutes"),
        "load_before": load(),
        "cpu": cpu_name(),
        "cores": cores(),
        "threads": mg.get_num_threads(),
        "threading_layer": threading_layer(),
        "blas": f"{blas['name']} {blas['version']}",
        "blas_threads": int(os.environ.get("OPENBLAS_NUM_THREADS", cores())),
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "numba", *RIVALS)},
    }


def introduce(title):
    """Print what runs where, and which rivals are missing; returns the machine with its limits."""
    here = machine()
    here["fma_peak_gflops"], here["copy_gb_s"] = round(fma_peak(), 1), round(copy_bandwidth(), 1)
    print(f"\n{title}")
    print(f"{here['cpu']}, {here['cores']} cores, {here['threads']} threads ({here['threading_layer']}), ", end="")
    print(f"{here['blas']} on {here['blas_threads']} threads, load {here['load_before']} before, {here['date']}")
    print(", ".join(f"{name} {here[name]}" for name in ("python", "numpy", "numba", *RIVALS) if here[name]))
    print(f"limits: {here['fma_peak_gflops']} GFLOP/s in registers, {here['copy_gb_s']} GB/s read + written by a copy")
    absent = [name for name in RIVALS if here[name] is None]
    if absent:
        print(f"rivals not installed: {', '.join(absent)}")
    return here


# ---- its two limits


@kernel
def peak_kernel(task, a: Memory, out: Memory, steps, tile: Tile):
    """Multiply-adds on registers alone."""
    acc = zeros(tile)
    for _ in range(steps):
        acc = outer_fma(acc, a, 0, 1, a, tile.width, tile.width)
    store(acc, out, task * tile.rows * tile.width, tile.width, tile.width)


copy_dispatch = elementwise(lambda x: x)


def fma_peak():
    """GFLOP/s of a loop that only multiplies and adds, one task for each thread."""
    threads, tile = mg.get_num_threads(), choose(6, 1000, FLOAT)
    size = tile[0] * tile[1] * lanes(FLOAT)
    a, out = np.full(size, 1e-3, FLOAT), np.empty(threads * size, FLOAT)
    return 2 * threads * size * rate(lambda steps: peak_kernel(threads, a, out, steps, tile)) / 1e9


def copy_bandwidth():
    """GB/s, read and written bytes together, of an elementwise copy on all threads."""
    source, target = np.ones(COPIED, FLOAT), np.empty(COPIED, FLOAT)

    def copy(times):
        for _ in range(times):
            copy_dispatch(source, target)

    return (source.nbytes + target.nbytes) * rate(copy) / 1e9


def rate(run):
    """How often a second `run(times)` does its work: the median of repeats of 20 ms and more.

    Trials come first: they compile the kernel and let the clocks rise.
    """
    times = 1
    run(times)
    while once(run, times) < PEAK_REPEAT:
        times *= 2
    return times / float(np.median([once(run, times) for _ in range(REPEATS)]))


def once(call, *arguments):
    """Seconds of one call."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


# ---- rivals taking turns


class Timing(NamedTuple):
    """Seconds of a call: the median and the quartiles around it."""

    median: float
    low: float
    high: float
    calls: int


def alternate(calls, seconds):
    """Time callables {name: callable} in turns: a rest, a block of calls of one, a rest, a block of the next.

    seconds   of timing, all together; every rival has at least two turns
    returns   {name: Timing}

    A callable with a method `begin` has it called before each of its turns.
    """
    times = {name: [] for name in calls}
    end, turns = time.perf_counter() + seconds, 0
    while turns < 2 or time.perf_counter() < end:
        for name, call in calls.items():
            time.sleep(REST)
            times[name] += turn(call, min(BLOCK, seconds / 10))
        turns += 1
    return {name: Timing(*quartiles(values), len(values)) for name, values in times.items()}


def turn(call, seconds):
    """Seconds of each call in one rival's turn; the first fetches its arrays and is not counted."""
    getattr(call, "begin", lambda: None)()
    call()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(once(call))
    return times


def quartiles(values):
    low, median, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return median, low, high


@contextmanager
def busy_process():
    """Another process that keeps one core busy, inside."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


# ---- results


def table(head, rows):
    """Print rows of text under a head; the first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print()
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())


def place(name, quick):
    """Where a result is kept."""
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def write(name, here, rows, quick):
    """Keep the rows, dictionaries, and the machine they were measured on."""
    place(f"{name}.json", quick).write_text(json.dumps({"machine": here, "rows": rows}, indent=1) + "\n")


def draw(name, picture, quick):
    """Keep a picture."""
    viz.save(picture, place(f"{name}.png", quick))
