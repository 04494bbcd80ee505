"""mg.onnx: what is exported predicts the same elsewhere and comes back as a model that trains, or is refused."""

import io
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as runtime
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

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
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), image),
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
    return [x.detach().numpy() for x in (results if isinstance(results, tuple) else (results,)) if x is not None]


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
    "two sizes of the batch": lambda m, x: (
        (x * m.scale).reshape(1, x.shape[0], 4, 2).reshape(x.shape[0] * 2, x.shape[0] * 0 + 4)
    ),
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
    "argmax": lambda m, x: x.argmax(1).float() + x.argmin(1, keepdim=True).squeeze(1) + x.argmax(),
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


WHOLE = 10.0 ** np.arange(-38, 39, 2)  # of many sizes
EXACT = {
    "log1p": (np.concatenate([WHOLE, -WHOLE[WHOLE < 1], [np.inf, -1, -2, np.nan]]), lambda m, x: x.log1p()),
    "expm1": (np.concatenate([WHOLE, -WHOLE, [20, 88, -np.inf, np.inf, np.nan]]), lambda m, x: x.expm1()),
    "erfc": (np.concatenate([np.linspace(-6, 9, 61), [-np.inf, np.inf, np.nan]]), lambda m, x: x.erfc()),
    "hypot": (np.concatenate([WHOLE, -WHOLE, [0, np.inf, np.nan]]), lambda m, x: mg.hypot(x, x * 0.75)),
    "logaddexp": (np.array([-np.inf, np.inf, -80, 0, 80, np.nan]), lambda m, x: mg.logaddexp(x, x)),
}


@pytest.mark.parametrize("name", EXACT)
def test_functions_are_exact_where_their_formulas_cancel(name):
    """Of small and large numbers too, which the plain formulas lose: log(1 + 1e-20), sqrt(1e38**2)."""
    numbers, function = EXACT[name]
    x = mg.tensor(numbers.astype(np.float32)[:, None])
    (found,), (expected,) = predict(exported(_Function(function), x), x), results_of(_Function(function), x)
    np.testing.assert_allclose(found, expected, rtol=4e-6, atol=1e-37)


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


def test_batch_axis_can_be_another_one_and_sizes_can_be_fixed():
    mg.manual_seed(1)
    layer = nn.MultiheadAttention(8, 2)
    q, k = mg.randn(5, 2, 8), mg.randn(7, 2, 8)
    axes = {"q": {1: "n"}, "k": {1: "n"}, "v": [1]}
    data = exported(layer, q, k, k, input_names=["q", "k", "v"], dynamic_axes={**axes, "v": {1: "n"}})
    batch = [resized(x, 6, axis=1) for x in (q, k, k)]
    check_equal(predict(data, *batch), results_of(layer.eval(), *batch))
    sizes = [
        dim.dim_param or dim.dim_value for dim in onnx.load_from_string(data).graph.input[1].type.tensor_type.shape.dim
    ]
    assert sizes == [7, "n", 8]
    fixed = onnx.load_from_string(exported(nn.Linear(8, 3), x28, dynamic_axes={})).graph.input[0]
    assert [dim.dim_value for dim in fixed.type.tensor_type.shape.dim] == [2, 8]
    check_travels(_Function(lambda m, x: mg.ones(2, 8) + x * m.scale), x28, dynamic_axes={})


def test_float64_uint8_and_scalar_weights_travel():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Softplus(), nn.ELU(0.5)).double()
    x = x28.double()
    back = loaded(exported(model, x))
    assert {p.dtype for p in back.parameters()} == {mg.float64}
    np.testing.assert_allclose(results_of(back, x)[0], results_of(model, x)[0], rtol=1e-12)
    image = mg.randint(0, 256, (2, 3, 4, 4)).to(mg.uint8)
    scalar = _Function(lambda m, x: x.float() / 255 * m.scale)
    scalar.scale = nn.Parameter(mg.tensor(0.3))
    back = check_travels(scalar, image)
    assert [name for name, _ in back.named_parameters()] == ["scale"]


def test_several_results_weights_and_inputs_can_be_results():
    model = _Function(lambda m, a, b: {"sum": (a + b, a), "rest": [m.scale, mg.ones(a.shape[0], 2), a + b]})
    data = exported(model, x28, x28 * 2, output_names=list("abcde"))
    x = resized(x28, 3)
    expected = [(x * 2).numpy(), x.numpy(), model.scale.detach().numpy(), np.ones((3, 2), np.float32), (x * 2).numpy()]
    check_equal(predict(data, x, x), expected)
    check_equal(results_of(loaded(data), x, x), expected)


def test_model_does_not_change_and_numpy_device_travels():
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).to("numpy").train()
    before = {name: x.numpy().tobytes() for name, x in model.state_dict().items()}
    data = exported(model, x28.to("numpy"))
    assert model.training and model[1].training
    assert {name: x.numpy().tobytes() for name, x in model.state_dict().items()} == before
    assert not any(module._has_hooks() for module in model.modules())
    check_equal(predict(data, x28), results_of(model.eval(), x28.to("numpy")))


def test_every_opset_version_means_the_same():
    mg.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.GroupNorm(2, 4)]
    layers += [nn.Upsample(scale_factor=2), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(64, 8)]
    model, x = nn.Sequential(*layers, nn.LayerNorm(8), nn.Softmax(1)).eval(), mg.randn(2, 1, 10, 10)
    for opset in range(18, min(23, onnx.defs.onnx_opset_version()) + 1):
        data = exported(model, x, opset_version=opset)
        check_equal(predict(data, x), results_of(model, x))
        check_equal(results_of(loaded(data).eval(), x), results_of(model, x))


class _Decoder(nn.Module):
    """Embeds, attends to earlier positions, and predicts by the embedding's weights; a buffer counts positions."""

    def __init__(self):
        super().__init__()
        self.embedding, self.place = nn.Embedding(7, 8), nn.Embedding(5, 8)
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 7, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("positions", mg.arange(5))

    def forward(self, ids, keep):
        x = self.embedding(ids) + self.place(self.positions)
        later = mg.ones(5, 5, dtype=mg.bool).triu(1)
        return self.out(self.attention(x, x, x, key_padding_mask=~keep, attn_mask=later)[0])


class _Block(nn.Module):
    """A residual block that adds in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.conv(x))
        y += x
        return F.relu(y, inplace=True)


def test_whole_models_travel():
    mg.manual_seed(1)
    keep = mg.tensor([[True, True, True, False, False], [True] * 5])
    back = check_travels(_Decoder(), ids(2, 5), keep)
    assert "positions" in dict(back.named_buffers())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    check_travels(nn.Sequential(_Block(), _Block(), *head), mg.randn(*image))
    check_travels(mg.models.LeNet5(), mg.randn(2, 1, 28, 28))


def test_memory_that_moves_is_not_taken_for_a_constant():
    model = _Function(lambda m, x: (x.permute(1, 0).clone().T * m.scale).T.reshape(2, -1, 1).view(-1))
    check_travels(model, x28, dynamic_axes={})


def test_file_on_disk_names_keywords_and_opsets(tmp_path):
    class Two(nn.Module):
        def forward(self, x, *, factor, flag):
            return x * factor if flag else x

    path = tmp_path / "folder" / "two.onnx"
    mg.onnx.export(Two(), x28, path, kwargs={"factor": mg.ones(8) * 3, "flag": True}, input_names=["x", "factor"],
                   output_names=["y"], opset_version=21, dynamic_axes={"x": {0: "n"}})  # fmt: skip
    assert onnx.load(path).opset_import[0].version == 21
    model = mg.onnx.load(path)
    np.testing.assert_array_equal(model(factor=mg.ones(8), x=x28).numpy(), x28.numpy())
    check_equal(predict(path.read_bytes(), x28, mg.ones(8) * 3), [(x28 * 3).numpy()])


def test_convolutional_net_trains_on_after_a_round_trip():
    mg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.2), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )
    back = loaded(exported(model, mg.randn(2, 1, 8, 8)))
    x, y = mg.randn(6, 1, 8, 8), mg.randint(0, 3, (6,))
    for trained in (model, back):
        trained.train()
        optimizer = mg.optim.SGD(trained.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(trained(x), y).backward()
            optimizer.step()
    state = model.state_dict()
    for name, value in back.state_dict().items():
        np.testing.assert_allclose(value.numpy(), state[name].numpy(), rtol=1e-3, atol=1e-5)
    assert dict(back.named_buffers()).keys() == {"1.running_mean", "1.running_var"}


# ---- files of PyTorch: tests/vectors/onnx, written by torch.onnx.export of PyTorch 2.13, without its comments

VECTORS = Path(__file__).parent / "vectors" / "onnx"


@pytest.mark.parametrize(
    "file, model", [("cnn_dynamo", "cnn"), ("cnn_training_mode", "cnn"), ("segmenter_torchscript", "segmenter")]
)
def test_file_of_pytorch_predicts_as_there_trains_and_travels_on(file, model):
    expected = np.load(VECTORS / "expected.npz")
    x, y = mg.tensor(expected[f"{model}.x"]), expected[f"{file if f'{file}.y' in expected else model}.y"]
    back = mg.onnx.load(VECTORS / f"{file}.onnx").eval()
    check_equal(results_of(back, x), [y])
    check_equal(results_of(back, resized(x, 5)), [np.take(y, np.arange(5) % len(y), 0)])
    check_equal(predict(exported(back, x), x), [y])
    before = {name: value.numpy().copy() for name, value in back.state_dict().items()}
    (back.train()(x) ** 2).sum().backward()
    assert all(parameter.grad is not None for parameter in back.parameters())
    changed = [name for name, value in back.state_dict().items() if (value.numpy() != before[name]).any()]
    running = ["features.1.running_mean", "features.1.running_var"]
    assert changed == (running if file == "cnn_training_mode" else [])
    assert {"conv.weight", "fc.bias"} <= before.keys() or model == "segmenter"
    dropped = mg.no_grad(back)(x).numpy()
    assert (dropped != mg.no_grad(back)(x).numpy()).any() == (file == "cnn_training_mode")


# ---- what is refused when a model is written


class _Sampler(nn.Module):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return x * float(self.calls)


def _written_in_part(m, x):
    y = x * 1
    y[:, 2:] = 0
    return y


class _Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", mg.zeros(1))

    def forward(self, x):
        self.seen += 1
        return x * self.seen


def _branch(x):
    return x * 2 if x.sum() > 0 else x


nested = nn.Sequential(nn.Linear(8, 8), nn.Sequential(_Function(lambda m, x: x.argsort(1))))
REFUSED = [  # (forward or model, whole or part of the message, error)
    (
        lambda m, x: _branch(x),
        "export: forward depends on values: reading the values of a tensor; return the tensor",
        "Graph",
    ),
    (nested, "1.0: export: the operation argsort has no form in ONNX here; leave it out of forward", "Graph"),
    (lambda m, x: F.dropout(x), "export: the operation dropout_mask has no form in ONNX here", "Graph"),
    (lambda m, x: x + mg.randn(8), "export: forward depends on values: drawing random numbers", "Graph"),
    (_Sampler(), "export: mul gets other numbers in a run of another batch size; is something random", "Graph"),
    (_Counter(), "export: forward changes seen in place; change it outside of forward", "Graph"),
    (
        lambda m, x: _written_in_part(m, x),
        "export: a tensor is used after another tensor on its memory was changed",
        "Graph",
    ),
    (
        lambda m, x: x.flatten() if len(x) > 2 else x * 2,
        "export: forward runs other operations for another batch",
        "Graph",
    ),
    (
        lambda m, x: x + mg.arange(x.shape[0])[:, None],
        "export: add gets other numbers in a run of another batch",
        "Graph",
    ),
    (lambda m, x: x * (1 / x.shape[0]), "export: mul gets other numbers in a run of another batch size", "Graph"),
    (lambda m, x: x[: x.shape[0] // 2], "export: index gets other numbers in a run of another batch size", "Graph"),
    (lambda m, x: x[: x.shape[0] - 1], "export: index: a slice ends at 1 * N + -1; slice other axes", "Graph"),
    (lambda m, x: x if len(x) < 3 else x[:, :3], "export: forward runs other operations", "Graph"),
    (
        lambda m, x: mg.zeros(len(x) ** 2),
        "export: the results differ between runs in another way than by the batch",
        "Graph",
    ),
    (lambda m, x: x[x > 0], "export: forward depends on values: indexing with a mask; its shape depends", "Graph"),
    (lambda m, x: x[mg.tensor([0, 1]), mg.tensor([0, 1])], "export: take: only one array of positions", "Graph"),
    (lambda m, x: x[:, np.arange(8) > 3], "export: take: the shape of x[mask] depends on values", "Graph"),
    (lambda m, x: x.cumprod(1), "export: recurrence: running products have no form in ONNX", "Graph"),
    (lambda m, x: x.int() // 2, "export: floor_divide: whole numbers are rounded towards 0 in ONNX", "Graph"),
    (
        lambda m, x: F.batch_norm(x, m.scale.detach() * 1, m.scale.detach() * 1, training=True),
        "export: norm: running",
        "Graph",
    ),
    (lambda m, x: F.interpolate(x.T[None], 4), "export: axis_sums: it needs a size that depends on the batch", "Graph"),
    (
        lambda m, x: x.reshape(4, 4),
        "(4, 4) would need 16; let one size be -1 (export ran the model on a batch of 3; name the axes",
        "Shape",
    ),
    (
        lambda m, x: (x * m.scale).squeeze(),
        "for a batch of 1, the results have the shapes [(8,)], expected [(1, 8)]; write squeeze(dim)",
        "Graph",
    ),
    (lambda m, x: None, "export: forward returns 0 tensors, expected 1 or more", "Dtype"),
    (nn.LazyLinear(3), "export: weight has no shape yet; call the model on a batch first", "State"),
]


@pytest.mark.parametrize("model, message, kind", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name_before_a_file_is_written(model, message, kind, tmp_path):
    model = model if isinstance(model, nn.Module) else _Function(model)
    with pytest.raises(getattr(mg.errors, f"{kind}Error")) as caught:
        mg.onnx.export(model, x28.clone(), tmp_path / "model.onnx")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


BAD_ARGUMENTS = [
    (lambda: exported(F.relu, x28), "export: model is a function, expected a Module"),
    (lambda: exported(nn.ReLU(), 3), "export: args has 0 tensors, expected 1 or more"),
    (lambda: exported(nn.ReLU(), x28, opset_version=12), "export: opset_version is 12; use 18 to 23"),
    (
        lambda: exported(nn.ReLU(), x28, input_names=["a", "b"]),
        "export: input_names has 2 names ['a', 'b'], and there are 1",
    ),
    (lambda: exported(nn.ReLU(), x28, input_names=["output"]), "export: the name 'output' is used twice"),
    (lambda: exported(nn.Linear(8, 2), x28, input_names=["bias"]), "export: the name 'bias' is used twice"),
    (
        lambda: exported(nn.ReLU(), x28, dynamic_axes={"input": {2: "n"}}),
        "has shape (2, 8), axis 2 cannot be the batch's",
    ),
    (
        lambda: exported(nn.ReLU(), x28, dynamic_axes={"input": [0, 1]}),
        "dynamic_axes has more than one free size for 'input'",
    ),
]


@pytest.mark.parametrize("call, message", BAD_ARGUMENTS)
def test_arguments_of_export_are_checked(call, message):
    with pytest.raises(mg.errors.MinigradError) as caught:
        call()
    assert message in str(caught.value)


def test_runs_that_differ_are_refused_with_fixed_sizes_too():
    with pytest.raises(mg.errors.GraphError, match="mul gets other numbers in a run on other values"):
        exported(_Sampler(), x28, dynamic_axes={})


def test_a_model_that_onnx_refuses_is_not_written(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such type")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(mg.errors.GraphError, match="export: onnx refuses the model: no such type; leave out"):
        exported(nn.ReLU(), x28)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: exported(nn.ReLU(), x28), lambda: loaded(b"")):
        with pytest.raises(
            mg.errors.ValidationError, match=r"the package 'onnx' cannot be imported .*minigrad\[onnx\]"
        ):
            call()


# ---- what is refused when a file is read

H = onnx.helper
FLOAT = onnx.TensorProto.FLOAT


def as_file(*nodes, opset=18, weights=(), outputs=("y",), shape=(2, 8)):
    """The bytes of a model with input x."""
    results = [H.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = H.make_graph(nodes, "g", [H.make_tensor_value_info("x", FLOAT, shape)], results, initializer=list(weights))
    return H.make_model(
        graph, opset_imports=[H.make_opsetid("", opset), H.make_opsetid("com.x", 1)]
    ).SerializeToString()


def node(kind, *inputs, outputs=("y",), **attributes):
    return H.make_node(kind, inputs or ("x",), outputs, name="layer", **attributes)


def external(name):
    weight = onnx.numpy_helper.from_array(np.ones(8, np.float32), name)
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.ClearField("raw_data")
    weight.external_data.add(key="location", value="weights.bin")
    return weight


half = onnx.numpy_helper.from_array(np.ones(8, np.float16), "w")
whole = exported(nn.Linear(8, 3), x28)
BAD_FILES = [
    (whole[:-20], "is no valid ONNX file"),
    (b"PK not onnx", "is no valid ONNX file"),
    (b"", "is no valid ONNX file"),
    (as_file(node("Relu"), opset=6), "has opset 6, expected 7 to 24"),
    (as_file(node("Det")), "node 0 'layer' (Det): the operator Det is not supported; export the model without it"),
    (as_file(node("Relu", domain="com.x")), "(Relu): the operator Relu of com.x is not supported"),
    (as_file(node("Add", "x", "w"), weights=[external("w")]), "the weight 'w' is kept in another file"),
    (as_file(node("Identity", "w"), weights=[half]), "the weight 'w' is float16, which is not supported; use float32"),
    (as_file(node("MaxPool", outputs=("y", "i"), kernel_shape=[1, 1]), outputs=("y", "i"), shape=(2, 1, 4, 4)),
     "node 0 'layer' (MaxPool): 1 output is supported, 2 are used"),
    (as_file(H.make_node("Unique", ["x"], ["y"])), "node 0 '' (Unique): the operator Unique is not supported"),
]  # fmt: skip
BAD_NODES = [
    (node("Conv", "x", "x"), "node 0 'layer' (Conv): x has shape (2, 1, 4, 4, 4), expected (N, C, L) or (N, C, H, W)"),
    (node("ArgMax", axis=1, select_last_index=1), "(ArgMax): select_last_index=1 is not supported here"),
    (node("Resize", "x", "", "s", mode="linear"), "(Resize): a size of batch or channels="),
    (node("Cast", to=10), "(Cast): dtype 10 of ONNX is not supported; use float32, uint8"),
]


@pytest.mark.parametrize("data, message", BAD_FILES)
def test_bad_file_is_refused_with_the_name_of_the_node(data, message):
    with pytest.raises(mg.errors.DataError) as caught:
        loaded(data)
    assert str(caught.value).startswith("load: the file object: ") and message in str(caught.value)


@pytest.mark.parametrize("made, message", BAD_NODES)
def test_error_in_a_node_has_its_name(made, message):
    scales = [onnx.numpy_helper.from_array(np.full(5, 2, np.float32), "s")]
    model = loaded(as_file(made, shape=(2, 1, 4, 4, 4), weights=scales))
    with pytest.raises(mg.errors.MinigradError) as caught:
        model(mg.zeros(2, 1, 4, 4, 4))
    assert message in str(caught.value)


def test_attribute_that_no_reader_takes_is_refused():
    data = as_file(node("Relu"))
    proto = onnx.load_from_string(data)
    proto.graph.node[0].op_type = "LeakyRelu"
    proto.graph.node[0].attribute.append(H.make_attribute("alpha", 0.5))
    assert loaded(proto.SerializeToString())(-x28 * 0 - 1).flatten()[0].item() == -0.5
    reader = mg.onnx.from_onnx.READERS["LeakyRelu"]
    try:
        mg.onnx.from_onnx.READERS["LeakyRelu"] = reader._replace(function=lambda call, x: x)
        with pytest.raises(mg.errors.DataError, match=r"'layer' \(LeakyRelu\): .*'alpha', which is not supported"):
            loaded(proto.SerializeToString())
    finally:
        mg.onnx.from_onnx.READERS["LeakyRelu"] = reader


def test_missing_file_wrong_argument_and_wrong_inputs(tmp_path):
    with pytest.raises(mg.errors.DataError, match=r"gone.onnx: cannot be read \(No such file"):
        mg.onnx.load(tmp_path / "gone.onnx")
    with pytest.raises(mg.errors.DtypeError, match="load: f is a int, expected a path or a binary file object"):
        mg.onnx.load(3)
    model = loaded(whole)
    with pytest.raises(mg.errors.ShapeError, match=r"OnnxModule: got 2 inputs and \[\] by name, expected \['input'\]"):
        model(x28, x28)
    with pytest.raises(mg.errors.ShapeError, match=r"got 0 inputs and \['x'\] by name"):
        model(x=x28)
    with pytest.raises(mg.errors.DtypeError, match="the input 'input' is a list, expected a Tensor"):
        model([1.0])


# ---- operators that mg.onnx.export does not write, against onnxruntime

images = (2, 4, 6, 5)
PLACES = "coordinate_transformation_mode"
i64 = lambda *numbers: np.array(numbers, np.int64)  # noqa: E731
f32 = lambda *numbers: np.array(numbers, np.float32)  # noqa: E731
OPERATORS = [  # (operator, shape of x, arrays of the other inputs, attributes)
    ("Reciprocal", images, [], {}),
    ("HardSigmoid", images, [], {"alpha": 0.3, "beta": 0.4}),
    ("ThresholdedRelu", images, [], {"alpha": 0.2}),
    ("Shrink", images, [], {"bias": 0.1, "lambd": 0.3}),
    ("Celu", images, [], {"alpha": 0.5}),
    ("Mean", images, [np.ones(5, np.float32)], {}),
    ("Sum", images, [np.ones(5, np.float32), f32(2.0)], {}),
    ("ReduceL1", images, [i64(1, -1)], {"keepdims": 0}),
    ("ReduceL2", images, [i64(2)], {}),
    ("ReduceSumSquare", images, [], {}),
    ("ReduceLogSumExp", images, [i64(1)], {}),
    ("ReduceSum", images, [np.zeros(0, np.int64)], {"noop_with_empty_axes": 1}),
    ("CumSum", images, [np.array(2, np.int64)], {"reverse": 1}),
    ("Gemm", (3, 4), [np.eye(4, 5, dtype=np.float32), np.ones((3, 5), np.float32)], {"alpha": 0.5, "beta": 2.0}),
    ("Conv", images, [np.ones((2, 4, 3, 3), np.float32)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", images, [np.ones((2, 4, 2, 2), np.float32)], {"auto_pad": "SAME_LOWER"}),
    ("Conv", images, [np.ones((2, 4, 3, 3), np.float32)], {"pads": [1, 0, 2, 1], "dilations": [2, 1]}),
    ("Conv", (2, 4, 7), [np.ones((2, 4, 3), np.float32), f32(1.0, 2.0)], {"pads": [1, 1]}),
    ("ConvTranspose", images, [np.ones((4, 2, 3, 3), np.float32)], {"pads": [1, 0, 0, 1], "strides": [2, 1]}),
    ("ConvTranspose", (2, 4, 7), [np.ones((4, 2, 3), np.float32)], {"pads": [1, 1], "strides": [2]}),
    ("MaxPool", images, [], {"kernel_shape": [3, 3], "pads": [2, 1, 0, 1], "strides": [2, 1]}),
    ("MaxPool", (2, 4, 7), [], {"kernel_shape": [3]}),
    ("AveragePool", images, [], {"kernel_shape": [3, 3], "pads": [2, 1, 0, 1]}),
    ("AveragePool", images, [], {"kernel_shape": [3, 3], "pads": [2, 1, 0, 1], "count_include_pad": 1}),
    ("LpPool", images, [], {"kernel_shape": [2, 3], "p": 3}),
    ("GlobalAveragePool", images, [], {}),
    ("GlobalMaxPool", images, [], {}),
    ("InstanceNormalization", images, [f32(1, 2, 3, 4), f32(4, 3, 2, 1)], {"epsilon": 0.1}),
    ("LayerNormalization", images, [f32(1, 2, 3, 4, 5)], {"axis": -1}),
    ("LayerNormalization", images, [np.ones((1, 5), np.float32)], {"axis": -2}),
    ("GroupNormalization", images, [f32(1, 2, 5, 6), f32(3, 4, 0, 1)], {"num_groups": 2}),
    ("LRN", images, [], {"size": 3, "alpha": 0.1}),
    ("Flatten", images, [], {"axis": 2}),
    ("Flatten", images, [], {"axis": 0}),
    ("Transpose", images, [], {}),
    ("Squeeze", (2, 1, 3, 1), [], {}),
    ("Squeeze", (2, 1, 3, 1), [i64(-1)], {}),
    ("Split", (2, 6), [i64(1, 5)], {"axis": 1}),
    ("Split", (2, 5), [], {"axis": 1, "num_outputs": 2}),
    ("Slice", images, [i64(-1, 3), i64(-100, 0), i64(2, 1), i64(-2, -1)], {}),
    ("Gather", images, [i64(-1, 0).reshape(1, 2)], {"axis": 2}),
    ("Gather", images, [np.array(1, np.int64)], {"axis": 1}),
    ("ScatterElements", (3, 4), [i64(2, 0).reshape(1, 2), f32(5, 6).reshape(1, 2)], {"axis": 1}),
    ("Expand", (3, 1), [i64(2, 1, 4)], {}),
    ("Tile", (3, 2), [i64(2, 3)], {}),
    ("Pad", images, [i64(0, 1, 2, 0), np.array(2.0, np.float32), i64(1, 3)], {}),
    ("Pad", images, [i64(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}),
    ("DepthToSpace", images, [], {"blocksize": 2}),
    ("DepthToSpace", images, [], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (2, 3, 4, 6), [], {"blocksize": 2}),
    ("Resize", images, [f32(), f32(1, 1, 2, 3)], {PLACES: "asymmetric", "nearest_mode": "floor"}),
    ("Resize", images, [f32(), f32(), i64(2, 4, 9, 4)], {"mode": "cubic", PLACES: "align_corners"}),
    ("Resize", images, [f32(), f32(1, 1, 1.5, 0.7)], {"mode": "linear"}),
    ("Resize", (2, 4, 7), [f32(), f32(1, 1, 2)], {"mode": "linear", PLACES: "align_corners"}),
    ("AveragePool", images, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", images, [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "strides": [2, 2], "ceil_mode": 1}),
    ("TopK", (3, 6), [i64(2)], {}),
    ("Trilu", (3, 4, 4), [np.array(1, np.int64)], {"upper": 0}),
    ("Shape", images, [], {"start": 1}),
    ("Size", images, [], {}),
    ("Mod", images, [f32(0.7)], {"fmod": 1}),
    ("Max", images, [f32(0.1), f32(0.2)], {}),
    ("Dropout", images, [], {}),
]  # fmt: skip


@pytest.mark.parametrize("kind, shape, others, attributes", OPERATORS)
def test_operator_gives_what_onnxruntime_gives(kind, shape, others, attributes):
    mg.manual_seed(2)
    x = mg.randn(*shape)
    weights = [onnx.numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(others)]
    outputs = ("y", "z") if kind in ("Split", "TopK") else ("y",)
    made = node(kind, "x", *[weight.name for weight in weights], outputs=outputs, **attributes)
    types = {"Shape": [7], "Size": [7], "TopK": [1, 7]}.get(kind, [1] * len(outputs))
    results = [H.make_tensor_value_info(name, dtype, None) for name, dtype in zip(outputs, types, strict=True)]
    graph = H.make_graph([made], "g", [H.make_tensor_value_info("x", FLOAT, shape)], results, initializer=weights)
    opset = H.make_opsetid("", 21 if kind == "GroupNormalization" else 18)
    data = H.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    check_equal(results_of(loaded(data).eval(), x), predict(data, x))


def test_old_opsets_have_axes_and_sizes_as_attributes():
    nodes = [
        H.make_node("ReduceMean", ["x"], ["a"], axes=[1], keepdims=0),
        H.make_node("Unsqueeze", ["a"], ["b"], axes=[0, 2]),
        H.make_node("Squeeze", ["b"], ["c"], axes=[0]),
        H.make_node("Slice", ["x"], ["d"], starts=[1], ends=[5], axes=[1]),
        H.make_node("Add", ["c", "d"], ["e"]),
        H.make_node("Pad", ["e"], ["f"], pads=[0, 1, 0, 0], value=1.5),
        H.make_node("Clip", ["f"], ["g"], min=-1.0, max=2.0),
        H.make_node("Dropout", ["g"], ["h"], ratio=0.25),
        H.make_node("Split", ["h"], ["i", "j"], axis=1, split=[2, 3]),
        H.make_node("Softmax", ["j"], ["y"]),
    ]
    infos = [H.make_tensor_value_info("x", FLOAT, (2, 8)), H.make_tensor_value_info("y", FLOAT, None)]
    graph = H.make_graph(nodes, "g", infos[:1], infos[1:])
    data = H.make_model(graph, opset_imports=[H.make_opsetid("", 9)], ir_version=4).SerializeToString()
    check_equal(results_of(loaded(data).eval(), x28), predict(data, x28))


def test_names_that_a_module_has_already_get_a_mark():
    weights = [
        onnx.numpy_helper.from_array(np.full(8, i, np.float32), name)
        for i, name in enumerate(["train", "x.forward", "x"])
    ]
    nodes = [H.make_node("Sum", ["in", "train", "x.forward", "x"], ["y"])]
    infos = [H.make_tensor_value_info("in", FLOAT, (2, 8)), H.make_tensor_value_info("y", FLOAT, (2, 8))]
    graph = H.make_graph(nodes, "g", infos[:1], infos[1:], initializer=weights)
    model = loaded(H.make_model(graph, opset_imports=[H.make_opsetid("", 18)]).SerializeToString())
    assert sorted(model.state_dict()) == ["train_", "x.forward_", "x_"]
    np.testing.assert_allclose(model(x28).detach().numpy(), (x28 + 3).numpy(), rtol=1e-6)
