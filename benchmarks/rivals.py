"""LeNet-5 in each framework, with the same weights and batches; a call of a rival does one step on a fresh batch.

    python benchmarks/rivals.py "JAX jit"      does one training step, then prints "done", to time a first step

Each call takes a batch of NumPy arrays in PyTorch's layout, as a loader gives them, so a framework that prefers another
layout pays for it.  Only a framework's own rivals import it.
"""

import itertools
import sys
from collections import OrderedDict

import numpy as np

SHAPES = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
POSITIONS = {"conv1": 28 * 28, "conv2": 10 * 10}  # number of positions of a filter; a dense layer uses its weights once
LR, MOMENTUM = 0.01, 0.9
MNIST = (0.1307, 0.3081)  # mean and deviation of its pixels


def multiply_adds(training):
    """Return the multiply-adds for one image: forward, and for training also the gradients by weights and inputs.

    Each gradient needs as many as forward; there is no gradient by the image itself.
    """
    forward = {name: int(np.prod(shape)) * POSITIONS.get(name, 1) for name, shape in SHAPES.items()}
    total = sum(forward.values())
    return 3 * total - forward["conv1"] if training else total


def weights(seed=0):
    """Return {name: array} of LeNet-5, with PyTorch's names and initial distribution."""
    random = np.random.default_rng(seed)
    drawn = {}
    for name, shape in SHAPES.items():
        bound = np.prod(shape[1:]) ** -0.5
        drawn[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        drawn[f"{name}.bias"] = random.uniform(-bound, bound, shape[0]).astype(np.float32)
    return drawn


def noise(size, count=1):
    """Return batches of random pixels (N, 1, 32, 32) and labels (N), for timing only."""
    random = np.random.default_rng(0)
    return [
        (random.normal(size=(size, 1, 32, 32)).astype(np.float32), random.integers(0, 10, size)) for _ in range(count)
    ]


class Rival:
    """A model, and its batches in rotation, so that no framework can reuse a result.

    weights   {name: array}
    batches   [(images (N, 1, 32, 32) float32, labels (N) int64)]
    training  True: a call does a training step and returns the loss; False: it predicts and returns the logits
    threads   number of threads; None: the framework's default
    """

    package = "minigrad"

    def __init__(self, weights, batches, training=True, threads=None):
        self.threads = threads
        self.load()
        self.begin()
        self.build(weights)
        self.batches = itertools.cycle(batches)
        self.work = self.step if training else self.predict

    def __call__(self):
        return self.work(*self.batch())

    def batch(self):
        """Return the next batch, as the framework takes it."""
        return self.take(*next(self.batches))

    def load(self):
        """Import the framework."""

    def begin(self):
        """Set the number of threads; called before each turn."""

    def values(self):
        """Return the result of a call as an array."""
        return np.asarray(self())


class Minigrad(Rival):
    """minigrad without mg.graph."""

    device = "cpu"

    def load(self):
        import minigrad as mg
        from minigrad import models, nn, optim

        self.mg, self.models, self.nn, self.optim = mg, models, nn, optim

    def begin(self):
        if self.threads:
            self.mg.set_num_threads(self.threads)

    def build(self, weights):
        self.model = self.models.LeNet5(image_size=32).to(self.device)
        self.model.load_state_dict({name: self.mg.tensor(value) for name, value in weights.items()})
        self.optimizer = self.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)

    def take(self, images, labels):
        return self.mg.from_numpy(images).to(self.device), self.mg.from_numpy(labels).to(self.device)

    def step(self, images, labels):
        loss = self.nn.functional.cross_entropy(self.model(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, images, labels):
        with self.mg.no_grad():
            return self.model(images)

    def values(self):
        return self().numpy()


class Graph(Minigrad):
    """minigrad with the step recorded by mg.graph."""

    def build(self, weights):
        super().build(weights)
        self.step, self.predict = self.mg.graph(self.step), self.mg.graph(self.predict)


class Numpy(Minigrad):
    """minigrad's numpy backend: im2col and matrix products by BLAS."""

    device = "numpy"


class Torch(Rival):
    """PyTorch eager, with fused SGD."""

    package = "torch"

    def load(self):
        import torch

        self.torch = torch

    def begin(self):
        if self.threads:
            self.torch.set_num_threads(self.threads)

    def build(self, weights):
        self.model = torch_lenet(self.torch.nn)
        self.model.load_state_dict({name: self.torch.from_numpy(value) for name, value in weights.items()})
        self.optimizer = self.torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)

    def take(self, images, labels):
        return self.torch.from_numpy(images), self.torch.from_numpy(labels)

    def loss(self, images, labels):
        return self.torch.nn.functional.cross_entropy(self.model(images), labels)

    def step(self, images, labels):
        loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, images, labels):
        with self.torch.inference_mode():
            return self.model(images)


class Compiled(Torch):
    """PyTorch with torch.compile of model and loss, for one shape."""

    def build(self, weights):
        super().build(weights)
        self.torch.compiler.reset()  # functions compiled for other shapes would count towards its limit
        self.model = self.torch.compile(self.model, dynamic=False)
        self.loss = self.torch.compile(self.loss, dynamic=False)


def torch_lenet(nn):
    """Return the same LeNet-5 as in minigrad.models."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 16, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        )
    )


class Jax(Rival):
    """JAX with jit of the whole step; images are (N, H, W, C)."""

    package = "jax"

    def load(self):
        import jax

        self.jax = jax

    def build(self, weights):
        self.params = {name: self.jax.numpy.asarray(value) for name, value in weights.items()}
        self.momenta = {name: self.jax.numpy.zeros_like(value) for name, value in self.params.items()}
        self.jitted_step, self.jitted_logits = self.jax.jit(self.update), self.jax.jit(self.logits)

    def take(self, images, labels):
        put = self.jax.device_put
        return put(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), put(labels.astype(np.int32))

    def logits(self, params, x):
        jax = self.jax
        for name in ("conv1", "conv2"):
            filters = params[f"{name}.weight"].transpose(2, 3, 1, 0)
            x = jax.lax.conv_general_dilated(x, filters, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(self.pool(x + params[f"{name}.bias"]))
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        for name in ("fc1", "fc2"):
            x = jax.nn.relu(x @ params[f"{name}.weight"].T + params[f"{name}.bias"])
        return x @ params["fc3.weight"].T + params["fc3.bias"]

    def pool(self, x):
        N, H, W, C = x.shape
        return x.reshape(N, H // 2, 2, W // 2, 2, C).max((2, 4))  # faster than lax.reduce_window (measured)

    def loss(self, params, images, labels):
        logs = self.jax.nn.log_softmax(self.logits(params, images))
        return -self.jax.numpy.take_along_axis(logs, labels[:, None], 1).mean()

    def update(self, params, momenta, images, labels):
        loss, grads = self.jax.value_and_grad(self.loss)(params, images, labels)
        momenta = {name: MOMENTUM * momenta[name] + grads[name] for name in params}
        return {name: params[name] - LR * momenta[name] for name in params}, momenta, loss

    def step(self, images, labels):
        self.params, self.momenta, loss = self.jitted_step(self.params, self.momenta, images, labels)
        self.jax.block_until_ready(self.params)
        return loss

    def predict(self, images, labels):
        return self.jitted_logits(self.params, images).block_until_ready()


KINDS = {
    "minigrad, mg.graph": Graph,
    "minigrad": Minigrad,
    "NumPy im2col + BLAS": Numpy,
    "PyTorch eager": Torch,
    "PyTorch torch.compile": Compiled,
    "JAX jit": Jax,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](weights(), noise(64)).values()
    print("done", flush=True)
