"""Compare training on two ranks with one rank, and with PyTorch's DistributedDataParallel; one thread for each rank.

    python benchmarks/distributed.py [--seconds 60] [--quick] [--torch PYTHON]

It needs mpi4py and mpiexec.  `--torch` is a Python that has torch, minigrad's requirements, and so its rival: gloo on
the same cores.  The jobs of the two libraries run in turns; see distributed_rank.py for what a job times.

    speedup   images/s of all ranks together, divided by those of rank 0 alone on the machine
    exposed   ms from the end of the last rank's backward pass until all ranks have the means
    hidden    the share of the time of an exchange alone that lies before
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import numpy as np
from harness import introduce, mpiexec, table, write

HERE = Path(__file__).parent
RANKS = 2
BATCHES = {"LeNet-5": 128, "ResNet-20": 64}
ROUNDS = 3


def main():
    args = arguments()
    here = introduce("Data-parallel training on two ranks")
    rows = [row(network, library, times) for network in BATCHES for library, times in measure(network, args)]
    table(
        ["network, library", "one rank", "side by side", "together", "speedup", "exchange", "exposed", "hidden"],
        [cells(row) for row in rows],
    )
    write("distributed", here, rows, args.quick)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="seconds for each network and library (60)")
    parser.add_argument("--quick", action="store_true", help="run everything, but briefly")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with torch")
    args = parser.parse_args()
    if args.quick:
        args.seconds = 1.0
    return args


def measure(network, args):
    """Return pairs (library, {work: seconds of all steps}); the libraries run in turns."""
    starters = {"minigrad": start_minigrad, **({"torch": start_torch} if args.torch else {})}
    found = {library: {} for library in starters}
    rounds = 1 if args.quick else ROUNDS
    for _ in range(rounds):
        for library, start in starters.items():
            for work, times in start(network, args.seconds / rounds, args.torch).items():
                found[library].setdefault(work, []).extend(times)
    return list(found.items())


def start_minigrad(network, seconds, _):
    command = [*mpiexec(RANKS), str(HERE / "distributed_rank.py"), "minigrad"]
    done = subprocess.run([*command, network, str(seconds)], env=environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def start_torch(network, seconds, python):
    command = [python, str(HERE / "distributed_rank.py"), "torch", network, str(seconds)]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000)}
    variables = [environment(RANK=str(rank), WORLD_SIZE=str(RANKS), **address) for rank in range(RANKS)]
    ranks = [subprocess.Popen(command, env=each, stdout=subprocess.PIPE) for each in variables]
    outputs = [rank.communicate()[0] for rank in ranks]
    return json.loads(outputs[0].splitlines()[-1])


def environment(**variables):
    """Return the variables of a rank, which finds minigrad and uses one thread."""
    paths = [str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1", **variables}


def row(network, library, times):
    """Return the results of a network, in ms and images/s."""
    ms = {work: float(np.median(values)) * 1e3 for work, values in times.items() if values}
    exposed, exchange = ms.get("exposed"), ms.get("exchange alone")
    return {
        "network": network,
        "library": library,
        "batch of a rank": BATCHES[network],
        "ms": ms,
        "images per second": RANKS * BATCHES[network] / ms["together"] * 1e3,
        "speedup": RANKS * ms["one rank"] / ms["together"],
        "exposed ms": exposed,
        "hidden": None if exposed is None else max(0.0, 1 - exposed / exchange),
        "steps": len(times["together"]),
    }


def cells(row):
    ms, hidden = row["ms"], row["hidden"]
    return [
        f"{row['network']}, {row['library']}",
        *[f"{ms[work]:.2f}" for work in ("one rank", "side by side", "together")],
        f"{row['speedup']:.2f}",
        *[f"{ms[work]:.2f}" if work in ms else "-" for work in ("exchange alone", "exposed")],
        "-" if hidden is None else f"{hidden:.0%}",
    ]


if __name__ == "__main__":
    main()
