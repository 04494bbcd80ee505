"""List the kernels of training steps on a GPU and estimate their times, without a GPU.

    python -m benchmarks.cuda_on_paper [--capability 9.0] [--batches 64 512]

Needs the extra [cuda], and takes a minute or two: each kernel is compiled.  A driver that runs nothing takes the place
of NVIDIA's, so the launches are those of a GPU.  Two large kernels follow: a convolution and a matrix product.

For each kernel the table shows the blocks and threads of its launch; the registers of a thread and the blocks that a
multiprocessor holds; FMA, the share of multiply-adds among the instructions of its longest loop, in PTX; MB, the size
of all arrays that it is given; MFLOP, its multiply-adds times 2, with those that tiles waste; and the estimated time.
The estimate is the largest of three: the bytes at the bandwidth of the memory, the multiply-adds of the busiest
multiprocessor at the share that FMA allows, and LAUNCH, what the smallest kernel takes in a graph.

In a recorded step one launch may run several kernels.  The rows of kernels that run beside the first one begin with
"&", and the launch takes as long as the longest.  Those that one block runs after the first begin with ";", and each
saves all of LAUNCH but BARRIER.

These are no measurements: caches, latency and the scheduler are left out.  On an H100 the step at batch 64 took 0.226
ms; `python -m benchmarks.cuda` measures.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

if (folder := str(Path(__file__).resolve().parent)) in sys.path:
    sys.path.remove(folder)  # so that numba-cuda finds NVIDIA's package `cuda`, not benchmarks/cuda.py

os.environ.pop("NUMBA_ENABLE_CUDASIM", None)

import numpy as np

from minigrad.errors import DeviceError
from minigrad.runtime import cache

try:
    from minigrad.runtime.cuda import driver, simulated
except DeviceError as error:
    sys.exit(f"benchmarks.cuda_on_paper: {error}")

MULTIPROCESSORS, CLOCK, BANDWIDTH = 132, 1.98e9, 3.35e12  # of an H100 SXM: NVIDIA's data sheet, Hz and bytes/s
LANES = 128  # multiply-adds of a multiprocessor in a cycle
REGISTERS, SHARED, THREADS, BLOCKS = 65536, 228 * 1024, 2048, 32  # of a multiprocessor of capability 9.0
RESERVED_SHARED = 1024  # bytes of a block that the driver uses
LAUNCH = 2.0e-6  # seconds: a dependent kernel of a graph that does almost nothing
BARRIER = 0.5e-6  # seconds: the same in the block of the kernel before, a barrier and reads of what that wrote


class Kernel(NamedTuple):
    """A launch.

    grid, block   blocks and threads, three numbers each
    arrays        (shape, dtype) of the arrays that it is given
    numbers       the whole numbers that it is given
    """

    name: str
    ptx: str
    grid: tuple
    block: tuple
    arrays: list
    numbers: list


class Joint(NamedTuple):
    """Kernels that one launch runs: side by side ("&"), one after the other (";"), or only one ("")."""

    sign: str
    kernels: list[Kernel]


launched: list[Kernel] = []
recorded: list[Joint] = []  # the launches of a recording
texts: dict[str, tuple[str, str]] = {}  # PTX and entry, by kernel and types


def install_driver(capability):
    """Replace the driver by one that compiles but launches nothing."""
    simulated.ATTRIBUTES = {16: MULTIPROCESSORS, 75: capability[0], 76: capability[1]}
    simulated.cuModuleLoadData = lambda image: (0, image)
    simulated.cuModuleGetFunction = lambda module, name: (0, name)
    simulated.cuLaunchKernel = lambda *launch: (0,)
    driver.api, driver.check_driver = simulated, lambda: 1
    from minigrad.runtime.cuda.kernel import Kernel as Compiled

    def compile_once(kernel, kinds):
        key = f"{kernel.name} {kinds}"
        if key not in texts:
            texts[key] = kernel.ptx(kinds, capability)
        return texts[key][1].encode() + b"\n"

    def note(kernel, grid, block, *arguments):
        launch(kernel, grid, block, *arguments)
        kinds = tuple([argument.argument[0] if hasattr(argument, "argument") else None for argument in arguments])
        keys = [key for key in texts if key.startswith(f"{kernel.name} ")]
        arrays = [((x.argument[1][2],), x.argument[0][0]) for x in arguments if hasattr(x, "argument")]
        numbers = [x for x in arguments if type(x) is int]
        sizes = [(*(n if isinstance(n, tuple) else (n,)), 1, 1)[:3] for n in (grid, block)]
        if 0 not in sizes[0]:
            launched.append(Kernel(kernel.name, texts[_best_key(keys, kinds)][0], *sizes, arrays, numbers))

    launch, Compiled.launch, Compiled._compile = Compiled.launch, note, compile_once
    note_recordings()
    cache.load_bytes = lambda name: None  # files of an earlier run hold no PTX


def note_recordings():
    """Keep the launches of recordings, and of which kernels they consist."""
    from minigrad.runtime.cuda import joining, program
    from minigrad.runtime.cuda.step import Step

    def note_parts(steps, kernel, *sizes):
        launch = join(steps, kernel, *sizes)
        for sign in "&;":
            if sign in kernel.name:
                parts[id(launch.address)] = Joint(sign, [describe(step) for step in steps])
        return launch

    def note_launches(launches):
        parts.clear()  # their numbers may be used again
        found = join_launches(launches)
        recorded.extend(parts.get(id(launch.address)) or Joint("", [describe(Step(launch))]) for launch in found)
        return found

    def describe(step):
        arrays, at, numbers = [], 0, []
        for kind in step.kinds:
            if isinstance(kind, tuple):
                arrays.append(((step.words[at + 2],), kind[0]))
            elif kind == np.int64:
                numbers.append(step.words[at])
            at += 5 + 2 * kind[1] if isinstance(kind, tuple) else 1
        ptx = texts[f"{step.kernel.name} {step.kinds}"][0]
        return Kernel(step.kernel.name, ptx, step.prepared.grid, step.prepared.block, arrays, numbers)

    parts, join, join_launches = {}, joining._join, program.join_launches
    joining._join, program.join_launches = note_parts, note_launches


def _best_key(keys, kinds):
    """The text of a kernel with these types of arrays."""
    wanted = [str(kind) for kind in kinds if kind is not None]
    return max(keys, key=lambda key: sum(kind in key for kind in wanted))


# ---- works


def list_step(N):
    """The launches of a plain step of LeNet-5, and those of a recorded step, of which some are joined."""
    import minigrad as mg
    from minigrad import optim
    from minigrad.models import LeNet5
    from minigrad.nn import functional as F

    mg.manual_seed(0)
    model = LeNet5(image_size=32).to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = mg.ones(1, 32, 32, N, device="cuda").permute(3, 0, 1, 2)  # the layout of a DataLoader's batches
    y = mg.zeros(N, dtype=mg.int64, device="cuda")

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    launched.clear()
    step(x, y)
    plain = [Joint("", [kernel]) for kernel in launched]
    recorded.clear()
    mg.graph(step)(x, y)
    return {f"A training step of LeNet-5, batch {N}": plain, f"The same step, recorded, batch {N}": list(recorded)}


def list_large():
    """The launches {title: launches} of a 3x3 convolution 64 to 64 at 56x56, its gradients, and a matrix product."""
    import minigrad as mg
    from minigrad.ops.op import OPS
    from minigrad.runtime import memory

    device, window = mg.device("cuda"), {"stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    x, g = (device.from_host(memory.empty_batch_innermost((64, 64, 56, 56), np.dtype("f4"))) for _ in range(2))
    w, a = (device.allocate(shape, np.dtype("f4")) for shape in ((64, 64, 3, 3), (4096, 4096)))
    works = {
        "conv2d, 64 to 64 at 56x56, batch 64": partial(OPS["conv2d"].forward, device, x, w, None, **window),
        "its input gradient": partial(OPS["conv2d_input"].forward, device, g, w, size=(56, 56), **window),
        "its weight gradient": partial(OPS["conv2d_weight"].forward, device, g, x, window=(3, 3), **window),
        "matmul, 4096 x 4096 x 4096": partial(OPS["matmul"].forward, device, a, a),
    }
    found = {}
    for title, work in works.items():
        launched.clear()
        work()
        found[title] = [Joint("", [kernel]) for kernel in launched]
    return found


# ---- what a kernel takes


def find_ptxas():
    """NVIDIA's assembler: in the package that numba-cuda installs, or on the path, where it may be another version."""
    import nvidia

    inside = [path for place in nvidia.__path__ for path in Path(place).glob("**/bin/ptxas*")]
    return str(inside[0]) if inside else shutil.which("ptxas")


resources: dict[str, tuple[int, int]] = {}


def measure_resources(ptx, capability):
    """The registers of a thread and the bytes of shared memory of a block, as the assembler reports them."""
    if ptx not in resources:
        assembler = find_ptxas()
        if assembler is None:
            sys.exit(
                "benchmarks.cuda_on_paper: ptxas is not on the path, nor in NVIDIA's packages; install CUDA's nvcc"
            )
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "kernel.ptx").write_text(ptx)
            command = [assembler, "-v", "-arch=sm_{}{}".format(*capability), "kernel.ptx", "-o", "kernel.cubin"]
            report = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stderr
        registers, shared = re.search(r"Used (\d+) registers", report), re.search(r"(\d+) bytes smem", report)
        resources[ptx] = int(registers[1]), int(shared[1]) if shared else 0
    return resources[ptx]


def count_resident(registers, shared, threads):
    """The blocks that a multiprocessor holds at once."""
    warps = -(-threads // 32)
    by_registers = REGISTERS // (-(-registers // 8) * 8 * 32 * warps)
    return max(min(by_registers, SHARED // (shared + RESERVED_SHARED), THREADS // (32 * warps), BLOCKS), 1)


def fma_share(ptx):
    """The share of multiply-adds among the instructions of the longest loop; 0 if no loop has any."""
    lines = [line.strip() for line in ptx.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\$\w+:", line)}
    best = (0, 0)
    for i, line in enumerate(lines):
        jump = re.search(r"\bbra(?:\.uni)?\s+(\$\w+);", line)
        if jump and labels.get(jump[1], i) < i:
            body = [one for one in lines[labels[jump[1]] : i + 1] if one.endswith(";")]
            best = max(best, (sum(one.startswith("fma.rn.f") for one in body), len(body)))
    return best[0] / best[1] if best[0] else 0.0


def count_flops(kernel):
    """The multiply-adds of a matrix product or convolution, times 2, and those with what its tiles waste.

    The sizes are arguments of the kernels; see their docstrings.
    """
    kind, _, shape = kernel.name.removeprefix("cuda.").partition("-")
    if kind not in ("matmul.gemm", "conv2d.windows", "conv2d.sums", "conv2d.weight"):
        return 0, 0
    first, *sizes = kernel.numbers[:4] if kind == "conv2d.weight" else (0, *kernel.numbers[:4])
    side = [int(number) for number in re.split("[-+]", shape)[0].split("x")]
    whole = len(side) == 5  # a block of side[0] x side[1] threads computes the same elements of K
    tile = side[0] * side[2] * side[1] * side[2] if whole else side[0] * side[1]
    blocks = prod(kernel.grid)
    if kind == "conv2d.weight":
        T, K = sizes[0], sizes[1] * sizes[2]
        return 2 * kernel.arrays[0][0][0] * T, 2 * blocks * tile * -(-K // kernel.grid[2])
    K = sizes[3] - sizes[2] if kind == "matmul.gemm" else sizes[2]
    threads = 1 if whole else prod(kernel.block) // side[3]  # that have sums of their own; others add parts of them
    return 2 * kernel.arrays[3][0][0] * K, 2 * blocks * tile * threads * K


def estimate(kernel, capability):
    """A row of the table, and the estimated seconds."""
    threads, blocks = prod(kernel.block), prod(kernel.grid)
    registers, shared = measure_resources(kernel.ptx, capability)
    resident, share = count_resident(registers, shared, threads), fma_share(kernel.ptx)
    nbytes = sum(prod(shape) * dtype.itemsize for shape, dtype in kernel.arrays)
    useful, padded = count_flops(kernel)
    seconds = [LAUNCH, nbytes / BANDWIDTH]
    if padded and share:
        busiest = -(-blocks // MULTIPROCESSORS) * padded / blocks  # of the multiprocessor with the most blocks
        seconds.append(busiest / (2 * LANES * CLOCK * share))
    row = (
        kernel.name.removeprefix("cuda."),
        f"{blocks} x {threads}",
        f"{registers}",
        f"{resident}",
        f"{share:.0%}" if share else "-",
        f"{nbytes / 1e6:.2f}",
        f"{useful / 1e6:.1f} of {padded / 1e6:.1f}" if padded else "-",
        f"{1e6 * max(seconds):.1f}",
    )
    return row, max(seconds), useful


def estimate_joint(joint, capability):
    """The rows of a launch, of which the first has its time, the estimated seconds, and the useful multiply-adds."""
    rows, seconds, useful = zip(*[estimate(kernel, capability) for kernel in joint.kernels], strict=True)
    total = max(seconds)
    if joint.sign == "&":
        nbytes = sum(prod(shape) * dtype.itemsize for kernel in joint.kernels for shape, dtype in kernel.arrays)
        total = max(total, nbytes / BANDWIDTH)
    if joint.sign == ";":
        total = sum(seconds) - (len(seconds) - 1) * (LAUNCH - BARRIER)
    first, *rest = [(f"{joint.sign * (i > 0)}{' ' * (i > 0)}{row[0]}", *row[1:]) for i, row in enumerate(rows)]
    return [(*first[:-1], f"{1e6 * total:.1f}"), *[(*row[:-1], "") for row in rest]], total, sum(useful)


HEAD = ("kernel", "blocks x threads", "registers", "resident", "FMA", "MB", "MFLOP, useful of all", "us")


def print_works(works, capability):
    """Print a table for each work {title: launches}."""
    peak = 2 * MULTIPROCESSORS * LANES * CLOCK
    for title, launches in works.items():
        parts, seconds, useful = zip(*[estimate_joint(joint, capability) for joint in launches], strict=True)
        rows = [row for part in parts for row in part]
        widths = [max(len(row[i]) for row in (HEAD, *rows)) for i in range(len(HEAD))]
        print(f"\n{title}")
        for row in (HEAD, *rows):
            print("  ".join([row[0].ljust(widths[0]), *[c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]]))
        total, share = sum(seconds), sum(useful) / sum(seconds) / peak
        print(f"{len(launches)} launches, {1e6 * total:.0f} us on paper, {share:.0%} of the float32 peak")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capability", default="9.0", help="compute capability to compile for (9.0)")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 512], help="images of a step (64 512)")
    args = parser.parse_args()
    capability = tuple(map(int, args.capability.split(".")))
    install_driver(capability)
    works = [list_step(N) for N in args.batches]
    print_works({title: launches for work in [*works, list_large()] for title, launches in work.items()}, capability)


if __name__ == "__main__":
    main()
