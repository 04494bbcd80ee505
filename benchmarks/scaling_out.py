"""Measure data-parallel training on ranks of this machine, and predict it for clusters of up to 1,024 machines.

    python benchmarks/scaling_out.py [--quick]          needs mpi4py and an MPI: pip install mpi4py mpich

Each rank computes on one thread.  The script starts itself by mpiexec: with 1 and 2 ranks to measure, and with 4 and 8,
which share the cores, to check the model.  The model of a step is

    step = compute + what is left of the exchange when backward ends
    exchange(n bytes, P ranks) = 2 (P - 1) a + 2 (P - 1) / P n b

with a the time of a message without content, b the time of a byte.  Each rank sends a slice of its gradients to every
other one, and the means of its own slice back, so there are 2 (P - 1) messages (R. Thakur, R. Rabenseifner & W. Gropp,
"Optimization of collective communication operations in MPICH", 2005, has this cost model).  It leaves out that networks
are shared and that the slowest of many ranks decides.  Everything beyond the ranks measured here is a prediction.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import cores, draw, introduce, mpiexec, table, write

import minigrad as mg
from minigrad import distributed, models, nn, optim
from minigrad.nn import functional as F
from minigrad.viz import style

MEASURED, SHARED = (1, 2), (4, 8)  # numbers of ranks: with a core each, and with less
SIZES = tuple(4**k for k in range(5, 13))  # bytes of an exchange
RANKS = tuple(2**k for k in range(11))  # 1 to 1,024
LEAST = 5  # repetitions of a measurement


class Network(NamedTuple):
    """A network, with the batch of a rank."""

    make: object
    batch: int
    shape: tuple


NETWORKS = {
    "LeNet-5": Network(models.LeNet5, 128, (1, 28, 28)),
    "ResNet-20": Network(models.resnet20, 64, (3, 32, 32)),
    "ResNet-50": Network(models.resnet50, 4, (3, 64, 64)),  # 25.6 million parameters
}
LINKS = {  # time of an empty message, s; bytes in a second
    "1 Gbit/s Ethernet, TCP": (25e-6, 0.117e9),  # OSU benchmarks with MPICH, gist of J. Grimm, 2021
    "40 Gbit/s Ethernet, no TCP": (1.93e-6, 37.23e9 / 8),  # NetPIPE with Open MPI, J. Squyres, "MPI over 40Gb Ethernet"
    "100 Gbit/s InfiniBand": (0.9e-6, 11.6e9),  # OSU benchmarks with Open MPI, gist of J. Grimm, 2021
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="seconds of a measurement (3)")
    parser.add_argument("--quick", action="store_true", help="check everything, but time only a few cases, briefly")
    parser.add_argument("--rank-of", type=Path, help=argparse.SUPPRESS)  # this process is a rank, and writes to a file
    args = parser.parse_args()
    if args.rank_of:
        return measure_as_rank(args)
    here = introduce("Data-parallel training")
    counts = MEASURED if args.quick else MEASURED + SHARED
    found = {ranks: run_ranks(ranks, args) for ranks in counts}
    link = fit_link(*(found[ranks]["exchange"] for ranks in MEASURED))
    report(found, link)
    rows = [{"ranks": ranks, **result} for ranks, result in found.items()]
    write("scaling_out", {**here, "message_s": link[0], "bytes_per_s": link[1]}, rows, args.quick)
    draw("scaling_out", picture(found), args.quick)


# ---- what a rank measures


def run_ranks(ranks, args):
    """Start ranks of this script; return what they measured."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [*mpiexec(ranks), __file__, "--rank-of", str(result), "--seconds", str(args.seconds)]
        subprocess.run(command + ["--quick"] * args.quick, check=True)
        return json.loads(result.read_text())


def measure_as_rank(args):
    """Measure exchanges and steps together with the other ranks; the first one writes the medians."""
    distributed.init(timeout=120)
    mg.set_num_threads(1)
    networks = list(NETWORKS)[:2] if args.quick else list(NETWORKS)
    seconds = 0.2 if args.quick else args.seconds
    found = {
        "exchange": {size: median_time(exchange_of(size), seconds / 4) for size in SIZES[: 4 if args.quick else None]},
        "step": {name: median_time(step_of(NETWORKS[name]), seconds) for name in networks},
    }
    if distributed.get_rank() == 0:
        args.rank_of.write_text(json.dumps(found))


def exchange_of(size):
    """Return a function that exchanges gradients of a number of bytes, as after a backward pass."""
    layer = nn.Linear(size // 4, 1, bias=False)
    model = distributed.DistributedDataParallel(layer)
    x = mg.ones(1, size // 4)
    return mg.graph(lambda: model(x).sum().backward())


def step_of(network):
    """Return a function that does a recorded training step on random images."""
    mg.manual_seed(0)
    model = distributed.DistributedDataParallel(network.make())
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = mg.randn(network.batch, *network.shape), mg.randint(0, 10, (network.batch,))

    @mg.graph
    def step(images, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return lambda: step(images, labels)


def median_time(function, seconds):
    """The median time of a function, of the slowest rank; all ranks call it equally often."""
    for _ in range(3):
        function()
    distributed.barrier()
    start = time.perf_counter()
    function()
    often = max(LEAST, min(1000, int(seconds / (time.perf_counter() - start))))
    counts = [None] * distributed.get_world_size()
    distributed.all_gather_object(counts, often)
    times = []
    for _ in range(min(counts)):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    slowest = mg.tensor(np.median(times))
    distributed.all_reduce(slowest, distributed.ReduceOp.MAX)
    return slowest.item()


# ---- the model


def fit_link(alone, together):
    """The time of an empty message, and the bytes in a second, that explain the exchanges of two ranks best.

    alone, together   times by size, of one rank, which has nothing to exchange, and of two
    """
    sizes = np.array([int(size) for size in together], float)
    seconds = np.maximum(np.array(list(together.values())) - list(alone.values()), 1e-6)
    design = np.stack([2 * np.ones_like(sizes), sizes], 1)  # 2 (P - 1) and 2 (P - 1) / P n, of P = 2
    message, byte = np.linalg.lstsq(design / seconds[:, None], np.ones_like(seconds), rcond=None)[0]
    return max(float(message), 0.0), 1 / max(float(byte), 1e-15)


def exchange_time(size, ranks, link):
    """The time in which ranks exchange gradients."""
    message, rate = link
    return 2 * (ranks - 1) * message + 2 * (ranks - 1) / ranks * size / rate


def step_time(compute, size, ranks, link):
    """The time of a step: two thirds of the work are the backward pass, which hides all but an eighth of the bytes.

    compute   the time of the step of one rank
    size      bytes of the gradients, sent in eight buckets; the last one is ready when backward ends
    """
    whole, last = exchange_time(size, ranks, link), exchange_time(size / 8, ranks, link)
    return compute + max(last, whole - compute * 2 / 3)


def gradient_bytes(name):
    """The size of the gradients of a network."""
    return 4 * sum(p.numel() for p in NETWORKS[name].make().parameters())


# ---- what is shown


def report(found, link):
    """Print what was measured beside the model."""
    print(f"\nbetween two ranks here: {1e6 * link[0]:.0f} us for an empty message, {link[1] / 1e9:.2f} GB/s")
    lines = []
    for ranks, result in found.items():
        for name, seconds in result["step"].items():
            alone = found[1]["step"][name] * max(1, ranks / cores())  # ranks that share a core take turns
            predicted = step_time(alone, gradient_bytes(name), ranks, link) if ranks > 1 else alone
            speed = ranks * NETWORKS[name].batch / seconds
            single = NETWORKS[name].batch / found[1]["step"][name]
            lines.append((name, str(ranks), f"{1e3 * seconds:.1f}", f"{1e3 * predicted:.1f}", f"{speed:,.0f}",
                          f"{speed / single:.2f}"))  # fmt: skip
    table(("network", "ranks", "ms per step", "model", "images/s", "of one rank"), lines)


def picture(found):
    """Draw the predicted speed of each network by the number of ranks: the batch of a rank, or of all, stays equal."""
    names = list(found[1]["step"])
    chart = style.figure(4.2 * len(names), 7.6, "Speed of data-parallel training, as a multiple of one rank's")
    grid = chart.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for row, kind in enumerate(("weak", "strong")):
            _draw_panel(grid[row, column], found, name, kind)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=style.SMALL)
    return chart


def _draw_panel(axes, found, name, kind):
    compute, size, batch = found[1]["step"][name], gradient_bytes(name), NETWORKS[name].batch
    ranks = np.array([r for r in RANKS if kind == "weak" or r <= batch])
    axes.loglog(ranks, ranks, "--", color=style.GREY, label="ideal")
    for label, link in LINKS.items():
        alone = np.full(len(ranks), compute) if kind == "weak" else compute / ranks
        steps = [step_time(c, size, r, link) if r > 1 else c for c, r in zip(alone, ranks, strict=True)]
        work = ranks if kind == "weak" else np.ones(len(ranks))
        axes.loglog(ranks, work * compute / np.array(steps), label=f"predicted: {label}")
    measured = [r for r in found if r <= cores()] if kind == "weak" else []
    if measured:
        speeds = [r * compute / found[r]["step"][name] for r in measured]
        axes.loglog(measured, speeds, "o", color="black", label="measured on this machine")
    axes.set_title(f"{name}, {batch} images {'a rank' if kind == 'weak' else 'in all'}", fontsize=style.SMALL)
    axes.set_xticks(ranks[::2], [str(r) for r in ranks[::2]])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("ranks", fontsize=style.SMALL)
    style.tidy(axes)


if __name__ == "__main__":
    main()
