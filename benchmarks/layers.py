"""Compare layers and small networks, forward and backward, with PyTorch.

    python benchmarks/layers.py [--seconds 2] [--quick]

A call of a layer computes its output and all gradients from a given batch.  It returns them for a check, but not while
it is timed, as inside a network.  A call of a network is a training step on a new batch in C order, as a data loader
yields it.  Both libraries run the same code, because the names are the same.  minigrad runs plain and recorded by
mg.graph, PyTorch eager in both layouts; the faster one is shown.
"""

import importlib
import itertools
from functools import partial
from typing import NamedTuple

import numpy as np
from harness import FLOAT, alternate, arguments, introduce, table, version, write

import minigrad as mg
from minigrad.runtime import memory

PLAIN, RECORDED = "minigrad", "minigrad, mg.graph"
CONTIGUOUS, CHANNELS_LAST = "PyTorch, contiguous", "PyTorch, channels_last"
random = np.random.default_rng(0)


class Case(NamedTuple):
    """A layer or a network.

    make      function of the package `nn` that builds it
    shape     of the batch
    classes   of a network's labels, or "pixels" for a value for each pixel; None for a layer
    """

    name: str
    make: object
    shape: tuple[int, ...]
    classes: object = None


LAYERS = [
    Case("BatchNorm2d 32", lambda nn: nn.BatchNorm2d(32), (64, 32, 16, 16)),
    Case("LayerNorm 192", lambda nn: nn.LayerNorm(192), (64, 65, 192)),
    Case("GroupNorm 8 of 32", lambda nn: nn.GroupNorm(8, 32), (64, 32, 16, 16)),
    Case("GELU", lambda nn: nn.GELU(), (64, 65, 768)),
    Case("depthwise 3x3, 96", lambda nn: nn.Conv2d(96, 96, 3, padding=1, groups=96), (64, 96, 16, 16)),
    Case("depthwise 3x3 /2, 96", lambda nn: nn.Conv2d(96, 96, 3, 2, 1, groups=96), (64, 96, 16, 16)),
    Case("1x1, 24-144", lambda nn: nn.Conv2d(24, 144, 1), (64, 24, 16, 16)),
    Case("1x1, 144-24", lambda nn: nn.Conv2d(144, 24, 1), (64, 144, 16, 16)),
    Case("transposed 2x2 /2, 64-32", lambda nn: nn.ConvTranspose2d(64, 32, 2, 2), (16, 64, 16, 16)),
    Case("transposed 4x4 /2, 64-32", lambda nn: nn.ConvTranspose2d(64, 32, 4, 2, 1), (16, 64, 16, 16)),
    Case("bilinear 2x", lambda nn: nn.Upsample(scale_factor=2, mode="bilinear"), (16, 32, 32, 32)),
    Case("AdaptiveAvgPool2d 1", lambda nn: nn.AdaptiveAvgPool2d(1), (64, 64, 8, 8)),
    Case("BCEWithLogitsLoss", lambda nn: _Logits(nn), (16, 1, 64, 64)),
]


class _Logits:
    """A loss as a layer: its targets are made of its input."""

    def __init__(self, nn):
        self.loss = nn.BCEWithLogitsLoss()

    def parameters(self):
        return []

    def __call__(self, x):
        return self.loss(x, (x > 0).to(x.dtype).detach())


# ---- networks, written for PyTorch's names


def resnet20(nn):
    """ResNet-20 for 32 x 32 pixels (He et al. 2016, section 4.2), with 1x1 convolutions beside larger steps."""

    class Block(nn.Module):
        def __init__(self, before, channels, step):
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, step, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            beside = [nn.Conv2d(before, channels, 1, step, bias=False), nn.BatchNorm2d(channels)]
            self.beside, self.relu = nn.Sequential(*beside if step > 1 else []), nn.ReLU()

        def forward(self, x):
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(out + self.beside(x))

    layers, before = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for channels, step in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            layers.append(Block(before, channels, step if i == 0 else 1))
            before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobilenet(nn):
    """Inverted residuals in the manner of MobileNetV2 (Sandler et al. 2018), for 32 x 32 pixels."""

    class Inverted(nn.Module):
        def __init__(self, before, channels, step, expand):
            super().__init__()
            wide, self.residual = before * expand, step == 1 and before == channels
            self.layers = nn.Sequential(
                *[nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()],
                *[nn.Conv2d(wide, wide, 3, step, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()],
                *[nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)],
            )

        def forward(self, x):
            return x + self.layers(x) if self.residual else self.layers(x)

    layers, before = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()], 16
    for channels, step in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers.append(Inverted(before, channels, step, 6 if before > 16 else 4))
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.0), nn.Linear(64, 10))


def unet(nn):
    """A U-Net of three levels (Ronneberger et al. 2015), with batch norm."""

    cat = importlib.import_module(nn.__name__.partition(".")[0]).cat

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.down1, self.down2, self.bottom = self.pair(3, 16), self.pair(16, 32), self.pair(32, 64)
            self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
            self.merge2, self.merge1, self.last = self.pair(64, 32), self.pair(32, 16), nn.Conv2d(16, 1, 1)
            self.pool = nn.MaxPool2d(2)

        def pair(self, before, channels):
            return nn.Sequential(
                *[nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()],
                *[nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()],
            )

        def forward(self, x):
            one = self.down1(x)
            two = self.down2(self.pool(one))
            x = self.up2(self.bottom(self.pool(two)))
            x = self.merge2(cat([two, x], 1))
            return self.last(self.merge1(cat([one, self.up1(x)], 1)))

    return Net()


NETWORKS = [
    Case("ResNet-20, batch 64, 3x32x32", resnet20, (64, 3, 32, 32), 10),
    Case("MobileNetV2-like, batch 64, 3x32x32", mobilenet, (64, 3, 32, 32), 10),
    Case("U-Net, batch 8, 3x64x64", unet, (8, 3, 64, 64), "pixels"),
]


# ---- calls


def layer_calls(case):
    """Return the calls of a layer by rival; with `check` they return the output and all gradients."""
    x = random.normal(size=case.shape).astype(FLOAT)
    with mg.no_grad():
        mg.manual_seed(0)
        layer = case.make(mg.nn)
        g = random.normal(size=layer(mg.tensor(x)).shape).astype(FLOAT)

    def hold(array):
        if array.ndim != 4:
            return mg.tensor(array)
        held = memory.empty_batch_innermost(array.shape, FLOAT)  # as convolutions return it
        held[...] = array
        return mg.from_numpy(held)

    def step(layer, params, x, g, check=False):
        x = x.detach().requires_grad_()
        for p in params:
            p.grad = None
        y = layer(x)
        y.backward(g)
        return [y.detach(), x.grad, *[p.grad for p in params]] if check else None

    run = partial(step, layer, list(layer.parameters()))
    inputs = hold(x), hold(g)
    calls = {PLAIN: partial(run, *inputs), RECORDED: partial(mg.graph(run), *inputs)}
    if version("torch"):
        import torch

        for name, layout in torch_layouts(torch, case.shape).items():
            other = copy_weights(layer, case.make(torch.nn), torch)
            tensors = [
                torch.from_numpy(array).to(memory_format=layout) if array.ndim == 4 else torch.from_numpy(array)
                for array in (x, g)
            ]
            calls[name] = partial(step, other, list(other.parameters()), *tensors)
    return calls


def network_calls(case):
    """Return the training steps of a network by rival; each returns the loss, with or without `check`."""
    images = [random.normal(size=case.shape).astype(FLOAT) for _ in range(4)]
    if case.classes == "pixels":
        labels = [(image[:, :1] > 0).astype(FLOAT) for image in images]
    else:
        labels = [random.integers(0, case.classes, case.shape[0]) for _ in images]
    mg.manual_seed(0)
    model = case.make(mg.nn)
    calls = {}
    for name in (PLAIN, RECORDED):
        copy = case.make(mg.nn)
        copy.load_state_dict(model.state_dict())
        step = training_step(mg, copy, case)
        step = mg.graph(step) if name == RECORDED else step
        calls[name] = feed(step, [(mg.from_numpy(x), mg.from_numpy(y)) for x, y in zip(images, labels, strict=True)])
    if version("torch"):
        import torch

        for name, layout in torch_layouts(torch, case.shape).items():
            other = copy_weights(model, case.make(torch.nn), torch).to(memory_format=layout)
            batches = [
                (torch.from_numpy(x).to(memory_format=layout), torch.from_numpy(y))
                for x, y in zip(images, labels, strict=True)
            ]
            calls[name] = feed(training_step(torch, other, case), batches)
    return calls


def training_step(library, model, case):
    """Return a function of a batch that trains the model by it and returns the loss."""
    nn, optim = importlib.import_module(f"{library.__name__}.nn"), importlib.import_module(f"{library.__name__}.optim")
    loss_of = nn.BCEWithLogitsLoss() if case.classes == "pixels" else nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step(x, y, check=False):
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [loss.detach()]

    return step


def feed(step, batches):
    """Return a function that does the step on the next batch."""
    rotation = itertools.cycle(batches)
    return lambda check=False: step(*next(rotation))


def torch_layouts(torch, shape):
    layouts = {CONTIGUOUS: torch.contiguous_format}
    return layouts | ({CHANNELS_LAST: torch.channels_last} if len(shape) == 4 else {})


def copy_weights(ours, theirs, torch):
    """Give PyTorch's module the weights of ours."""
    if hasattr(ours, "state_dict"):
        theirs.load_state_dict({name: torch.from_numpy(x.numpy().copy()) for name, x in ours.state_dict().items()})
    return theirs


# ---- checking, timing, printing


def measure(case, seconds):
    """Check that all rivals compute the same, time them, and return a row."""
    calls = (network_calls if case.classes else layer_calls)(case)
    results = {
        name: [np.asarray(value.detach().numpy()).copy() for value in call(check=True)] for name, call in calls.items()
    }
    for name, arrays in results.items():
        for array, expected in zip(arrays, results[PLAIN], strict=True):
            scale = float(np.abs(expected).max())
            np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-4 * scale, err_msg=f"{case.name}: {name}")
    timings = alternate(calls, seconds)
    return {"name": case.name, "seconds": {name: timing._asdict() for name, timing in timings.items()}}


def cells(row):
    medians = {name: 1e3 * timing["median"] for name, timing in row["seconds"].items()}
    best = min((name for name in medians if name not in (PLAIN, RECORDED)), key=medians.get, default=None)
    ratios = [f"{medians[best] / medians[name]:.2f}" if best else "-" for name in (PLAIN, RECORDED)]
    return row["name"], *(f"{medians[name]:.2f}" for name in (PLAIN, RECORDED)), *theirs(medians, best), *ratios


def theirs(medians, best):
    return (f"{medians[best]:.2f}", best.removeprefix("PyTorch, ")) if best else ("-", "-")


def main():
    args = arguments(__doc__, seconds=2)
    here = introduce("Layers and small networks, forward and backward")
    cases = [*LAYERS[:2], *NETWORKS[:0]] if args.quick else [*LAYERS, *NETWORKS]
    rows = [measure(case, args.seconds) for case in cases]
    head = ("layer or network", "plain, ms", "recorded, ms", "PyTorch, ms", "layout", "plain ratio", "recorded ratio")
    table(head, [cells(row) for row in rows])
    write("layers", here, rows, args.quick)


if __name__ == "__main__":
    main()
