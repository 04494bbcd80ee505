"""The kernels of `benchmarks.cuda`: timed by the GPU's clock beside PyTorch's, as shares of the peak."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import util
from pathlib import Path
from typing import NamedTuple

if util.find_spec("torch"):
    import torch

import numpy as np
from cuda_gpu import PLAIN, PYTORCH, get_gpu, highest_clock, is_simulated, query_clock, why_no_pytorch
from harness import FLOAT, Timing, quartiles, table

import minigrad as mg
from minigrad import ops
from minigrad.ops.op import OPS
from minigrad.runtime import memory

MIN_MEASUREMENT = 0.02  # seconds on the GPU, of one measurement of a kernel
ROOT = Path(__file__).parents[1]


class Case(NamedTuple):
    """A kernel: its work and size, the CPU's result, and for each rival a call and the function that times it.

    flops   None for a copy
    bytes   None if they are not reported
    loose   whether factors have 10 bits only
    """

    work: str
    size: str
    flops: int | None
    bytes: int | None
    expected: np.ndarray
    calls: dict[str, tuple[Callable, Callable]]
    loose: bool = False


def time_kernels(sizes, seconds, peak):
    """Check and time every kernel, and print a table; return its rows.

    peak   TFLOP/s of float32 at the clock that was measured while a kernel ran, or at the highest one
    """
    makers = [partial(convolution, *sizes.convolution, kind) for kind in CONVOLUTIONS]
    makers += [partial(dense, sizes.matrix), partial(tf32, sizes.matrix), partial(copy, sizes.copied)]
    makers += [partial(pooling, *sizes.convolution), partial(reduction, sizes.copied)]
    rows = [row for make in makers for row in time_case(make(), seconds, peak)]
    head = ("kernel", "size", "rival", "ms", "quartiles", "TFLOP/s", "of peak", "GB/s")
    table(head, [kernel_cells(row) for row in rows])
    return rows


def measure_peak(sizes, highest):
    """TFLOP/s of float32 at the clock of the GPU while it multiplies matrices; a row."""
    cuda = mg.device("cuda")
    a = cuda.from_host(np.ones((sizes.matrix, sizes.matrix), FLOAT))

    def work():
        for _ in range(1 if is_simulated() else 300):
            OPS["matmul"](cuda, a, a)

    clock, most = query_clock(work), highest_clock()
    peak = highest * clock / most if clock and highest else highest
    if clock:
        print(f"\nclock under load: {clock / 1e6:.0f} of {most / 1e6:.0f} MHz, float32 peak {peak:.1f} TFLOP/s")
    return {"work": "clock", "hertz": clock, "highest": most, "peak_tflops": peak}


def time_case(case, seconds, peak):
    """Check that all rivals give the CPU's result, and time them; return their rows."""
    atol = (1e-2 if case.loose else 1e-4) * float(np.abs(case.expected).max())
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


def tf32(M):
    """The same in TF32, on tensor cores; 10 bits of the numbers are multiplied."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(M, M)).astype(FLOAT) for _ in range(2)]
    case = make_case("dense, TF32", f"{M}x{M}x{M}", _in_tf32, lambda a, b: a @ b, arrays, flops=2 * M**3)
    if PYTORCH in case.calls:
        call, clock = case.calls[PYTORCH]
        case.calls[PYTORCH] = partial(_torch_in_tf32, call), clock
    return case._replace(loose=True)


def _in_tf32(device, a, b):
    mg.set_float32_matmul_precision("high")
    try:
        return OPS["matmul"](device, a, b)
    finally:
        mg.set_float32_matmul_precision("highest")


def _torch_in_tf32(call):
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return call()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def pooling(N, C, H):
    """The largest pixels of windows of 2 x 2; bytes read plus bytes written."""
    x = memory.empty_batch_innermost((N, C, H, H), FLOAT)
    x[...] = np.random.default_rng(0).normal(size=x.shape)
    window = {"window": (2, 2), "stride": (2, 2), "pads": (0, 0, 0, 0), "dilation": (1, 1), "ceil_mode": False}
    mine, theirs = (
        (lambda device, x: OPS["max_pool2d"](device, x, **window)[0]),
        (lambda x: torch.nn.functional.max_pool2d(x, 2)),
    )
    return make_case("max_pool2d", f"{C} {H}x{H}, batch {N}", mine, theirs, [x], nbytes=x.nbytes + x.nbytes // 4)


def reduction(count):
    """The sum of all elements; bytes read."""
    x = np.random.default_rng(0).normal(size=count).astype(FLOAT)
    mine, theirs = (lambda device, x: OPS["sum"](device, x, axes=(0,), keepdim=False)), (lambda x: x.sum())
    return make_case("sum", f"{count:,} floats", mine, theirs, [x], nbytes=x.nbytes)


def copy(count):
    """An elementwise copy into memory that was freed before; bytes read plus bytes written."""
    x = np.random.default_rng(0).normal(size=count).astype(FLOAT)
    mine, theirs = (lambda device, x: x.copy()), (lambda x: x.clone())
    return make_case("copy", f"{count:,} floats", mine, theirs, [x], nbytes=2 * x.nbytes)


# ---- NVIDIA's profiler

PROFILED = ("conv2d.windows", "conv2d.weight", "conv2d.sums", "matmul.gemm", "max_pool2d_back")


def profile_kernels():
    """Let ncu profile five kernels, where it is installed; return a row for each."""
    if is_simulated() or shutil.which("ncu") is None:
        print("\nncu is not here")
        return [{"work": "ncu", "result": "not here"}]
    rows = []
    for name in PROFILED:
        metrics = "sm__throughput.avg.pct_of_peak_sustained_elapsed,dram__throughput.avg.pct_of_peak_sustained_elapsed"
        command = ["ncu", "--csv", "--launch-count", "1", "--metrics", metrics, "-k", f"regex:{name.split('.')[-1]}"]
        command += [sys.executable, "-c", STEPS]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        rows.append({"work": "ncu", "kernel": name, "code": done.returncode, "text": done.stdout[-3000:]})
        print(f"\nncu, {name}: {done.stdout.strip().splitlines()[-1:] or done.stderr.strip()[-300:]}")
    return rows


STEPS = """
import minigrad as mg
from minigrad.models import LeNet5
from minigrad.nn import functional as F
model = LeNet5().to("cuda")
images, labels = mg.ones(64, 1, 28, 28, device="cuda"), mg.zeros(64, dtype=mg.int64, device="cuda")
for _ in range(3):
    F.cross_entropy(model(images), labels).backward()
x, w = (mg.ones(*s, device="cuda", requires_grad=True) for s in ((64, 64, 56, 56), (64, 64, 3, 3)))
F.conv2d(x, w, padding=1).sum().backward()
mg.cuda.synchronize()
"""
