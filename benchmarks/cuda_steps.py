"""The steps of `benchmarks.cuda`: compared with the CPU's, timed beside PyTorch, launch by launch, and by epoch.

Rivals start from the same weights and must give the CPU's results; then they take turns.
"""

import gc
import itertools
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import rivals
from cuda_gpu import CAPTURED, COMPILED, EAGER, GRAPH, PLAIN, get_gpu, is_simulated, why_no_pytorch
from harness import alternate, table

import minigrad as mg
from minigrad import data, datasets, nn
from minigrad.nn import functional as F

CHECKED_STEPS = 5  # on which the rivals must agree
MAX_DIFFERENCE = 1e-3  # of weights and losses from the CPU's
WARM_UP_STEPS = 3  # of PyTorch before a capture
LAUNCH_TIMES = 50  # repetitions of a launch that is timed alone
TRAINING = Path(__file__).parents[1] / "examples" / "train_mnist.py"


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


class Compiled(Torch):
    """PyTorch with the model compiled by torch.compile, whose kernels a CUDA graph launches."""

    def build(self, weights):
        super().build(weights)
        self.model = self.torch.compile(self.model, mode="reduce-overhead")


# ---- correctness


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
        raise SystemExit(f"training differs from the CPU's by more than {MAX_DIFFERENCE}")
    return {"work": "weights", "batch": N, "steps": steps, "by_weights": by_weights, "by_losses": by_losses}


def train(kind, batches):
    """Take one step on each batch; return the losses and the weights."""
    rival = kind(initial_weights(), batches)
    losses = np.array([rival.values() for _ in batches])
    return losses, {name: value.cpu().numpy() for name, value in rival.model.state_dict().items()}


# ---- steps and epochs


def time_steps(N, block, seconds):
    """Check the rivals at one batch size, time them in turns, and print a table; return its rows."""
    batches = rivals.noise(N, 4)
    rivals_here = {} if why_no_pytorch() else {EAGER: Torch, CAPTURED: Captured, COMPILED: Compiled}
    kinds = {GRAPH: Graph, PLAIN: Minigrad, **rivals_here}
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


def time_to_accuracy(target):
    """Train LeNet-5 on MNIST in a new process until it reads a share of the test digits; return a row."""
    import subprocess

    if is_simulated():
        return {"work": "accuracy", "result": "not run in the simulator"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAINING), "--device", "cuda", "--target", str(target), "--out", folder]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{TRAINING.name} failed: {done.stderr[-2000:]}")
    print(f"\nMNIST to {target:.0%}, whole process: {seconds:.1f} s")
    return {"work": "accuracy", "target": target, "seconds": seconds}


# ---- launch by launch


def time_launches(N):
    """Time each launch of a recorded step alone, and the whole graph; print a table, and return its rows."""
    rival = Graph(initial_weights(), rivals.noise(N, 4))
    run_steps(rival, 3)
    program = rival.step._replays[0].program
    gpu = get_gpu()
    times = 1 if is_simulated() else LAUNCH_TIMES
    rows = []
    for launch in program.launches:
        seconds = gpu.measure_seconds(lambda one=launch: one.address.enqueue(gpu.stream), times) / times
        rows.append({"work": "launch", "batch": N, "kernel": launch.kernel.name, "seconds": seconds})
    graph = gpu.measure_seconds(lambda: gpu.launch_graph(program.graph), times) / times
    alone = sum(row["seconds"] for row in rows)
    rows.append({"work": "launches", "batch": N, "count": len(rows), "alone": alone, "graph": graph})
    slowest = sorted(rows[:-1], key=lambda row: -row["seconds"])[:10]
    table(("the slowest launches alone", "us"), [(row["kernel"], f"{1e6 * row['seconds']:.1f}") for row in slowest])
    print(f"{len(rows) - 1} launches at batch {N}: {1e6 * alone:.0f} us one by one, {1e6 * graph:.0f} us as a graph")
    return rows


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
