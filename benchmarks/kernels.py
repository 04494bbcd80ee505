"""Compare every expensive kernel with the machine's limits, with NumPy and with PyTorch.

    python benchmarks/kernels.py [--seconds 1] [--quick]

The number of floating-point operations counts multiplications and additions; max-pooling counts comparisons, and
cross-entropy five operations for each logit.  The number of bytes counts every array that is read or written once.
Arrays that fit in a core's cache may move faster than the copy that is the limit.  NumPy computes convolutions by
im2col + BLAS and dense layers by BLAS.  PyTorch is eager, with contiguous NCHW or channels_last arrays; the faster one
is shown.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from harness import FLOAT, alternate, arguments, cores, draw, introduce, table, threads_text, version, write
from matplotlib.ticker import LogLocator
from rivals import SHAPES

import minigrad as mg
from minigrad import ops, optim
from minigrad.ops.op import OPS
from minigrad.runtime import memory
from minigrad.runtime.device import CPU, NUMPY
from minigrad.viz import style

if version("torch"):
    import torch

THREADS = threads_text(cores())
MINIGRAD, BLAS = "minigrad", f"NumPy im2col + BLAS, {THREADS}"
CONTIGUOUS, CHANNELS_LAST = f"PyTorch eager, contiguous, {THREADS}", f"PyTorch eager, channels_last, {THREADS}"
DEVICES = {MINIGRAD: CPU, BLAS: NUMPY}
DRAWN_BATCH = 64  # the batch size whose kernels are drawn
random = np.random.default_rng(0)


class Case(NamedTuple):
    """A kernel, its size, and a callable for each rival that returns the result or results.

    family, label   the kernel and the layer; together they identify the case
    batch           number of images, or None
    """

    family: str
    label: str
    batch: int | None
    flops: int
    bytes: int
    calls: dict[str, Callable]


def main():
    args = arguments(__doc__, seconds=1)
    here = introduce("Kernels")
    rows = [measure_case(case, args.seconds, here) for case in cases(args.quick)]
    head = ("kernel", "us", "GFLOP/s", "of FMA peak", "GB/s", "of copy", f"{BLAS}, us", "PyTorch us", "which", "ratio")
    table(head, [cells(row) for row in rows])
    write("kernels", here, rows, args.quick)
    draw("kernels", picture(rows, here), args.quick)


def cases(quick):
    """Yield all cases, or with --quick one of each kind."""
    convolutions = CONVOLUTIONS[:2] if quick else CONVOLUTIONS
    for N in (64,) if quick else (64, 32):
        for spec in convolutions:
            yield from convolution_cases(N, *spec)
    for spec in DENSE[:1] if quick else DENSE:
        yield from dense_cases(64, *spec)
    for label, shape in FEATURE_MAPS[:1] if quick else FEATURE_MAPS:
        yield from map_cases(label, shape)
    yield cross_entropy_case(64)
    yield optimizer_case("SGD with momentum", 4, 5, optim.SGD, {"lr": 0.01, "momentum": 0.9})
    yield optimizer_case("Adam", 12, 7, optim.Adam, {"lr": 0.001})


# ---- checking and timing


def measure_case(case, seconds, here):
    """Check that the rivals agree, time them, and return a row."""
    check_agreement(case)
    timings = alternate(case.calls, seconds)
    rates = {name: case.flops / timing.median / 1e9 for name, timing in timings.items()}
    moved = case.bytes / timings[MINIGRAD].median / 1e9
    return {
        **{field: getattr(case, field) for field in ("family", "label", "batch", "flops", "bytes")},
        "seconds": {name: timing._asdict() for name, timing in timings.items()},
        "gflops": rates,
        "of_fma_peak": rates[MINIGRAD] / here["fma_peak_gflops"],
        "gb_s": moved,
        "of_copy": moved / here["copy_gb_s"],
    }


def check_agreement(case):
    """Check that the first call of every rival returns the same as NumPy."""
    results = {name: call_once(call) for name, call in case.calls.items()}
    for name, arrays in results.items():
        for array, expected in zip(arrays, results[BLAS], strict=True):
            atol = 1e-4 * float(np.abs(expected).max())
            message = f"{case.family} {case.label}: {name}"
            np.testing.assert_allclose(array, expected, rtol=1e-3, atol=atol, err_msg=message)


def call_once(call):
    """Return copies of the results of a call, as a list of arrays."""
    values = call()
    return [np.asarray(value).copy() for value in (values if isinstance(values, list | tuple) else (values,))]


def fastest_torch(numbers):
    """Return the name of PyTorch's faster layout, or None if it is not installed."""
    return min((name for name in numbers if name not in DEVICES), key=numbers.get, default=None)


def cells(row):
    medians = {name: 1e6 * timing["median"] for name, timing in row["seconds"].items()}
    best = fastest_torch(medians)
    return (
        f"{row['family']}, {row['label']}" + (f", batch {row['batch']}" if row["batch"] else ""),
        f"{medians[MINIGRAD]:.1f}",
        f"{row['gflops'][MINIGRAD]:.1f}",
        f"{row['of_fma_peak']:.0%}",
        f"{row['gb_s']:.1f}",
        f"{row['of_copy']:.0%}",
        f"{medians[BLAS]:.1f}",
        f"{medians[best]:.1f}" if best else "-",
        best or "-",
        f"{medians[best] / medians[MINIGRAD]:.2f}" if best else "-",
    )


# ---- arrays


def normal(*shape):
    """Return random numbers in the batch-innermost layout."""
    array = memory.empty_batch_innermost(shape, FLOAT)
    array[...] = random.normal(size=shape)
    return array


def normal_c_order(*shape):
    """Return random numbers in C order, the layout of weights."""
    return random.normal(size=shape).astype(FLOAT)


def on_devices(operation, *arrays, **settings):
    """Return the calls of an operation on the cpu backend and on the numpy backend."""
    return {name: partial(operation, device, *arrays, **settings) for name, device in DEVICES.items()}


def on_torch(function, *arrays):
    """Return the calls of a PyTorch function in both layouts, or in one if no tensor holds images."""
    if not version("torch"):
        return {}
    tensors = [torch.from_numpy(np.array(array, order="C")) for array in arrays]
    calls = {CONTIGUOUS: partial(function, *tensors)}
    if any(tensor.ndim == 4 for tensor in tensors):
        calls[CHANNELS_LAST] = partial(function, *[channels_last(tensor) for tensor in tensors])
    return calls


def channels_last(tensor):
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


# ---- convolutions

CONVOLUTIONS = [  # label, channels, filters, side of the image, side of the window, stride, padding
    ("LeNet conv1", 1, 6, 32, 5, 1, 0),
    ("LeNet conv2", 6, 16, 14, 5, 1, 0),
    *[
        (f"{C}-{C} {H}x{H}" + (" /2" if step == 2 else ""), C, C, H, 3, step, 1)
        for C in (64, 128)
        for H in (28, 14)
        for step in (1, 2)
    ],
]


def convolution_cases(N, label, C, F, H, K, step, pad):
    """Yield the cases of forward and of the gradients by input and weight."""
    OH = (H + 2 * pad - K) // step + 1
    x, w, b, g = normal(N, C, H, H), normal_c_order(F, C, K, K), normal_c_order(F), normal(N, F, OH, OH)
    settings = {"stride": (step, step), "pads": (pad,) * 4, "dilation": (1, 1), "groups": 1}
    flops, size = 2 * g.size * w[0].size, x.nbytes + w.nbytes + g.nbytes
    backward = partial(torch_convolution_back, step, pad)
    kinds = {
        "conv forward": (
            on_devices(ops.conv2d, x, w, b, **settings),
            on_torch(lambda x, w, b: torch.nn.functional.conv2d(x, w, b, step, pad), x, w, b),
        ),
        "conv input gradient": (
            on_devices(OPS["conv2d_input"], g, w, size=(H, H), **settings),
            on_torch(partial(backward, 0), g, x, w),
        ),
        "conv weight gradient": (
            on_devices(OPS["conv2d_weight"], g, x, window=(K, K), **settings),
            on_torch(partial(backward, 1), g, x, w),
        ),
    }
    for family, (ours, theirs) in kinds.items():
        yield Case(family, label, N, flops, size, ours | theirs)


def torch_convolution_back(step, pad, wanted, g, x, w):
    """Return the gradient by the input (0) or the weight (1), with the function that PyTorch's autograd calls."""
    mask = [wanted == 0, wanted == 1, False]
    back = torch.ops.aten.convolution_backward
    return back(g, x, w, None, (step, step), (pad, pad), (1, 1), False, (0, 0), 1, mask)[wanted]


# ---- dense layers

DENSE = [("400-120", 400, 120), ("1024-1024", 1024, 1024)]


def dense_cases(N, label, IN, OUT):
    """Yield the cases of forward and of the gradients by input and weight."""
    x, w, b, g = normal(N, IN), normal_c_order(OUT, IN), normal_c_order(OUT), normal(N, OUT)
    flops, size = 2 * N * IN * OUT, x.nbytes + w.nbytes + g.nbytes
    matmul = OPS["matmul"]
    kinds = {
        "dense forward": (on_devices(ops.linear, x, w, b), on_torch(lambda x, w, b: torch.addmm(b, x, w.T), x, w, b)),
        "dense input gradient": (on_devices(matmul, g, w), on_torch(lambda g, w: g @ w, g, w)),
        "dense weight gradient": (on_devices(matmul, g.T, x), on_torch(lambda g, x: g.T @ x, g, x)),
    }
    for family, (ours, theirs) in kinds.items():
        yield Case(family, label, N, flops, size, ours | theirs)


# ---- kernels limited by memory

FEATURE_MAPS = [("LeNet 6x28x28", (64, 6, 28, 28)), ("64x28x28", (64, 64, 28, 28))]


def map_cases(label, shape):
    """Yield the cases of pooling and ReLU of a feature map, and of their gradients."""
    N, C, H, W = shape
    x, g, small = normal(*shape), normal(*shape), normal(N, C, H // 2, W // 2)
    settings = {"window": (2, 2), "stride": (2, 2), "pads": (0,) * 4, "dilation": (1, 1)}
    pool = partial(OPS["max_pool2d"], ceil_mode=False)
    pooled, argmax = OPS["max_pool2d"].forward(CPU, x, ceil_mode=False, **settings)
    rectified = ops.relu(CPU, x)
    kinds = [
        (
            "max_pool2d",
            3 * small.size,
            x.nbytes + pooled.nbytes + argmax.nbytes,
            on_devices(pool, x, **settings),
            on_torch(lambda x: torch.nn.functional.max_pool2d(x, 2, return_indices=True)[0], x),
        ),
        (
            "max_pool2d gradient",
            x.size,
            small.nbytes + argmax.nbytes + x.nbytes,
            on_devices(OPS["max_pool2d_back"], small, argmax, size=(H, W), **settings),
            torch_pool_back(small, x),
        ),
        ("relu", x.size, 2 * x.nbytes, on_devices(ops.relu, x), on_torch(lambda x: x.relu(), x)),
        (
            "relu gradient",
            x.size,
            3 * x.nbytes,
            on_devices(OPS["relu_backward"], g, rectified),
            on_torch(lambda g, y: torch.ops.aten.threshold_backward(g, y, 0), g, rectified),
        ),
    ]
    for family, flops, size, ours, theirs in kinds:
        yield Case(family, label, N, flops, size, ours | theirs)


def torch_pool_back(g, x):
    """PyTorch's gradient of max-pooling, for the indices that its forward keeps."""
    if not version("torch"):
        return {}
    windows = ((2, 2), (2, 2), (0, 0), (1, 1), False)
    forward, back = torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward
    calls = {}
    for name, call in on_torch(back, g, x).items():
        calls[name] = partial(back, *call.args, *windows, forward(call.args[1], *windows)[1])
    return calls


def cross_entropy_case(N):
    """Return the case of the loss of logits with its gradient."""
    x, labels = normal(N, 10), random.integers(0, 10, N)
    settings, one = {"ignore": -100, "smoothing": 0.0, "reduction": "mean"}, np.ones((), FLOAT)

    def ours(device):
        loss, saved = ops.cross_entropy.forward(device, x, labels, None, **settings)
        return loss, OPS["cross_entropy_back"](device, one, x, *saved)

    def theirs(x, labels):
        logits = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    calls = {name: partial(ours, device) for name, device in DEVICES.items()} | on_torch(theirs, x, labels)
    return Case("cross-entropy", "with gradient", N, 5 * x.size, 3 * x.nbytes, calls)


PARAMETERS = [size for shape in SHAPES.values() for size in (shape, shape[:1])]


def optimizer_case(label, operations, moved, kind, settings):
    """Return the case of an optimiser's step on LeNet-5, with `operations` and `moved` floats per parameter."""
    weights, gradients = ([normal_c_order(*shape) for shape in PARAMETERS] for _ in range(2))
    size = sum(array.size for array in weights)
    calls = {name: optimizer_step(kind, weights, gradients, device, settings) for name, device in DEVICES.items()}
    if version("torch"):
        calls[CONTIGUOUS] = torch_optimizer_step(kind.__name__, weights, gradients, settings)
    return Case(label, "LeNet", None, operations * size, moved * FLOAT.itemsize * size, calls)


def optimizer_step(kind, weights, gradients, device, settings):
    """Return a function that does a step of minigrad's optimiser and returns the weights."""
    params = [mg.tensor(w, device=device, requires_grad=True) for w in weights]
    for p, g in zip(params, gradients, strict=True):
        p.grad = mg.tensor(g, device=device)
    return step_function(kind(params, **settings), [p.array for p in params])


def torch_optimizer_step(name, weights, gradients, settings):
    """Return a function that does a step of PyTorch's fused optimiser and returns the weights."""
    params = [torch.from_numpy(w.copy()).requires_grad_() for w in weights]
    for p, g in zip(params, gradients, strict=True):
        p.grad = torch.from_numpy(g.copy())
    return step_function(
        getattr(torch.optim, name)(params, fused=True, **settings), [p.detach().numpy() for p in params]
    )


def step_function(optimizer, arrays):
    def step():
        optimizer.step()
        return arrays

    return step


# ---- picture

PANELS = {
    "forward": ("conv forward", "dense forward"),
    "gradient by the input": ("conv input gradient", "dense input gradient"),
    "gradient by the weight": ("conv weight gradient", "dense weight gradient"),
}
MARKERS = {MINIGRAD: ("o", style.BLUE), "PyTorch": ("s", style.VERMILION)}
LABEL_GAP = 0.035  # between two labels, as a share of the width


def picture(rows, here):
    """Draw the roofline: the two limits at each kernel's operations per byte, and the measured speeds."""
    chart = style.figure(13, 12, f"Kernels at batch {DRAWN_BATCH} under the machine's two limits")
    drawn = [row for row in rows if row["batch"] in (DRAWN_BATCH, None)]
    groups = {title: [row for row in drawn if row["family"] in families] for title, families in PANELS.items()}
    groups["limited by memory"] = [row for row in drawn if not row["family"].startswith(("conv", "dense"))]
    for axes, (title, group) in zip(chart.subplots(2, 2).flat, groups.items(), strict=True):
        panel(axes, title, sorted(group, key=intensity), here)
    chart.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=style.LABEL)
    return chart


def intensity(row):
    return row["flops"] / row["bytes"]


def panel(axes, title, rows, here):
    """Draw a panel with the limits, and the points of a kernel above each label."""
    peak, bandwidth = here["fma_peak_gflops"], here["copy_gb_s"]
    low, high = intensity(rows[0]) / 1.5, intensity(rows[-1]) * 1.5
    grid = np.geomspace(low, high, 200)
    roof = np.minimum(peak, bandwidth * grid)
    axes.plot(grid, roof, color="black", label=f"limits: {peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s")
    positions = spread([intensity(row) for row in rows], (high / low) ** LABEL_GAP)
    speeds = [number for x, row in zip(positions, rows, strict=True) for number in points(axes, x, row)]
    bottom, top = min(speeds), 1.5 * max(*speeds, roof[-1])  # the labels are in the lower half
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom**2 / top, top))
    for x, row in zip(positions, rows, strict=True):
        text = row["label"] if title in PANELS else f"{row['family']}, {row['label']}"
        inside = axes.get_xaxis_transform()
        axes.text(x, 0.02, text, transform=inside, rotation=90, ha="center", va="bottom", fontsize=style.SMALL)
    axes.set_title(title, fontsize=style.LABEL)
    axes.set_xlabel("FLOP/byte", fontsize=style.SMALL)
    axes.set_ylabel("GFLOP/s", fontsize=style.SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    style.tidy(axes)


def points(axes, x, row):
    """Draw the speeds of minigrad and PyTorch for a kernel, joined by a line; return their GFLOP/s."""
    best = fastest_torch({name: timing["median"] for name, timing in row["seconds"].items()})
    values = {MINIGRAD: row["gflops"][MINIGRAD]} | ({"PyTorch": row["gflops"][best]} if best else {})
    axes.plot([x] * len(values), list(values.values()), color=style.GREY, linewidth=1, zorder=1)
    known = axes.get_legend_handles_labels()[1]
    for name, value in values.items():
        marker, colour = MARKERS[name]
        axes.plot(x, value, marker, color=colour, markersize=6, label=None if name in known else name)
    return list(values.values())


def spread(values, step):
    """Return ascending values, each at least `step` times the previous one, so that no labels overlap."""
    positions = values[:1]
    for value in values[1:]:
        positions.append(max(value, step * positions[-1]))
    return positions


if __name__ == "__main__":
    main()
