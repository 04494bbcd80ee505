"""Shared by all benchmarks: the machine and its limits, timing of rivals in turns, tables, and results.

Each script checks that the rivals compute the same, times them with `alternate`, prints a table with `table`, and
writes `results/<name>.json` and `.png`; with --quick it writes them to `results/quick/` instead.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module, metadata, util
from pathlib import Path
from typing import NamedTuple

if util.find_spec("torch"):  # before minigrad makes OpenMP wait passively, with which PyTorch takes twice as long
    import_module("torch")

import numpy as np

import minigrad as mg
from minigrad import viz
from minigrad.runtime.elementwise import Elementwise
from minigrad.runtime.kernel import Memory, Tile, kernel
from minigrad.runtime.tile import choose_tile, lanes, outer_fma, store, zeros

RESULTS = Path(__file__).parent / "results"
RIVALS = ("torch", "jax")
FLOAT = np.dtype("float32")
REST = 0.1  # seconds between turns, in which the spinning threads of OpenMP and BLAS come to rest
TURN = 0.1  # seconds of a turn, or a tenth of the whole time if that is less
PEAK_REPEAT = 0.02  # seconds of one measurement of a limit, at least
REPEATS = 15
COPIED = 4 * 2**20  # floats: 16 MiB, the size of the largest feature maps here, more than a core's cache


def arguments(docstring, seconds):
    """Parse the command line of a script: --seconds for each comparison, and --quick."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=seconds, help=f"seconds per comparison ({seconds})")
    parser.add_argument("--quick", action="store_true", help="check everything, but time only a few cases, briefly")
    args = parser.parse_args()
    if args.quick:
        args.seconds = 0.3
    return args


def mpiexec(ranks):
    """Return the beginning of a command that starts ranks by the MPI beside this Python, or by that of the system."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        sys.exit("there is no mpiexec; pip install mpi4py mpich")
    return [found, "-n", str(ranks), sys.executable]


# ---- the machine


def version(package):
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name():
    """Return the processor's name from Linux, or elsewhere from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def threads_text(number):
    """Return the text '1 thread' or '2 threads'."""
    return "1 thread" if number == 1 else f"{number} threads"


def load():
    """Return the load average of the last minute, or None if the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine():
    """Return the properties of the machine and the software on which results depend; call it before any work."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": datetime.now().isoformat(timespec="minutes"),
        "load_before": load(),
        "cpu": cpu_name(),
        "cores": cores(),
        "threads": mg.get_num_threads(),
        "blas": f"{blas['name']} {blas['version']}",
        "blas_threads": int(os.environ.get("OPENBLAS_NUM_THREADS", cores())),
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "numba", *RIVALS)},
    }


def introduce(title):
    """Print the machine and the versions of the rivals; return the machine with its limits."""
    here = machine()
    here["fma_peak_gflops"], here["copy_gb_s"] = round(fma_peak(), 1), round(copy_bandwidth(), 1)
    print(f"\n{title}")
    print(f"{here['cpu']}, {here['cores']} cores, {here['threads']} threads, ", end="")
    print(f"{here['blas']} on {here['blas_threads']} threads, load {here['load_before']} before, {here['date']}")
    print(", ".join(f"{name} {here[name]}" for name in ("python", "numpy", "numba", *RIVALS) if here[name]))
    print(f"limits: {here['fma_peak_gflops']} GFLOP/s in registers, a copy reads + writes {here['copy_gb_s']} GB/s")
    absent = [name for name in RIVALS if here[name] is None]
    if absent:
        print(f"rivals not installed: {', '.join(absent)}")
    return here


# ---- the limits of the machine


@kernel
def peak_kernel(task, a: Memory, out: Memory, steps, tile: Tile):
    """Multiply and add in registers only."""
    acc = zeros(tile)
    for _ in range(steps):
        acc = outer_fma(acc, a, 0, 1, a, tile.width)
    store(acc, out, task * tile.rows * tile.width, tile.width)


copy_dispatch = Elementwise(lambda x: x)


def fma_peak():
    """Return the GFLOP/s of a loop that only multiplies and adds, with one task for each thread."""
    threads, tile = mg.get_num_threads(), choose_tile(6, 1000, FLOAT)
    size = tile[0] * tile[1] * lanes(FLOAT)
    a, out = np.full(size, 1e-3, FLOAT), np.empty(threads * size, FLOAT)
    return 2 * threads * size * rate(lambda steps: peak_kernel(threads, a, out, steps, tile)) / 1e9


def copy_bandwidth():
    """Return the GB/s, read and written together, of an elementwise copy on all threads."""
    source, target = np.ones(COPIED, FLOAT), np.empty(COPIED, FLOAT)

    def copy(times):
        for _ in range(times):
            copy_dispatch(source, target)

    return (source.nbytes + target.nbytes) * rate(copy) / 1e9


def rate(run):
    """Return the number of repetitions per second of `run(times)`, as the median of measurements of 20 ms or more.

    The first calls compile the kernel and raise the clock frequency, and do not count.
    """
    times = 1
    run(times)
    while measure(run, times) < PEAK_REPEAT:
        times *= 2
    return times / float(np.median([measure(run, times) for _ in range(REPEATS)]))


def measure(call, *arguments):
    """Return the seconds of one call."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


# ---- timing of rivals in turns


class Timing(NamedTuple):
    """The seconds of a call: median and quartiles; the number of calls; CPU seconds of the process per second."""

    median: float
    low: float
    high: float
    calls: int
    cores: float = 0.0


def alternate(calls, seconds):
    """Time callables {name: callable} in turns, with a rest before each turn.

    seconds   of timing in total; every rival has at least two turns
    returns   {name: Timing}

    If a callable has a method `begin`, it is called before each of its turns.
    """
    times, used = {name: [] for name in calls}, {name: np.zeros(2) for name in calls}
    end, turns = time.perf_counter() + seconds, 0
    while turns < 2 or time.perf_counter() < end:
        for name, call in calls.items():
            time.sleep(REST)
            found, usage = time_turn(call, min(TURN, seconds / 10))
            times[name] += found
            used[name] += usage
        turns += 1
    cores = {name: float(cpu / wall) for name, (cpu, wall) in used.items()}
    return {name: Timing(*quartiles(values), len(values), cores[name]) for name, values in times.items()}


def time_turn(call, seconds):
    """Return the seconds of each call in a turn, except the first call, which loads its arrays into the cache; and the
    CPU seconds and the seconds of the turn."""
    getattr(call, "begin", lambda: None)()
    call()
    times, cpu, start = [], time.process_time(), time.perf_counter()
    while not times or time.perf_counter() < start + seconds:
        times.append(measure(call))
    return times, (time.process_time() - cpu, time.perf_counter() - start)


def quartiles(values):
    low, median, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return median, low, high


@contextmanager
def busy_process():
    """Keep one core busy with another process inside a `with` block."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# ---- results


def table(head, rows):
    """Print rows of text below a head, with the first column aligned to the left and the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print()
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())


def place(name, quick):
    """Return the path of a result."""
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def write(name, here, rows, quick):
    """Write the rows, dictionaries, and the machine to a JSON file."""
    text = json.dumps({"machine": here, "rows": rows}, indent=1) + "\n"
    place(f"{name}.json", quick).write_text(text, encoding="utf-8")


def draw(name, picture, quick):
    """Write a picture."""
    viz.save(picture, place(f"{name}.png", quick))
