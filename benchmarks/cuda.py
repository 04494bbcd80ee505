"""The GPU: device 'cuda' is tested, compared with the CPU, timed beside PyTorch, and judged by its targets.

    python -m benchmarks.cuda [--seconds 5] [--quick]

What somebody with an NVIDIA GPU runs from the project's root, to commit what it leaves: `results/cuda-<GPU>.json` and
`.png`.  Kernels are timed by the GPU's own clock; steps and epochs, in which Python takes part, by the wall clock, many
steps and one wait for the GPU at a time, for every rival.  Rivals start from the same weights, must give what the CPU
gives, and then take turns.  PyTorch computes in float32 with TF32 off, and chooses its convolutions by trying
(cudnn.benchmark).  With --quick the tests are skipped, and all is timed for a moment.

With NUMBA_ENABLE_CUDASIM=1 and --quick all this but PyTorch runs without a GPU, on toy sizes: times mean nothing then.
"""

import sys

if __name__ == "cuda":
    # the scripts beside this one have its folder on their path, where PyTorch then looks for NVIDIA's package of this
    # name; on the CPU it can do without
    raise ModuleNotFoundError("benchmarks/cuda.py is not NVIDIA's package 'cuda'", name="cuda")

import gc
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module, util
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

if (folder := str(Path(__file__).resolve().parent)) in sys.path:
    sys.path.remove(folder)  # numba-cuda and PyTorch must find NVIDIA's package
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
CHECKED = 5  # steps on which the rivals must agree
DIFFERENCE = 1e-3  # the most by which weights and losses may differ from the CPU's
WARM = 3  # steps of PyTorch before a capture
TURN = 0.02  # seconds of the GPU, at least, of one measurement of a kernel
EPOCH = 0.15  # seconds, the target


class Sizes(NamedTuple):
    """How much is done."""

    trained: tuple[int, int]  # batch and steps that are compared with the CPU's
    batches: tuple[int, ...]  # of a step that is timed; the first two are judged
    block: int  # steps between two waits for the GPU
    epoch: tuple[int, int | None]  # batch, and of how many digits; None: of all
    replays: tuple[int, int]  # of a step, after which as much memory is held as before; and with --quick
    convolution: tuple[int, int, int]  # images, channels, side
    matrix: int  # rows and columns
    copied: int  # floats, more than the GPU's cache


SIZES = {  # by whether this is the simulator
    False: Sizes((64, 20), (64, 256, 512), 100, (512, None), (1000, 50), (64, 64, 56), 4096, 2**26),
    True: Sizes((3, 3), (1, 2, 3), 1, (2, 4), (20, 20), (2, 2, 4), 8, 300),
}


def main():
    args = arguments(__doc__, seconds=5)
    here = introduce(args.quick)
    sizes = SIZES[here["simulated"]]
    rows = [tests(args.quick), compared(*sizes.trained)]
    for N in sizes.batches:
        rows += steps(N, sizes.block, args.seconds)
    rows.append(epoch(*sizes.epoch, args.seconds))
    rows += kernels(sizes, args.seconds, here["peak_tflops"])
    rows.append(held(sizes.batches[0], sizes.replays[args.quick]))
    rows += judged(rows, sizes.batches[:2], here)
    name = f"cuda-{re.sub('[^a-z0-9]+', '-', here['gpu']['device'].lower()).strip('-')}"
    write(name, here, rows, args.quick)
    draw(name, picture(rows, here), args.quick)
    print(f"\nkept: {harness.place(name, args.quick).relative_to(ROOT)}.json and .png")


# ---- what there is


def introduce(quick):
    """Print the GPU and what takes part; returns the machine, with its GPU and the GPU's peak."""
    try:
        report = mg.cuda.report()
    except DeviceError as error:
        raise SystemExit(str(error)) from None
    if simulated() and not quick:
        raise SystemExit("benchmarks.cuda: this is Numba's simulator, whose times mean nothing; run it with --quick")
    here = {**harness.machine(), "gpu": report, "peak_tflops": peak(), "simulated": simulated()}
    print("\nThe GPU")
    for name, value in report.items():
        print(f"  {name:<20}{value}")
    limit = f"{here['peak_tflops']:.1f} TFLOP/s" if here["peak_tflops"] else "unknown, the simulator has no clock"
    print(f"  {'float32 peak':<20}{limit}")
    print(f"  {'PyTorch':<20}{absent() or prepared()}")
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load_before']} before, {here['date']}")
    if simulated():
        print("This is Numba's simulator: sizes are toys, times mean nothing, no target is judged.")
    return here


def gpu():
    """The GPU: its stream, its clock, its properties."""
    return import_module("minigrad.runtime.cuda.machine").machine()


def driver():
    """What minigrad knows of NVIDIA's driver; to be asked once it is known that there is a GPU."""
    return import_module("minigrad.runtime.cuda.driver")


def simulated():
    """Whether kernels run in Numba's simulator."""
    return driver().SIMULATED


def peak():
    """TFLOP/s of float32: multiply-adds of all lanes at the highest clock, counted twice; None in the simulator."""
    if simulated():
        return None
    call, attributes = driver().call, driver().api.CUdevice_attribute
    clock = call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, call("cuDeviceGet", 0))  # kHz
    lanes = 64 if gpu().capability in ((7, 5), (8, 0)) else 128
    return 2 * gpu().processors * lanes * 1e3 * clock / 1e12


def absent():
    """Why PyTorch takes no part, None where it does."""
    if not version("torch"):
        return "not installed, so there is no rival"
    if simulated():
        return "not compared with the simulator"
    if not torch.cuda.is_available():
        return f"{torch.__version__} is installed but finds no GPU, so there is no rival"
    return None


def prepared():
    """Settle how PyTorch computes; returns its version and this, in words."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, TF32 off"


# ---- correct?


def tests(quick):
    """Run what must hold on the device; returns the last line that pytest prints."""
    if quick:
        print(f"\n{TESTS}: skipped, by --quick")
        return {"work": "tests", "result": "skipped, by --quick"}
    print(f"\n{TESTS}", flush=True)
    command, last = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", TESTS], ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise SystemExit(f"{TESTS} failed: {last}; see above, nothing was timed")
    return {"work": "tests", "result": last}


def compared(N, steps):
    """Train on the CPU and on the GPU; returns the largest differences.

    Raises   SystemExit   they are too large
    """
    batches = rivals.noise(N, steps)
    (losses, found), (cpu_losses, expected) = (trained(kind, batches) for kind in (Graph, OnCpu))
    by_weights = max(float(np.abs(found[name] - value).max()) for name, value in expected.items())
    by_losses = float(np.abs(losses - cpu_losses).max())
    print(f"\n{steps} steps at batch {N}, against the CPU: ", end="")
    print(f"weights differ by at most {by_weights:.1e}, losses by {by_losses:.1e}")
    if not (by_weights <= DIFFERENCE and by_losses <= DIFFERENCE):  # nan is too large as well
        raise SystemExit(f"the GPU does not train as the CPU does: differences above {DIFFERENCE}; nothing was timed")
    return {"work": "weights", "batch": N, "steps": steps, "by_weights": by_weights, "by_losses": by_losses}


def trained(kind, batches):
    """The losses of one step on each batch, and the weights after them."""
    rival = kind(weights(), batches)
    losses = np.array([rival.values() for _ in batches])
    return losses, {name: value.cpu().numpy() for name, value in rival.model.state_dict().items()}


# ---- rivals


class Toy(nn.Module):
    """What learns in the simulator, where a step of LeNet-5 takes half a minute."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 4, stride=8), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))


def weights():
    """Where all rivals start, {name: array}."""
    if not simulated():
        return rivals.weights()
    mg.manual_seed(0)
    return {name: value.numpy() for name, value in Toy().state_dict().items()}


class Minigrad(rivals.Minigrad):
    """minigrad as its user writes it, without mg.graph."""

    device = "cuda"

    def load(self):
        super().load()
        if simulated():
            self.models = SimpleNamespace(LeNet5=lambda image_size: Toy())

    def wait(self):
        self.mg.cuda.synchronize()


class Graph(Minigrad, rivals.Graph):
    """minigrad with the step recorded by mg.graph."""


class OnCpu(Graph):
    """The judge."""

    device = "cpu"


class Torch(rivals.Torch):
    """PyTorch eager, with its fused SGD."""

    def build(self, weights):
        super().build(weights)
        self.model.to("cuda")

    def hold(self, images, labels):
        return tuple(tensor.cuda() for tensor in super().hold(images, labels))

    def values(self):
        return self().cpu().numpy()

    def wait(self):
        self.torch.cuda.synchronize()


class Captured(Torch):
    """PyTorch with the whole step captured as a CUDA graph, which reads its batch from where the first one was copied.

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
        """Warm up on a stream beside, capture, and put weights and momenta back to where they started."""
        gc.collect()  # what frees memory of the GPU would break the capture
        start = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.images, self.labels = images.clone(), labels.clone()
        cuda = self.torch.cuda
        beside = cuda.Stream()
        beside.wait_stream(cuda.current_stream())
        with cuda.stream(beside):
            for _ in range(WARM):
                super().step(self.images, self.labels)
        cuda.current_stream().wait_stream(beside)
        self.optimizer.zero_grad(set_to_none=True)  # gradients shall lie in the memory of the graph
        self.graph = cuda.CUDAGraph()
        with cuda.graph(self.graph):
            self.result = super().step(self.images, self.labels)
        self.model.load_state_dict(start)
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()


# ---- steps and epochs


def steps(N, block, seconds):
    """Check the rivals at one batch size, let them take turns, print their table; returns its rows."""
    batches = rivals.noise(N, 4)
    kinds = {GRAPH: Graph, PLAIN: Minigrad, **({} if absent() else {EAGER: Torch, CAPTURED: Captured})}
    found = {name: kind(weights(), batches) for name, kind in kinds.items()}
    judge = first_losses(OnCpu(weights(), batches))
    for name, rival in found.items():
        np.testing.assert_allclose(first_losses(rival), judge, rtol=1e-3, atol=1e-4, err_msg=f"{name} against the CPU")
    timings = alternate({name: partial(several, rival, block) for name, rival in found.items()}, seconds)
    rows = [step_row(N, name, timing, block) for name, timing in timings.items()]
    head = (f"training step, batch {N}", "ms", "quartiles", "images/s", "times as long")
    table(head, [step_cells(row, rows[0]) for row in rows])
    return rows


def first_losses(rival):
    return np.array([rival.values() for _ in range(CHECKED)])


def several(rival, count):
    """Many steps, and one wait for the GPU."""
    for _ in range(count):
        rival()
    rival.wait()


def step_row(N, name, timing, block):
    """What is kept: the times of one step of a block."""
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


def epoch(N, images, seconds):
    """Check and time one pass through MNIST, whose digits lie on the GPU; returns its row."""
    rival, judge = Graph(weights(), []), OnCpu(weights(), [])
    found, expected = (through(one, digits(one.device, N, images), CHECKED) for one in (rival, judge))
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.item(), other.item(), rtol=1e-3, err_msg="MNIST against the CPU")
    loader = digits(rival.device, N, images)
    timing = alternate({GRAPH: partial(through, rival, loader)}, seconds)[GRAPH]
    print(f"\none epoch of MNIST, {len(loader)} batches of {N}: {timing.median:.3f} s, ", end="")
    print(f"quartiles {timing.low:.3f}-{timing.high:.3f}")
    return {"work": "epoch", "batch": N, "batches": len(loader), "rival": GRAPH, **timing._asdict()}


def digits(device, N, images):
    """Shuffled batches of MNIST on a device."""
    source = datasets.MNIST() if images is None else data.Subset(datasets.MNIST(), range(images))
    settings = {"normalize": rivals.MNIST, "pad": 2, "device": device}
    return data.DataLoader(source, N, shuffle=True, seed=0, drop_last=True, **settings)


def through(rival, loader, most=None):
    """Train on all batches, or the first ones, and wait; returns the losses."""
    losses = [rival.step(*batch) for _, batch in zip(range(most or len(loader)), loader, strict=False)]
    rival.wait()
    return losses


# ---- kernels


class Case(NamedTuple):
    """A kernel: what it does, on how much, what the CPU gives, and each rival's call with the clock of its stream.

    flops   None where it only moves bytes; bytes None where it does not matter how many
    """

    work: str
    size: str
    flops: int | None
    bytes: int | None
    expected: np.ndarray
    calls: dict[str, tuple[Callable, Callable]]


def kernels(sizes, seconds, limit):
    """Check and time every kernel, print the table; returns its rows."""
    made = [partial(convolution, *sizes.convolution, kind) for kind in CONVOLUTIONS]
    made += [partial(dense, sizes.matrix), partial(copy, sizes.copied)]
    rows = [row for make in made for row in measured(make(), seconds, limit)]
    head = ("kernel", "size", "rival", "ms", "quartiles", "TFLOP/s", "of peak", "GB/s")
    table(head, [kernel_cells(row) for row in rows])
    return rows


def measured(case, seconds, limit):
    """The rows of a kernel's rivals, after they were found to give what the CPU gives."""
    atol = 1e-4 * float(np.abs(case.expected).max())
    for name, (call, _) in case.calls.items():
        where = f"{case.work}: {name} against the CPU"
        np.testing.assert_allclose(on_host(call()), case.expected, rtol=1e-3, atol=atol, err_msg=where)
    timings = clocked(case.calls, seconds)
    return [kernel_row(case, name, timing, limit) for name, timing in timings.items()]


def on_host(result):
    """What a call returns, as a NumPy array."""
    return mg.device("cuda").to_host(result) if hasattr(result, "owner") else result.cpu().numpy()


def clocked(calls, seconds):
    """Time calls {name: (call, clock)} in turns, by the GPU's clock; returns {name: Timing}."""
    counts = {name: max(1, int(TURN / clock(call, 1))) for name, (call, clock) in calls.items()}
    times = {name: [] for name in calls}
    end, turns = time.perf_counter() + seconds, 0
    while turns < 2 or time.perf_counter() < end:
        for name, (call, clock) in calls.items():
            call()
            times[name].append(clock(call, counts[name]) / counts[name])
        turns += 1
    return {name: Timing(*quartiles(values), counts[name] * turns) for name, values in times.items()}


def torch_clock(call, times):
    """Seconds of the GPU that PyTorch's stream needs for a call, done so many times."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def kernel_row(case, name, timing, limit):
    """What is kept of a kernel."""
    tflops = case.flops and case.flops / timing.median / 1e12
    return {
        "work": case.work,
        "size": case.size,
        "rival": name,
        **timing._asdict(),
        "tflops": tflops,
        "of_peak": tflops / limit if tflops and limit else None,
        "gb_s": case.bytes and case.bytes / timing.median / 1e9,
    }


def kernel_cells(row):
    def number(name, form):
        return "-" if row[name] is None else f"{row[name]:{form}}"

    times = f"{1e3 * row['median']:.3f}", f"{1e3 * row['low']:.3f}-{1e3 * row['high']:.3f}"
    rates = number("tflops", ".2f"), number("of_peak", ".0%"), number("gb_s", ".0f")
    return row["work"], row["size"], row["rival"], *times, *rates


def settled(work, size, mine, theirs, arrays, flops=None, nbytes=None):
    """A case: mine(device, *arrays) on the CPU and the GPU, theirs(*tensors) by PyTorch."""
    cpu, cuda = mg.device("cpu"), mg.device("cuda")
    calls = {PLAIN: (partial(mine, cuda, *map(cuda.from_host, arrays)), gpu().elapsed)}
    if not absent():
        calls |= {name: (call, torch_clock) for name, call in torch_calls(theirs, arrays).items()}
    return Case(work, size, flops, nbytes, np.asarray(mine(cpu, *arrays)), calls)


def torch_calls(function, arrays):
    """The calls of a function of PyTorch tensors; where they are images, in both of PyTorch's layouts."""
    tensors = [torch.from_numpy(np.array(array, order="C")).cuda() for array in arrays]
    if any(tensor.ndim != 4 for tensor in tensors):
        return {PYTORCH: partial(function, *tensors)}
    last = [tensor.to(memory_format=torch.channels_last) for tensor in tensors]
    return {f"{PYTORCH} contiguous": partial(function, *tensors), f"{PYTORCH} channels_last": partial(function, *last)}


WINDOW = {"stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


def torch_back(wanted, x, w, g):
    """What PyTorch's autograd calls: the gradient by the input (0) or the weight (1)."""
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
    """A convolution of C channels with C filters of 3 x 3 and a margin of one pixel."""
    random = np.random.default_rng(0)
    x, g = memory.empty_batch_last((N, C, H, H), FLOAT), memory.empty_batch_last((N, C, H, H), FLOAT)  # batch-innermost
    x[...], g[...] = random.normal(size=x.shape), random.normal(size=g.shape)
    w = random.normal(size=(C, C, 3, 3)).astype(FLOAT)
    size = f"{C}-{C} {H}x{H}, batch {N}"
    return settled(kind, size, *CONVOLUTIONS[kind], (x, w, g), flops=2 * g.size * w[0].size)


def dense(M):
    """The product of two square matrices."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(M, M)).astype(FLOAT) for _ in range(2)]
    mine, theirs = (lambda device, a, b: OPS["matmul"](device, a, b)), (lambda a, b: a @ b)
    return settled("dense", f"{M}x{M}x{M}", mine, theirs, arrays, flops=2 * M**3)


def copy(count):
    """An elementwise copy into memory that was freed before; bytes are those read and those written."""
    x = np.random.default_rng(0).normal(size=count).astype(FLOAT)
    mine, theirs = (lambda device, x: x.copy()), (lambda x: x.clone())
    return settled("copy", f"{count:,} floats", mine, theirs, [x], nbytes=2 * x.nbytes)


# ---- memory


def held(N, times):
    """The GPU's memory before and after a step was replayed so many times; returns a row."""
    rival = Graph(weights(), rivals.noise(N, 4))
    several(rival, 2)
    gc.collect()
    before = mg.cuda.memory_stats()
    several(rival, times)
    after = mg.cuda.memory_stats()
    grown = after["held"] - before["held"]
    print(f"\nmemory held before {times:,} replayed steps {before['held']:,} bytes, after {after['held']:,}: ", end="")
    print(growth(grown))
    return {"work": "memory", "batch": N, "replays": times, "before": before, "after": after, "grown": grown}


def growth(grown):
    return f"{grown:+,} bytes" if grown else "constant"


# ---- targets


def judged(rows, batches, here):
    """Print what is aimed at and what was reached; returns the rows of this table."""
    verdicts = [row for N in batches for row in step_verdicts(rows, N)]
    seconds = row_of(rows, "epoch")["median"]
    verdicts.append(verdict("one epoch of MNIST", f"below {EPOCH} s", f"{seconds:.3f} s", seconds < EPOCH))
    limit = here["peak_tflops"]
    verdicts += [kernel_verdict(rows, work, 0.5, limit, or_pytorch=True) for work in CONVOLUTIONS]
    verdicts.append(kernel_verdict(rows, "dense", 0.6, limit, or_pytorch=False))
    replayed = row_of(rows, "memory")
    grown, figure = replayed["grown"], f"memory held, {replayed['replays']:,} replays"
    verdicts.append(verdict(figure, "constant", growth(grown), not grown))
    words = {True: "yes", False: "no", None: "not judged"}
    lines = [(row["figure"], row["target"], row["measured"], words[row["reached"]]) for row in verdicts]
    table(("figure", "target", "measured", "reached"), lines)
    return verdicts


def verdict(figure, target, measured, reached):
    """A row; reached is None where nothing can be said, as in the simulator."""
    reached = None if simulated() else reached
    return {"work": "target", "figure": figure, "target": target, "measured": measured, "reached": reached}


def row_of(rows, work):
    return next(row for row in rows if row["work"] == work)


def step_verdicts(rows, N):
    """A step's speed against PyTorch's; not judged where that is absent."""
    rates = {row["rival"]: row["images_per_s"] for row in rows if row["work"] == "step" and row["batch"] == N}
    for mine, least, theirs in ((GRAPH, 3, EAGER), (GRAPH, 1, CAPTURED), (PLAIN, 1, EAGER)):
        ratio = rates[mine] / rates[theirs] if theirs in rates else None
        said = f"{ratio:.2f} times" if ratio else f"{rates[mine]:,.0f} images/s, no rival"
        yield verdict(f"{mine}: step at {N}", f"{least} times {theirs}", said, ratio and ratio >= least)


def kernel_verdict(rows, work, share, limit, or_pytorch):
    """A kernel's speed against a share of the peak or, where asked for and less, against PyTorch's better layout."""
    rates = {row["rival"]: row["tflops"] for row in rows if row["work"] == work}
    mine, wanted = rates.pop(PLAIN), f"{share:.0%} of the peak"
    if limit is None:
        return verdict(work, wanted, f"{mine:.3g} TFLOP/s", None)
    least = share * limit
    if or_pytorch and rates and max(rates.values()) < least:
        least, wanted = max(rates.values()), "PyTorch's speed"
    return verdict(work, f"{least:.1f} TFLOP/s: {wanted}", f"{mine:.1f}, {mine / limit:.0%} of the peak", mine >= least)


# ---- picture


def picture(rows, here):
    """Images a second of every rival by batch, and TFLOP/s of the kernels, PyTorch's in its better layout."""
    chart = style.figure(11, 5, f"{here['gpu']['device']}, float32")
    left, right = chart.subplots(1, 2)
    trained = [row for row in rows if row["work"] == "step"]
    bars(left, {(row["rival"], f"batch {row['batch']}"): row["images_per_s"] for row in trained})
    left.set_ylabel("images/s", fontsize=style.LABEL)
    left.set_title("LeNet-5, training" if not here["simulated"] else "a toy, in the simulator", fontsize=style.LABEL)
    best = {}
    for row in rows:
        if row.get("tflops"):
            key = PLAIN if row["rival"] == PLAIN else PYTORCH, row["work"].replace(" ", "\n")
            best[key] = max(best.get(key, 0), row["tflops"])
    if here["peak_tflops"]:
        right.axhline(here["peak_tflops"], color="black", linestyle="--", label="peak at the highest clock")
    bars(right, best)
    right.set_ylabel("TFLOP/s", fontsize=style.LABEL)
    right.set_title(f"{row_of(rows, 'conv forward')['size']}; {row_of(rows, 'dense')['size']}", fontsize=style.LABEL)
    return chart


def bars(axes, values):
    """A group of bars for each second key, in it one for each first key, with their legend below."""
    names, groups = (list(dict.fromkeys(key[part] for key in values)) for part in range(2))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        own = [i for i, group in enumerate(groups) if (name, group) in values]
        places = [i + (number - len(names) / 2 + 0.5) * width for i in own]
        heights = [values[name, groups[i]] for i in own]
        axes.bar(places, heights, width, label=name, color=style.PALETTE[number])
    axes.set_xticks(range(len(groups)), groups, fontsize=style.SMALL)
    style.tidy(axes)
    axes.legend(fontsize=style.SMALL, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


if __name__ == "__main__":
    main()
