"""viz.tracing: names, order and operations of the layers that ran, and the receptive field of each pixel."""

from itertools import pairwise

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import nn
from minigrad.errors import ShapeError, ValidationError
from minigrad.models import LeNet5, Subsampling
from minigrad.viz.inputs import as_image_batch
from minigrad.viz.tracing import Field, is_convolution, layer_index, named_convolutions, trace

RNG = np.random.default_rng(0)


class Net(nn.Module):
    """A residual network with a shared activation, a layer that runs twice, and functions in its forward."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.activation = nn.ReLU()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.activation(self.stem(x))
        for _ in range(2):
            x = x + self.activation(self.block(x))
        return self.head(self.drop(F.tanh(x).mean((2, 3))))


class Function(nn.Module):
    """A model whose forward is a function of its one layer and the image."""

    def __init__(self, forward, layer=None):
        super().__init__()
        self.function, self.layer = forward, layer or nn.Conv2d(1, 1, 3)

    def forward(self, x):
        return self.function(self.layer, x)


def photo(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def names(model, *shape):
    return [layer.name for layer in trace("test", model, photo(*shape))]


def last(model, *shape):
    return trace("test", model, photo(*shape))[-1]


# --- names and order


def test_trace_names_layers_by_path_in_the_order_in_which_they_ran():
    layers = trace("test", LeNet5(), photo(28, 28))
    assert [layer.name for layer in layers] == [
        "conv1", "pool1", "activation", "conv2", "pool2", "activation_1", "reshape", "fc1", "activation_2", "fc2",
        "activation_3", "fc3",
    ]  # fmt: skip
    assert [layer.kind for layer in layers[:3]] == ["Conv2d", "MaxPool2d", "ReLU"]


def test_trace_numbers_functions_from_their_second_use_on():
    def forward(layer, x):
        return F.relu(F.tanh(F.relu(F.relu(layer(x)))) + 1)

    layers = trace("test", Function(forward), photo(5, 5))
    assert [layer.name for layer in layers] == ["layer", "relu", "relu_1", "tanh", "add", "relu_2"]
    assert [layer.kind for layer in layers] == ["Conv2d", "relu", "relu", "tanh", "add", "relu"]
    assert [layer.module is None for layer in layers] == [False] + 5 * [True]


def test_trace_names_layers_of_a_residual_network_that_run_twice():
    assert names(Net(), 8, 8) == [
        "stem", "activation", "block", "activation_1", "add", "block_1", "activation_2", "add_1", "tanh", "mean",
        "head",
    ]  # fmt: skip


def test_trace_names_functions_below_the_path_of_their_module():
    inner = Function(lambda layer, x: F.relu(F.relu(layer(x))))
    assert names(nn.Sequential(nn.Sequential(inner), nn.ReLU()), 5, 5) == ["0.0.layer", "0.0.relu", "0.0.relu_1", "1"]


def test_trace_names_a_model_of_one_layer_after_its_class():
    assert names(nn.Conv2d(1, 2, 3), 5, 5) == ["conv2d"]


def test_trace_gives_unique_names_and_keeps_paths_for_their_modules():
    model = Function(lambda layer, x: F.relu(model.relu_1(F.relu(model.relu(layer(x))))))
    model.relu, model.relu_1 = nn.ReLU(), nn.Tanh()
    layers = trace("test", model, photo(5, 5))
    assert [layer.name for layer in layers] == ["layer", "relu", "relu_2", "relu_1", "relu_3"]
    assert layers[3].module is model.relu_1


def test_trace_names_a_module_at_two_paths_by_the_first():
    shared = nn.ReLU()
    assert names(nn.Sequential(shared, nn.Conv2d(1, 1, 3), shared), 5, 5) == ["0", "1", "0_1"]


def test_trace_returns_one_layer_for_a_module_of_several_operations():
    image = photo(1, 6, 4, 4)
    (layer,) = trace("test", Subsampling(6), image)
    assert [step.op.name for step in layer.steps] == ["avg_pool2d", "mul", "add", "tanh"]
    np.testing.assert_array_equal(layer.input, image)
    np.testing.assert_array_equal(layer.output, Subsampling(6)(mg.tensor(image)).detach().numpy())


def test_trace_returns_two_layers_for_two_calls_of_a_module():
    model = Function(lambda layer, x: layer(layer(x)), Subsampling(1))
    assert [(layer.name, len(layer.steps)) for layer in trace("test", model, photo(4, 4))] == [
        ("layer", 4),
        ("layer_1", 4),
    ]


def test_trace_output_of_a_layer_is_the_input_of_the_next():
    model, image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), photo(3, 1, 6, 6)
    layers = trace("test", model, image)
    np.testing.assert_array_equal(layers[0].input, image)
    assert all(before.output is after.input for before, after in pairwise(layers))
    np.testing.assert_array_equal(layers[-1].output, model(mg.tensor(image)).detach().numpy())


def chained(inplace):
    mg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(inplace),
        nn.MaxPool2d(2),
        nn.LeakyReLU(0.1, inplace),
        nn.Flatten(),
        nn.Linear(12, 2),
    )


@pytest.mark.parametrize("recorded", [False, True], ids=["no_grad", "grad"])
def test_trace_keeps_inputs_and_outputs_of_in_place_layers(recorded):
    image = photo(1, 1, 6, 6)
    runs = []
    for inplace in (False, True):
        model = chained(inplace).requires_grad_(recorded)
        runs.append(trace("test", model, image))
    for expected, found in zip(*runs, strict=True):
        assert (expected.name, expected.steps[-1].fields) == (found.name, found.steps[-1].fields)
        np.testing.assert_array_equal(found.output, expected.output)
    for before, after in pairwise(runs[1]):
        np.testing.assert_array_equal(after.input.reshape(-1), before.output.reshape(-1))


def test_trace_turns_dropout_off():
    assert names(nn.Sequential(nn.Dropout(0.9), nn.ReLU()), 5, 5) == ["1"]


def test_trace_names_operations_in_hooks_as_functions_of_the_model():
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    model.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    model.register_forward_hook(lambda module, args, out: out + 1)
    assert names(model, 5, 5) == ["mul", "0", "add"]


def test_as_image_batch_accepts_two_three_or_four_axes_and_integers():
    for shape in (5, 4), (1, 5, 4), (1, 1, 5, 4):
        assert as_image_batch("test", np.zeros(shape, np.uint8)).shape == (1, 1, 5, 4)
    assert as_image_batch("test", np.zeros((2, 2), np.uint8)).dtype == np.float32
    assert as_image_batch("test", mg.zeros(3, 2, 5, 4)).shape == (3, 2, 5, 4)


def test_layer_index_is_convolution_and_named_convolutions():
    layers = trace("test", Function(lambda layer, x: F.conv2d(layer(x), mg.ones(1, 1, 2, 2))), photo(6, 6))
    assert layer_index("test", layers, "conv2d") == 1
    assert all(map(is_convolution, layers))
    assert [name for name, _ in named_convolutions("test", LeNet5())] == ["conv1", "conv2"]


# --- receptive fields


def brute_force(model, sizes):
    """Return for each output pixel the range of input pixels that change it: ((first, last), (first, last))."""
    image = np.zeros((1, 1, *sizes))
    with mg.no_grad():
        before = model(mg.tensor(image)).numpy()
        changed = np.zeros((*sizes, *before.shape[2:]), bool)
        for row, column in np.ndindex(*sizes):
            other = image.copy()
            other[0, 0, row, column] = 1
            changed[row, column] = (model(mg.tensor(other)).numpy() != before).any((0, 1))
    seen = {place: np.argwhere(changed[(..., *place)]) for place in np.ndindex(before.shape[2:])}
    return {place: tuple(zip(found.min(0), found.max(0), strict=True)) for place, found in seen.items()}


def positive(model):
    """Make all weights positive, so that ReLU hides no change and none cancels."""
    for parameter in model.parameters():
        parameter.data = mg.tensor(RNG.uniform(0.1, 1, parameter.shape))
    return model.double().eval()


def increment(layer, x):
    """Add in place: the array that is written to depends on what both arrays depend on."""
    y = F.relu(x)
    y += F.avg_pool2d(x, 5, 1, 2)
    return layer(y)


MODELS = {
    "convolution": lambda: nn.Conv2d(1, 2, (3, 2)),
    "padding and stride": lambda: nn.Conv2d(1, 1, 3, stride=(2, 3), padding=(1, 2)),
    "dilation": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2, padding=2), nn.Conv2d(2, 1, 2)),
    "pooling": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 1)),
    "strides": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.ReLU(), nn.Conv2d(1, 1, 2, 2)),
    "subsampling": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), Subsampling(2)),
    "residual": lambda: Function(lambda layer, x: x + F.relu(layer(x)), nn.Conv2d(1, 1, (3, 5), padding=(1, 2))),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 2)),
    "slices": lambda: Function(lambda layer, x: layer(x[:, :, 1::2, 3:]), nn.Conv2d(1, 1, 2)),
    "all from a row on": lambda: Function(lambda layer, x: layer(x[:, :, 2:]), nn.Conv2d(1, 1, 2)),
    "constant padding": lambda: Function(lambda layer, x: layer(F.pad(x, (1, 1, 1, 0))), nn.Conv2d(1, 1, 2)),
    "halving residual": lambda: mg.models.resnet.BasicBlock(1, 2, 2, mg.models.resnet.PaddedShortcut(2)),
    "in place": lambda: Function(increment, nn.Conv2d(1, 1, 3, padding=1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_trace_receptive_fields_equal_brute_force(name):
    model, sizes = positive(MODELS[name]()), (10, 12)
    layer = trace("test", model, np.zeros(sizes))[-1]
    for place, hull in brute_force(model, sizes).items():
        for field, i, length, (first, final) in zip(layer.fields, place, sizes, hull, strict=True):
            assert field.pixels(i, length) == range(first, final + 1)


def test_trace_receptive_field_of_max_pooling():
    assert last(nn.MaxPool2d(3, stride=2, padding=1), 8, 8).fields == 2 * (Field(-1, 2, 3),)


def test_trace_receptive_fields_of_lenet():
    sizes = [layer.fields and layer.fields[0].size for layer in trace("test", LeNet5(), photo(28, 28))]
    assert sizes[:6] == [5, 6, 6, 14, 16, 16]
    assert sizes[6:] == 6 * [None]


@pytest.mark.parametrize(
    "forward",
    [
        lambda layer, x: x - x.mean((2, 3), keepdim=True),
        lambda layer, x: F.conv2d(x, x[:, :, 1:3, 1:3]),
        lambda layer, x: F.conv2d(mg.ones(1, 1, 6, 6), x[:, :, 1:3, 1:3]),
        lambda layer, x: F.conv2d(x, mg.ones(1, 1, 6, 6)) + x,
        lambda layer, x: F.avg_pool2d(x, 2) + x[:, :, :3, :3],
        lambda layer, x: x.permute(0, 1, 3, 2),
        lambda layer, x: F.instance_norm(x),
        lambda layer, x: x[:, :, 1][:, :, None],
        lambda layer, x: x.flip(2),
    ],
    ids=[
        "mean",
        "weights from the image",
        "only the weights",
        "broadcast pixel",
        "two strides",
        "permute",
        "statistics of the image",
        "one row",
        "mirrored",
    ],
)
def test_trace_gives_no_field_where_an_output_may_depend_on_the_whole_image(forward):
    assert last(Function(lambda layer, x: F.relu(forward(layer, x))), 6, 6).fields is None


# --- the model does not change


def state(model):
    modules = list(model.modules())
    return (
        [module.training for module in modules],
        [(dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in modules],
        [sorted(vars(module)) for module in modules],
        [(id(p), p.grad, p.requires_grad, p.detach().numpy().tobytes()) for p in model.parameters()],
    )


def test_trace_does_not_change_the_model():
    model = Net()
    model.block.eval()
    model.stem.register_forward_hook(lambda module, args, out: None)
    model(mg.zeros(1, 1, 8, 8)).sum().backward()
    before = state(model)
    layers = trace("test", model, photo(2, 1, 8, 8))
    assert state(model) == before
    assert True in before[0] and False in before[0]
    assert layers and mg.is_grad_enabled()


@pytest.mark.parametrize("error", [KeyError, ShapeError])
def test_trace_does_not_change_the_model_after_an_error_in_forward(error):
    def forward(layer, x):
        layer(x)
        raise error("inside")

    model = nn.Sequential(Function(forward))
    model[0].layer.eval()
    before = state(model)
    with pytest.raises(error, match="inside"):
        trace("test", model, photo(5, 5))
    assert state(model) == before and mg.is_grad_enabled()
    assert names(nn.Sequential(nn.ReLU()), 5, 5) == ["0"], "the next trace is independent"


def test_trace_inside_profile_keeps_the_profile_active():
    with mg.profile(quiet=True) as profile:
        assert names(nn.ReLU(), 5, 5) == ["relu"]
        mg.ones(3) * 2
    assert profile.rows["mul"].calls == 1 and "relu" not in profile.rows


def test_trace_sees_operations_inside_mg_graph():
    doubled = mg.graph(lambda x: F.relu(x) * 2)
    assert names(Function(lambda layer, x: doubled(layer(x))), 5, 5) == ["layer", "relu", "mul"]


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_trace_runs_a_model_on_its_device(device):
    assert last(LeNet5().to(device), 28, 28).output.shape == (1, 10)


# --- errors


def test_trace_and_named_convolutions_refuse_what_is_no_module():
    for call in lambda: trace("test", max, photo(5, 5)), lambda: named_convolutions("test", max):
        with pytest.raises(ValidationError, match="test: model is a builtin_function_or_method; pass an nn.Module"):
            call()


def test_trace_refuses_a_model_that_runs_no_operation():
    with pytest.raises(ValidationError, match="test: Identity ran no operation on the images; return the result"):
        trace("test", nn.Identity(), photo(5, 5))


@pytest.mark.parametrize("shape", [(5,), (1, 1, 1, 5, 5), (0, 5), (0, 1, 5, 5)])
def test_trace_refuses_images_with_another_number_of_axes(shape):
    with pytest.raises(ShapeError, match=r"test: image has shape \(.*\); pass \(H, W\), \(C, H, W\) or \(N, C, H, W\)"):
        trace("test", nn.ReLU(), np.zeros(shape))


def test_trace_passes_on_the_error_of_a_layer_that_refuses_the_images():
    with pytest.raises(ShapeError, match="0.conv1: conv2d: weight reads 1 channels but x has 3"):
        trace("test", nn.Sequential(LeNet5()), photo(3, 28, 28))


def test_layer_index_and_named_convolutions_refuse_what_does_not_exist():
    layers = trace("test", nn.Sequential(nn.ReLU(), nn.Flatten()), photo(5, 5))
    with pytest.raises(ValidationError, match="test: there is no layer '7'; choose one of 0, 1"):
        layer_index("test", layers, "7")
    with pytest.raises(ValidationError, match="test: the model has no Conv2d, only Flatten, ReLU; pass a CNN"):
        named_convolutions("test", nn.Sequential(nn.ReLU(), nn.Flatten()))
    with pytest.raises(ValidationError, match="the model has no Conv2d, only itself"):
        named_convolutions("test", nn.ReLU())
