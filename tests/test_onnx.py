"""mg.onnx: what is exported predicts the same elsewhere, and comes back as a model that trains; or is refused by name."""

import importlib
import io
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

onnx = pytest.importorskip("onnx")  # CI installs the extra "test", which has both
runtime = pytest.importorskip("onnxruntime")

line, image, rows, flat = (2, 4, 9), (2, 4, 8, 6), (2, 5, 8), (3, 8)


def positive(*shape):
    return mg.rand(*shape) + 0.5


def ids(*shape):
    return mg.randint(0, 7, shape)


# layer: (constructor, shapes of the inputs or inputs)
LAYERS = {
    "CELU": (lambda: nn.CELU(0.7), image),
    "ELU": (lambda: nn.ELU(0.7), image),
    "GELU": (nn.GELU, image),
    "GLU": (lambda: nn.GLU(1), image),
    "SELU": (nn.SELU, image),
    "Hardshrink": (nn.Hardshrink, image),
    "Hardsigmoid": (nn.Hardsigmoid, image),
    "Hardswish": (nn.Hardswish, image),
    "Hardtanh": (nn.Hardtanh, image),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), image),
    "LogSigmoid": (nn.LogSigmoid, image),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), image),
    "Mish": (nn.Mish, image),
    "PReLU": (lambda: nn.PReLU(4), image),
    "RReLU": (nn.RReLU, image),
    "ReLU": (nn.ReLU, image),
    "ReLU6": (nn.ReLU6, image),
    "SiLU": (nn.SiLU, image),
    "Sigmoid": (nn.Sigmoid, image),
    "Softmax": (lambda: nn.Softmax(1), image),
    "Softmax2d": (nn.Softmax2d, image),
    "Softmin": (lambda: nn.Softmin(1), image),
    "Softplus": (lambda: nn.Softplus(2.0, 1.0), image),
    "Softshrink": (nn.Softshrink, image),
    "Softsign": (nn.Softsign, image),
    "Tanh": (nn.Tanh, image),
    "Tanhshrink": (nn.Tanhshrink, image),
    "Threshold": (lambda: nn.Threshold(0.1, -3.0), image),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), (rows, (2, 7, 8), (2, 7, 8))),
    "ModuleDict": (lambda: _Named(nn.ModuleDict({"a": nn.Linear(8, 3), "b": nn.Tanh()})), flat),
    "ModuleList": (lambda: _Named(nn.ModuleList([nn.Linear(8, 3), nn.Tanh()])), flat),
    "ParameterDict": (lambda: _Sum(nn.ParameterDict({"w": nn.Parameter(mg.randn(8))})), flat),
    "ParameterList": (lambda: _Sum(nn.ParameterList([nn.Parameter(mg.randn(8)) for _ in range(2)])), flat),
    "Sequential": (lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), flat),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, stride=2), line),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2), image),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1), line),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=(1, 0)), image),
    "Identity": (nn.Identity, flat),
    "Linear": (lambda: nn.Linear(8, 3), rows),
    "Embedding": (lambda: nn.Embedding(7, 4), ids(2, 5)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), line),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4, momentum=0.3), image),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(4, affine=False), (2, 4, 3, 2, 2)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), image),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, affine=True), line),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4), image),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(4), (2, 4, 3, 2, 2)),
    "LayerNorm": (lambda: nn.LayerNorm((5, 8)), rows),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), image),
    "RMSNorm": (lambda: nn.RMSNorm(8), rows),
    "CircularPad1d": (lambda: nn.CircularPad1d(2), line),
    "CircularPad2d": (lambda: nn.CircularPad2d((1, 2, 3, 0)), image),
    "ConstantPad1d": (lambda: nn.ConstantPad1d((2, -1), 0.5), line),
    "ConstantPad2d": (lambda: nn.ConstantPad2d(1, -1.0), image),
    "ReflectionPad1d": (lambda: nn.ReflectionPad1d(2), line),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d((1, 2, 3, 0)), image),
    "ReplicationPad1d": (lambda: nn.ReplicationPad1d(2), line),
    "ReplicationPad2d": (lambda: nn.ReplicationPad2d(1), image),
    "ZeroPad1d": (lambda: nn.ZeroPad1d(1), line),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 0, 2, 1)), image),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(4), line),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, 2)), image),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(4), line),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((3, 4)), image),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, padding=1), line),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), image),
    "LPPool1d": (lambda: nn.LPPool1d(2, 3), positive(*line)),
    "LPPool2d": (lambda: nn.LPPool2d(2, 3, 2), positive(*image)),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 2, padding=1), line),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), image),
    "AlphaDropout": (nn.AlphaDropout, image),
    "Dropout": (nn.Dropout, image),
    "Dropout1d": (nn.Dropout1d, line),
    "Dropout2d": (nn.Dropout2d, image),
    "Dropout3d": (nn.Dropout3d, (2, 4, 3, 2, 2)),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout, image),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), image),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), image),
    "Upsample": (lambda: nn.Upsample(scale_factor=1.5, mode="bicubic"), image),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), image),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(size=(5, 13)), image),
    "Flatten": (nn.Flatten, image),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(_encoder_layer(), 2), rows),
    "TransformerEncoderLayer": (lambda: _encoder_layer(activation="gelu"), rows),
    "Fold": (lambda: nn.Fold((5, 6), (2, 3), padding=1, stride=(1, 2)), (2, 12, 18)),
    "Unfold": (lambda: nn.Unfold((2, 3), padding=1, stride=2), image),
}
NOT_EXPORTED = {
    "DataParallel": "warns where it is made; only calls the model in it",
    "MaxUnpool1d": "its indices depend on the input, and ONNX counts them over the whole batch",
    "MaxUnpool2d": "its indices depend on the input, and ONNX counts them over the whole batch",
    "UninitializedBuffer": "no layer",
    "UninitializedParameter": "no layer",
}


def _encoder_layer(**settings):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)


class _Named(nn.Module):
    """Runs the modules of a container."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x):
        for part in self.parts.values() if isinstance(self.parts, nn.ModuleDict) else self.parts:
            x = part(x)
        return x


class _Sum(nn.Module):
    """Adds parameters of a container."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x):
        for part in self.parts.values() if isinstance(self.parts, nn.ParameterDict) else self.parts:
            x = x + part
        return x


class _Function(nn.Module):
    """A function as a module, with a weight."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(mg.rand(8) + 0.5)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def as_inputs(given):
    """Tensors from a tensor, a shape or several shapes."""
    if isinstance(given, mg.Tensor):
        return (given,)
    return tuple([mg.randn(*shape) for shape in (given if isinstance(given[0], tuple) else (given,))])


def exported(model, *inputs, **settings):
    """The bytes of a model's file."""
    file = io.BytesIO()
    mg.onnx.export(model, inputs, file, **settings)
    return file.getvalue()


def loaded(data):
    return mg.onnx.load(io.BytesIO(data))


def predict(data, *inputs):
    """What onnxruntime computes."""
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {given.name: x.numpy() for given, x in zip(session.get_inputs(), inputs, strict=True)})


def results_of(model, *inputs):
    """The tensors that a model returns, as arrays."""
    with mg.no_grad():
        results = model(*inputs)
    return [x.numpy() for x in (results if isinstance(results, tuple) else (results,)) if x is not None]


def resized(x, size, axis=0):
    return mg.tensor(np.take(x.numpy(), np.arange(size) % x.shape[axis], axis))


def check_equal(found, expected, rtol=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5)


def check_travels(model, *inputs, **settings):
    """Export, run elsewhere at several batch sizes, load, run, train one step, export again."""
    data = exported(model, *inputs, **settings)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    back = loaded(data).eval()
    model.eval()
    for size in (1, 4) if settings.get("dynamic_axes", True) else (len(inputs[0]),):
        batch = [resized(x, size) for x in inputs]
        expected = results_of(model, *batch)
        check_equal(predict(data, *batch), expected)
        check_equal(results_of(back, *batch), expected)
    state = model.state_dict()
    for name, value in back.state_dict().items():
        assert value.numpy().tobytes() == state[name].numpy().tobytes()
    assert [name for name, _ in back.named_parameters() if name not in dict(model.named_parameters())] == []
    check_trains_alike(model, back, inputs)
    check_equal(predict(exported(back, *inputs, **settings), *inputs), results_of(back.eval(), *inputs))
    return back


def check_trains_alike(model, back, inputs):
    """Gradients by all weights and inputs, and running statistics, are those of the original."""
    random = any(name.endswith("running_mean") for name, _ in model.named_buffers())
    found = []
    for trained in (model, back):
        trained.train(random)
        leaves = [x.clone().requires_grad_() if x.dtype.kind == "f" else x for x in inputs]
        results = trained(*leaves)
        out = results[0] if isinstance(results, tuple) else results
        if out.requires_grad:
            (out * mg.arange(out.numel()).reshape(out.shape).float().cos()).sum().backward()
        found.append([{name: p.grad for name, p in trained.named_parameters()}, [x.grad for x in leaves]])
        found[-1].append({name: x for name, x in trained.named_buffers() if "running" in name})
    (grads, by_inputs, running), (back_grads, back_by_inputs, back_running) = found
    assert set(grads) == set(back_grads) and set(running) == set(back_running)
    pairs = [(grads[name], back_grads[name]) for name in grads] + list(zip(by_inputs, back_by_inputs, strict=True))
    for a, b in pairs + [(running[name], back_running[name]) for name in running]:
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5)


# ---- layers


def test_every_public_layer_is_here_or_has_a_reason():
    names = {name for name in nn.__all__ if name[0].isupper()} - {"Module", "Parameter"}
    losses, lazy = {name for name in names if "Loss" in name}, {name for name in names if name.startswith("Lazy")}
    losses |= {"CosineSimilarity", "PairwiseDistance"}
    assert names - losses - lazy == {*LAYERS, *NOT_EXPORTED}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_predicts_and_trains_the_same_after_a_round_trip(name):
    mg.manual_seed(1)
    make, given = LAYERS[name]
    check_travels(make(), *as_inputs(given))


# ---- what a forward does between layers

x28 = mg.linspace(-2.0, 2.0, 16).reshape(2, 8)
FUNCTIONS = {
    "view": lambda m, x: x.view(x.shape[0], 2, 4).view(-1, 8) * m.scale,
    "merged axes": lambda m, x: x.reshape(-1, 4, 2).permute(0, 2, 1).reshape(-1, 4),
    "two sizes of the batch": lambda m, x: (x * m.scale).reshape(1, x.shape[0], 4, 2).reshape(x.shape[0] * 2, x.shape[0] * 0 + 4),
    "cat and stack": lambda m, x: mg.stack([mg.cat([x, m.scale.expand(x.shape[0], 8)], 1), mg.cat([x, x], 1)], 1),
    "zeros of the batch": lambda m, x: mg.cat([x * m.scale, mg.zeros(x.shape[0], 3), mg.full((x.shape[0], 1), 2.5)], 1),
    "squares and means": lambda m, x: (x.square() - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1),
    "over the batch": lambda m, x: x - x.mean(0) + x.amax() - x.min(),
    "numbers": lambda m, x: 2 - x / 3 + 1 / (x * x + 1) - (x**2) * 0.5,
    "comparisons": lambda m, x: mg.where((x > 0) & ~(x == 1) | (x != x), x, m.scale * 0.1),
    "index": lambda m, x: x[:, 1:-1:2] + x[..., -1:] + x[:, None, 3] * m.scale[2],
    "positions": lambda m, x: x[:, [3, 0, -1]] + x.index_select(1, mg.tensor([1, 1, 2])),
    "gather": lambda m, x: x.gather(1, x.argmax(1, keepdim=True)) + x.max(1)[0][:, None],
    "the size of the batch": lambda m, x: x.sum(0) / x.shape[0] + (x.shape[0] * 2 + 1) * m.scale,
    "argmax": lambda m, x: (x.argmax(1).float() + x.argmin(1, keepdim=True).squeeze(1) + x.argmax()),
    "softmax": lambda m, x: (x @ x.T).softmax(-1) @ x + F.log_softmax(x, 1),
    "in place": lambda m, x: _changed(x, m.scale),
    "in place, composed": lambda m, x: F.hardsigmoid(F.threshold(x * 1, 0.1, 0.2, True), inplace=True) * m.scale,
    "dtypes": lambda m, x: (x > 0).sum(1).float() + x.long().sum(1) / 3 + (x * 3).int().double().mean(1).float(),
    "attention": lambda m, x: _attention(x.reshape(-1, 4, 2)),
    "chunks": lambda m, x: mg.cat([part * i for i, part in enumerate(x.chunk(4, 1))], 1),
    "rounding": lambda m, x: x.floor() + x.ceil() + x.round() + x.trunc() + x.sign() + x % 0.7,
    "exponentials": lambda m, x: x.exp().log1p() + x.sigmoid().log() + x.abs().sqrt() + mg.logaddexp(x, m.scale),
    "padding": lambda m, x: F.pad(x, (1, -2), value=0.5) + F.pad(x, (0, -1)),
    "clip": lambda m, x: x.clip(-1, None) + x.clip(max=m.scale) + x.clamp(-0.5, 0.5),
    "cumsum": lambda m, x: x.cumsum(1) + x.tril()[:, :1] + x.triu(1)[:, -1:],
    "einsum": lambda m, x: mg.einsum("bi,bj,j->bi", x, x, m.scale),
    "outer": lambda m, x: (x[:, :, None] * x[:, None, :]).flatten(1).norm(dim=1),
    "detached": lambda m, x: x.detach() * m.scale + x.clone(),
}


def _changed(x, scale):
    y = x * scale
    y += 1
    y.relu_()
    y.mul_(y)
    return y.sub_(x)


def _attention(x):
    return F.scaled_dot_product_attention(x, x, x, is_causal=True).flatten(1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_between_layers_travel(name):
    mg.manual_seed(1)
    model = _Function(FUNCTIONS[name])
    data = exported(model, x28)
    back = loaded(data).eval()
    for size in (1, 4):
        x = resized(x28, size)
        check_equal(predict(data, x), results_of(model, x))
        check_equal(results_of(back, x), results_of(model, x))
    check_equal(predict(exported(back, x28), x28), results_of(model, x28))
