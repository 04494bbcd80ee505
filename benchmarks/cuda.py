"""Test device 'cuda', compare its results with the CPU's, time it beside PyTorch, and check its speed targets.

    python -m benchmarks.cuda [--seconds 5] [--quick]

Run this on a computer with an NVIDIA GPU, from the project's root, and commit the results: `results/cuda-<GPU>.json`
and `.png`.  Kernels are timed by the GPU's clock.  Steps and epochs include Python: they are timed by the wall clock,
with one wait for the GPU after many steps, for every rival.  Rivals start from the same weights and must give the CPU's
results; then they take turns.  PyTorch computes in float32 with TF32 off, and selects its convolutions by timing them
(cudnn.benchmark).  With --quick the tests are skipped and everything is timed briefly.

With NUMBA_ENABLE_CUDASIM=1 and --quick everything except PyTorch runs without a GPU, on toy sizes; times are then
meaningless.
"""

import sys

if __name__ == "cuda":
    # PyTorch imports NVIDIA's package `cuda` if it finds one, and finds this file when another script of this folder
    # runs; on the CPU it does not need the package
    raise ModuleNotFoundError("benchmarks/cuda.py is not NVIDIA's package 'cuda'", name="cuda")

import gc
import itertools
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

if (folder := str(Path(__file__).resolve().parent)) in sys.path:
    sys.path.remove(folder)  # so that numba-cuda and PyTorch find NVIDIA's package `cuda`
if util.find_spec("torch"):
    import torch

import numpy as np

import minigrad as mg
from minigrad import data, datasets, nn, ops
from minigrad.errors import DeviceError
from minigrad.nn import functional as F
from minigrad.ops.op import OPS
from minigrad.runtime import memory
from minigrad.viz import style

sys.path.insert(0, folder)
import harness
import rivals
from harness import FLOAT, Timing, alternate, arguments, draw, quartiles, table, version, write

sys.path.remove(folder)

ROOT = Path(__file__).resolve().parents[1]
TESTS = "tests/on_cuda.py"
GRAPH, PLAIN = "minigrad, mg.graph", "minigrad"
PYTORCH = f"PyTorch {'.'.join(version('torch').split('.')[:2])}" if version("torch") else "PyTorch"
EAGER, CAPTURED = f"{PYTORCH} eager", f"{PYTORCH} CUDA graph"
CHECKED_STEPS = 5  # on which the rivals must agree
MAX_DIFFERENCE = 1e-3  # of weights and losses from the CPU's
WARM_UP_STEPS = 3  # of PyTorch before a capture
MIN_MEASUREMENT = 0.02  # seconds on the GPU, of one measurement of a kernel
EPOCH_TARGET = 0.15  # seconds


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


SIZES = {  # key: whether this is the simulator
    False: Sizes((64, 20), (64, 256, 512), 100, (512, None), (1000, 50), (64, 64, 56), 4096, 2**26),
    True: Sizes((3, 3), (1, 2, 3), 1, (2, 4), (20, 20), (2, 2, 4), 8, 300),
}


def main():
    args = arguments(__doc__, seconds=5)
    here = introduce(args.quick)
    sizes = SIZES[here["simulated"]]
    rows = [run_tests(args.quick), compare_training(*sizes.compared)]
    for N in sizes.batches:
        rows += time_steps(N, sizes.block, args.seconds)
    rows.append(time_epoch(*sizes.epoch, args.seconds))
    rows += time_kernels(sizes, args.seconds, here["peak_tflops"])
    rows.append(measure_memory(sizes.batches[0], sizes.replays[args.quick]))
    rows += check_targets(rows, sizes.batches[:2], here)
    name = f"cuda-{re.sub('[^a-z0-9]+', '-', here['gpu']['device'].lower()).strip('-')}"
    write(name, here, rows, args.quick)
    draw(name, make_picture(rows, here), args.quick)
    print(f"\nresults: {harness.place(name, args.quick).relative_to(ROOT)}.json and .png")


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


def get_gpu():
    """minigrad's GPU, with its clock and properties."""
    from minigrad.runtime.cuda.gpu import current_gpu

    return current_gpu()


def get_driver():
    """minigrad's module for NVIDIA's driver; it can be imported only if there is a GPU."""
    from minigrad.runtime.cuda import driver

    return driver


def is_simulated():
    """Whether kernels run in Numba's simulator."""
    return get_driver().SIMULATED


def find_peak():
    """TFLOP/s of float32: multiply-adds of all lanes at the highest clock, counted twice; None in the simulator."""
    if is_simulated():
        return None
    call, attributes = get_driver().call, get_driver().api.CUdevice_attribute
    clock = call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, call("cuDeviceGet", 0))  # kHz
    lanes = 64 if get_gpu().capability in ((7, 5), (8, 0)) else 128
    return 2 * get_gpu().multiprocessors * lanes * 1e3 * clock / 1e12


def why_no_pytorch():
    """Why there is no PyTorch to compare with; None if there is."""
    if not version("torch"):
        return "not installed, so there is no rival"
    if is_simulated():
        return "not compared with the simulator"
    if not torch.cuda.is_available():
        return f"{torch.__version__} is installed but finds no GPU, so there is no rival"
    return None


def configure_pytorch():
    """Set how PyTorch computes; return its version and settings in words."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, TF32 off"


# ---- correctness


def run_tests(quick):
    """Run the tests of the device; return a row with the last line that pytest prints."""
    if quick:
        print(f"\n{TESTS}: skipped by --quick")
        return {"work": "tests", "result": "skipped by --quick"}
    print(f"\n{TESTS}", flush=True)
    options, last = ["-p", "no:cacheprovider", "-p", "no:benchmark", "-n", "auto"], ""
    command = [sys.executable, "-m", "pytest", *options, TESTS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise SystemExit(f"{TESTS} failed: {last}; see above; nothing was timed")
    return {"work": "tests", "result": last}


def compare_training(N, steps):
    """Train on the CPU and on the GPU; return a row with the largest differences.

    Raises   SystemExit   the differences are too large
    """
    batches = rivals.noise(N, steps)
    (losses, found), (cpu_losses, expected) = (train(kind, batches) for kind in (Graph, OnCpu))
    by_weights = max(float(np.abs(found[name] - value).max()) for name, value in expected.items())
    by_losses = float(np.abs(losses - cpu_losses).max())
    print(f"\n{steps} steps at batch {N}, compared with the CPU: ", end="")
    print(f"weights differ by at most {by_weights:.1e}, losses by {by_losses:.1e}")
    if not (by_weights <= MAX_DIFFERENCE and by_losses <= MAX_DIFFERENCE):  # also true for nan
        raise SystemExit(f"training differs from the CPU's by more than {MAX_DIFFERENCE}; nothing was timed")
    return {"work": "weights", "batch": N, "steps": steps, "by_weights": by_weights, "by_losses": by_losses}


def train(kind, batches):
    """Take one step on each batch; return the losses and the weights."""
    rival = kind(initial_weights(), batches)
    losses = np.array([rival.values() for _ in batches])
    return losses, {name: value.cpu().numpy() for name, value in rival.model.state_dict().items()}


# ---- rivals


class TinyNet(nn.Module):
    """Replaces LeNet-5 in the simulator, where a step of that takes half a minute."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 4, stride=8), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))


def initial_weights():
    """The weights with which all rivals start, {name: array}."""
    if not is_simulated():
        return rivals.weights()
    mg.manual_seed(0)
    return {name: value.numpy() for name, value in TinyNet().state_dict().items()}


class Resident:
    """A rival whose batches lie on the GPU before the steps."""

    def __init__(self, weights, batches):
        super().__init__(weights, batches)
        self.batches = itertools.cycle([self.take(*batch) for batch in batches])

    def batch(self):
        return next(self.batches)


class Minigrad(Resident, rivals.Minigrad):
    """minigrad without mg.graph."""

    device = "cuda"

    def load(self):
        super().load()
        if is_simulated():
            self.models = SimpleNamespace(LeNet5=lambda image_size: TinyNet())

    def wait(self):
        self.mg.cuda.synchronize()


class Graph(Minigrad, rivals.Graph):
    """minigrad with the step recorded by mg.graph."""


class OnCpu(Graph):
    """The CPU backend, whose results the others must give."""

    device = "cpu"


class Torch(Resident, rivals.Torch):
    """PyTorch eager, with its fused SGD."""

    def build(self, weights):
        super().build(weights)
        self.model.to("cuda")

    def take(self, images, labels):
        return tuple(tensor.cuda() for tensor in super().take(images, labels))

    def values(self):
        return self().cpu().numpy()

    def wait(self):
        self.torch.cuda.synchronize()


class Captured(Torch):
    """PyTorch with the whole step captured as a CUDA graph; each batch is copied to where the graph reads it.

    Source   PyTorch's documentation, "CUDA semantics", section "Whole-network capture"
    """

    graph = None

    def step(self, images, labels):
        if self.graph is None:
            self.capture(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.result

    def capture(self, images, labels):
        """Warm up on another stream, capture, and restore the initial weights and momenta."""
        gc.collect()  # freeing GPU memory during the capture would break it
        start = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.images, self.labels = images.clone(), labels.clone()
        cuda = self.torch.cuda
        warm_up = cuda.Stream()
        warm_up.wait_stream(cuda.current_stream())
        with cuda.stream(warm_up):
            for _ in range(WARM_UP_STEPS):
                super().step(self.images, self.labels)
        cuda.current_stream().wait_stream(warm_up)
        self.optimizer.zero_grad(set_to_none=True)  # so that the graph's memory holds the gradients
        self.graph = cuda.CUDAGraph()
        with cuda.graph(self.graph):
            self.result = super().step(self.images, self.labels)
        self.model.load_state_dict(start)
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()


# ---- steps and epochs


def time_steps(N, block, seconds):
    """Check the rivals at one batch size, time them in turns, and print a table; return its rows."""
    batches = rivals.noise(N, 4)
    kinds = {GRAPH: Graph, PLAIN: Minigrad, **({} if why_no_pytorch() else {EAGER: Torch, CAPTURED: Captured})}
    found = {name: kind(initial_weights(), batches) for name, kind in kinds.items()}
    expected = first_losses(OnCpu(initial_weights(), batches))
    for name, rival in found.items():
        message = f"{name} compared with the CPU"
        np.testing.assert_allclose(first_losses(rival), expected, rtol=1e-3, atol=1e-4, err_msg=message)
    timings = alternate({name: partial(run_steps, rival, block) for name, rival in found.items()}, seconds)
    rows = [step_row(N, name, timing, block) for name, timing in timings.items()]
    head = (f"training step, batch {N}", "ms", "quartiles", "images/s", "relative time")
    table(head, [step_cells(row, rows[0]) for row in rows])
    return rows


def first_losses(rival):
    return np.array([rival.values() for _ in range(CHECKED_STEPS)])


def run_steps(rival, count):
    """Take steps, then wait for the GPU once."""
    for _ in range(count):
        rival()
    rival.wait()


def step_row(N, name, timing, block):
    """The row of a rival: the times of one step of a block."""
    times = {key: value / block for key, value in timing._asdict().items() if key != "calls"}
    calls = timing.calls * block
    return {"work": "step", "batch": N, "rival": name, **times, "calls": calls, "images_per_s": N / times["median"]}


def step_cells(row, first):
    return (
        row["rival"],
        f"{1e3 * row['median']:.3f}",
        f"{1e3 * row['low']:.3f}-{1e3 * row['high']:.3f}",
        f"{row['images_per_s']:,.0f}",
        f"{row['median'] / first['median']:.2f}",
    )


def time_epoch(N, images, seconds):
    """Check and time one epoch of MNIST, with the images on the GPU; return a row."""
    rival, on_cpu = Graph(initial_weights(), []), OnCpu(initial_weights(), [])
    found, expected = (train_epoch(one, load_mnist(one.device, N, images), CHECKED_STEPS) for one in (rival, on_cpu))
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.item(), other.item(), rtol=1e-3, err_msg="MNIST compared with the CPU")
    loader = load_mnist(rival.device, N, images)
    timing = alternate({GRAPH: partial(train_epoch, rival, loader)}, seconds)[GRAPH]
    print(f"\none epoch of MNIST, {len(loader)} batches of {N}: {timing.median:.3f} s, ", end="")
    print(f"quartiles {timing.low:.3f}-{timing.high:.3f}")
    return {"work": "epoch", "batch": N, "batches": len(loader), "rival": GRAPH, **timing._asdict()}


def load_mnist(device, N, images):
    """Shuffled batches of MNIST on a device."""
    source = datasets.MNIST() if images is None else data.Subset(datasets.MNIST(), range(images))
    settings = {"normalize": rivals.MNIST, "pad": 2, "device": device}
    return data.DataLoader(source, N, shuffle=True, seed=0, drop_last=True, **settings)


def train_epoch(rival, loader, max_batches=None):
    """Train on all batches, or the first ones, and wait for the GPU; return the losses."""
    losses = [rival.step(*batch) for _, batch in zip(range(max_batches or len(loader)), loader, strict=False)]
    rival.wait()
    return losses


# ---- kernels


class Case(NamedTuple):
    """A kernel: its work and size, the CPU's result, and for each rival a call and the function that times it.

    flops   None for a copy
    bytes   None if they are not reported
    """

    work: str
    size: str
    flops: int | None
    bytes: int | None
    expected: np.ndarray
    calls: dict[str, tuple[Callable, Callable]]


def time_kernels(sizes, seconds, peak):
    """Check and time every kernel, and print a table; return its rows."""
    makers = [partial(convolution, *sizes.convolution, kind) for kind in CONVOLUTIONS]
    makers += [partial(dense, sizes.matrix), partial(copy, sizes.copied)]
    rows = [row for make in makers for row in time_case(make(), seconds, peak)]
    head = ("kernel", "size", "rival", "ms", "quartiles", "TFLOP/s", "of peak", "GB/s")
    table(head, [kernel_cells(row) for row in rows])
    return rows


def time_case(case, seconds, peak):
    """Check that all rivals give the CPU's result, and time them; return their rows."""
    atol = 1e-4 * float(np.abs(case.expected).max())
    for name, (call, _) in case.calls.items():
        message = f"{case.work}: {name} compared with the CPU"
        np.testing.assert_allclose(to_host(call()), case.expected, rtol=1e-3, atol=atol, err_msg=message)
    timings = time_by_gpu_clock(case.calls, seconds)
    return [kernel_row(case, name, timing, peak) for name, timing in timings.items()]


def to_host(result):
    """The result of a call as a NumPy array."""
    return mg.device("cuda").to_host(result) if hasattr(result, "owner") else result.cpu().numpy()


def time_by_gpu_clock(calls, seconds):
    """Time calls {name: (call, clock)} in turns; return {name: Timing}."""
    counts = {name: max(1, int(MIN_MEASUREMENT / clock(call, 1))) for name, (call, clock) in calls.items()}
    times = {name: [] for name in calls}
    end, turns = time.perf_counter() + seconds, 0
    while turns < 2 or time.perf_counter() < end:
        for name, (call, clock) in calls.items():
            call()
            times[name].append(clock(call, counts[name]) / counts[name])
        turns += 1
    return {name: Timing(*quartiles(values), counts[name] * turns) for name, values in times.items()}


def torch_clock(call, times):
    """Seconds that PyTorch's stream takes for `times` calls, by the GPU's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def kernel_row(case, name, timing, peak):
    """The row of a rival."""
    tflops = case.flops and case.flops / timing.median / 1e12
    return {
        "work": case.work,
        "size": case.size,
        "rival": name,
        **timing._asdict(),
        "tflops": tflops,
        "of_peak": tflops / peak if tflops and peak else None,
        "gb_s": case.bytes and case.bytes / timing.median / 1e9,
    }


def kernel_cells(row):
    def number(name, form):
        return "-" if row[name] is None else f"{row[name]:{form}}"

    times = f"{1e3 * row['median']:.3f}", f"{1e3 * row['low']:.3f}-{1e3 * row['high']:.3f}"
    rates = number("tflops", ".2f"), number("of_peak", ".0%"), number("gb_s", ".0f")
    return row["work"], row["size"], row["rival"], *times, *rates


def make_case(work, size, mine, theirs, arrays, flops=None, nbytes=None):
    """A case of mine(device, *arrays) on the CPU and the GPU, and theirs(*tensors) in PyTorch."""
    cpu, cuda = mg.device("cpu"), mg.device("cuda")
    calls = {PLAIN: (partial(mine, cuda, *map(cuda.from_host, arrays)), get_gpu().measure_seconds)}
    if not why_no_pytorch():
        calls |= {name: (call, torch_clock) for name, call in torch_calls(theirs, arrays).items()}
    return Case(work, size, flops, nbytes, np.asarray(mine(cpu, *arrays)), calls)


def torch_calls(function, arrays):
    """The calls of a function of PyTorch tensors; for images, in both of PyTorch's layouts."""
    tensors = [torch.from_numpy(np.array(array, order="C")).cuda() for array in arrays]
    if any(tensor.ndim != 4 for tensor in tensors):
        return {PYTORCH: partial(function, *tensors)}
    last = [tensor.to(memory_format=torch.channels_last) for tensor in tensors]
    return {f"{PYTORCH} contiguous": partial(function, *tensors), f"{PYTORCH} channels_last": partial(function, *last)}


WINDOW = {"stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


def torch_back(wanted, x, w, g):
    """The gradient by the input (0) or the weight (1), as PyTorch's autograd computes it."""
    mask = [wanted == 0, wanted == 1, False]
    back = torch.ops.aten.convolution_backward
    return back(g, x, w, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, mask)[wanted]


CONVOLUTIONS = {
    "conv forward": (
        lambda device, x, w, g: ops.conv2d(device, x, w, None, **WINDOW),
        lambda x, w, g: torch.nn.functional.conv2d(x, w, padding=1),
    ),
    "conv input gradient": (
        lambda device, x, w, g: OPS["conv2d_input"](device, g, w, size=x.shape[2:], **WINDOW),
        partial(torch_back, 0),
    ),
    "conv weight gradient": (
        lambda device, x, w, g: OPS["conv2d_weight"](device, g, x, window=w.shape[2:], **WINDOW),
        partial(torch_back, 1),
    ),
}


def convolution(N, C, H, kind):
    """A convolution of C channels with C filters of 3 x 3 and a padding of one pixel."""
    random = np.random.default_rng(0)
    x, g = (
        memory.empty_batch_innermost((N, C, H, H), FLOAT),
        memory.empty_batch_innermost((N, C, H, H), FLOAT),
    )  # batch-innermost
    x[...], g[...] = random.normal(size=x.shape), random.normal(size=g.shape)
    w = random.normal(size=(C, C, 3, 3)).astype(FLOAT)
    size = f"{C}-{C} {H}x{H}, batch {N}"
    return make_case(kind, size, *CONVOLUTIONS[kind], (x, w, g), flops=2 * g.size * w[0].size)


def dense(M):
    """The product of two square matrices."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(M, M)).astype(FLOAT) for _ in range(2)]
    mine, theirs = (lambda device, a, b: OPS["matmul"](device, a, b)), (lambda a, b: a @ b)
    return make_case("dense", f"{M}x{M}x{M}", mine, theirs, arrays, flops=2 * M**3)


def copy(count):
    """An elementwise copy into memory that was freed before; bytes read plus bytes written."""
    x = np.random.default_rng(0).normal(size=count).astype(FLOAT)
    mine, theirs = (lambda device, x: x.copy()), (lambda x: x.clone())
    return make_case("copy", f"{count:,} floats", mine, theirs, [x], nbytes=2 * x.nbytes)


# ---- memory


def measure_memory(N, times):
    """Measure the GPU's memory before and after `times` replays of a step; return a row."""
    rival = Graph(initial_weights(), rivals.noise(N, 4))
    run_steps(rival, 2)
    gc.collect()
    before = mg.cuda.memory_stats()
    run_steps(rival, times)
    after = mg.cuda.memory_stats()
    grown = after["held"] - before["held"]
    print(f"\nmemory held before {times:,} replayed steps {before['held']:,} bytes, after {after['held']:,}: ", end="")
    print(describe_growth(grown))
    return {"work": "memory", "batch": N, "replays": times, "before": before, "after": after, "grown": grown}


def describe_growth(grown):
    return f"{grown:+,} bytes" if grown else "constant"


# ---- targets


def check_targets(rows, batches, here):
    """Print the targets and whether they are reached; return the rows of this table."""
    targets = [row for N in batches for row in step_targets(rows, N)]
    seconds = row_of(rows, "epoch")["median"]
    reached = seconds < EPOCH_TARGET
    targets.append(target_row("one epoch of MNIST", f"below {EPOCH_TARGET} s", f"{seconds:.3f} s", reached))
    peak = here["peak_tflops"]
    targets += [kernel_target(rows, work, 0.5, peak, or_pytorch=True) for work in CONVOLUTIONS]
    targets.append(kernel_target(rows, "dense", 0.6, peak, or_pytorch=False))
    memory_row = row_of(rows, "memory")
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
    return next(row for row in rows if row["work"] == work)


def step_targets(rows, N):
    """The rows that compare the speed of a step with PyTorch's; not checked without PyTorch."""
    rates = {row["rival"]: row["images_per_s"] for row in rows if row["work"] == "step" and row["batch"] == N}
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
    right.set_title(f"{row_of(rows, 'conv forward')['size']}; {row_of(rows, 'dense')['size']}", fontsize=style.LABEL)
    return chart


def draw_bars(axes, values):
    """Draw a group of bars for each second key, in it a bar for each first key, and the legend below."""
    names, groups = (list(dict.fromkeys(key[part] for key in values)) for part in range(2))
    width = 0.8 / len(names)
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
