"""Modules and containers: what they register, show, save and load, and what they refuse."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import DeviceError, DtypeError, GraphError, MinigradError, ShapeError, StateError, ValidationError


class Net(nn.Module):
    """A small model with a nested module."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(self.drop(self.features(x)).flatten(1))


class Scaled(nn.Module):
    """A module with a parameter, two buffers and a parameter that is None."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(mg.ones(3))
        self.register_parameter("bias", None)
        self.register_buffer("mean", mg.zeros(3))
        self.register_buffer("count", mg.tensor(0), persistent=False)

    def forward(self, x):
        return (x - self.mean) * self.weight


def names(pairs):
    """Return the first element of every pair."""
    return [name for name, _ in pairs]


def values(model):
    """Return copies of all tensors of the state, as arrays."""
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


# ---- Parameter


def test_parameter_shares_the_memory_of_its_tensor():
    source = mg.zeros(2)
    param = nn.Parameter(source)
    source += 1
    assert isinstance(param, mg.Tensor)
    assert (param.requires_grad, source.requires_grad) == (True, False)
    assert param.tolist() == [1, 1]


def test_parameter_from_numbers_without_gradient():
    assert not nn.Parameter([1.0, 2.0], requires_grad=False).requires_grad


def test_parameter_from_a_result_is_a_leaf():
    x = mg.ones(2, requires_grad=True)
    assert nn.Parameter(x * 2).is_leaf


def test_parameter_of_integers_is_refused():
    with pytest.raises(DtypeError, match="only float tensors have gradients, this one is int64"):
        nn.Parameter([1, 2])


def test_repr_of_parameter_is_pytorchs():
    assert repr(nn.Parameter([1.0])) == "Parameter containing:\ntensor([1.], requires_grad=True)"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_of_a_model_are_equal_and_independent(clone):
    model = Net()
    twin = clone(model)
    assert all(type(param) is nn.Parameter and param.requires_grad for param in twin.parameters())
    np.testing.assert_equal(values(twin), values(model))
    with mg.no_grad():
        twin.fc.bias += 1
    assert (twin.fc.bias - model.fc.bias).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_of_a_model_share_a_layer_that_the_model_shares(clone):
    layer = nn.Linear(2, 2)
    twin = clone(nn.Sequential(layer, layer))
    assert twin[0] is twin[1]
    assert len(list(twin.parameters())) == 2


# ---- registration


def test_named_parameters_are_in_the_order_of_registration():
    assert names(Net().named_parameters()) == ["features.0.weight", "features.0.bias", "fc.weight", "fc.bias"]
    assert names(Net().named_parameters("net", recurse=False)) == []
    assert names(nn.Linear(1, 1).named_parameters("net")) == ["net.weight", "net.bias"]


def test_a_parameter_that_is_none_is_not_listed():
    module = Scaled()
    assert module.bias is None
    assert names(module.named_parameters()) == ["weight"]
    module.bias = nn.Parameter(mg.zeros(3))
    assert names(module.named_parameters()) == ["weight", "bias"]


def test_buffers_are_listed_and_can_be_replaced():
    module = Scaled()
    module.mean = mg.ones(3)
    assert names(module.named_buffers()) == ["mean", "count"]
    assert [buffer.tolist() for buffer in module.buffers()] == [[1, 1, 1], 0]


def test_shared_parameters_and_modules_are_listed_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert names(model.named_parameters()) == ["0.weight", "0.bias", "1.bias"]
    layer = nn.ReLU()
    assert len(list(nn.Sequential(layer, layer).children())) == 1
    assert len(list(nn.Sequential(layer, layer).modules())) == 2


def test_state_dict_has_all_names_of_a_shared_parameter():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_named_children_and_named_modules_have_their_paths():
    model = Net()
    assert names(model.named_children()) == ["features", "drop", "fc"]
    assert names(model.named_modules()) == ["", "features", "features.0", "features.1", "features.2", "drop", "fc"]


def test_a_module_can_be_replaced_by_none():
    model = Net()
    model.drop = None
    assert model.drop is None
    assert names(model.named_children()) == ["features", "fc"]


def test_a_member_that_is_replaced_by_another_type_is_registered_once():
    module = Scaled()
    module.mean = nn.Parameter(mg.zeros(3))
    assert names(module.named_buffers()) == ["count"]
    assert names(module.named_parameters()) == ["weight", "mean"]
    module.note = "plain"
    module.note = nn.Linear(1, 1)
    assert "note" not in vars(module)


@pytest.mark.parametrize("name", ["weight", "mean", "fc", "note"])
def test_members_can_be_deleted(name):
    module = Scaled()
    module.fc, module.note = nn.Linear(1, 1), 1
    delattr(module, name)
    assert not hasattr(module, name)
    assert name not in dir(module)


def test_dir_lists_the_members():
    assert {"features", "fc", "training"} <= set(dir(Net()))


def test_get_submodule_and_get_parameter_take_a_path():
    model = Net()
    assert model.get_submodule("") is model
    assert model.get_submodule("features.0") is model.features[0]
    assert model.get_parameter("features.0.weight") is model.features[0].weight


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda model: model.get_submodule("features.7"), "Sequential has no attribute '7'"),
        (
            lambda model: model.get_submodule("fc.weight"),
            "get_submodule: 'weight' in 'fc.weight' is a Parameter, not a Module",
        ),
        (lambda model: model.get_parameter("fc"), "get_parameter: 'fc' is a Linear, not a Parameter"),
        (lambda model: model.get_parameter("fc.wieght"), "Linear has no attribute 'wieght'; did you mean 'weight'?"),
    ],
)
def test_get_submodule_and_get_parameter_name_a_wrong_path(search, message):
    with pytest.raises(AttributeError, match=message):
        search(Net())


def test_a_misspelt_attribute_is_an_error_with_the_nearest_name():
    with pytest.raises(AttributeError, match=r"^Net has no attribute 'faetures'; did you mean 'features'\?$"):
        _ = Net().faetures
    with pytest.raises(AttributeError, match=r"^Net has no attribute 'xyzzy'$"):
        _ = Net().xyzzy
    with pytest.raises(AttributeError, match=r"^Net has no attribute 'xyzzy'$"):
        del Net().xyzzy


def test_an_attribute_error_inside_a_property_is_shown():
    class Broken(nn.Module):
        @property
        def size(self):
            return self.missing_size

    with pytest.raises(AttributeError, match="Broken has no attribute 'missing_size'"):
        _ = Broken().size


def test_members_assigned_before_super_init_are_refused():
    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    class Forgetful(nn.Module):
        def __init__(self):
            self.width = 3

    with pytest.raises(AttributeError, match=r"Early: 'fc' is assigned too early; call super\(\).__init__\(\) first"):
        Early()
    with pytest.raises(AttributeError, match=r"Forgetful has no attribute '\w+'; call super\(\).__init__\(\) first"):
        Forgetful()(1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "weight",
            mg.ones(3),
            "Scaled: 'weight' is a Parameter, so it cannot be a plain Tensor; wrap it in nn.Parameter",
        ),
        ("weight", 3, "Scaled: 'weight' is a Parameter, so it cannot be an int; use None"),
        ("mean", [0.0], "Scaled: 'mean' is a Tensor, so it cannot be a list; use None"),
        (
            "fc",
            nn.ReLU,
            r"Scaled: 'fc' is a Module, so it cannot be the class ReLU; create an instance: ReLU\(\.\.\.\)",
        ),
    ],
)
def test_a_member_cannot_be_replaced_by_another_type(name, value, message):
    module = Scaled()
    module.fc = nn.Linear(1, 1)
    with pytest.raises(DtypeError, match=message):
        setattr(module, name, value)


def test_a_class_as_a_layer_is_refused():
    with pytest.raises(
        DtypeError, match="Sequential: '1' is a Module, so it cannot be the class ReLU; create an instance"
    ):
        nn.Sequential(nn.Linear(1, 1), nn.ReLU)


@pytest.mark.parametrize("name", ["", "a.b", 3])
def test_member_names_must_be_words_without_dots(name):
    with pytest.raises(ValidationError, match=f"Scaled: {name!r} cannot name a member; use a word without dots"):
        Scaled().register_buffer(name, None)


@pytest.mark.parametrize("name", ["train", "training", "weight", "fc"])
def test_a_member_name_of_another_attribute_is_refused(name):
    module = Scaled()
    module.fc = nn.Linear(1, 1)
    with pytest.raises(ValidationError, match=f"Scaled: the name '{name}' is taken by another attribute; choose"):
        module.register_buffer(name, mg.zeros(1))


# ---- forward and hooks


def test_calling_a_module_passes_all_arguments_to_forward():
    class Add(nn.Module):
        def forward(self, x, *, y):
            return x + y

    assert Add()(1, y=2) == 3


def test_a_module_without_forward_is_named():
    class Empty(nn.Module):
        pass

    message = r"Empty: there is no forward; define forward\(self, x\) in class Empty"
    with pytest.raises(NotImplementedError, match=message):
        Empty()(mg.ones(1))
    with pytest.raises(NotImplementedError, match="ModuleList: there is no forward"):
        nn.ModuleList()(mg.ones(1))


def test_hooks_get_arguments_and_output_until_they_are_removed():
    layer, seen = nn.ReLU(), []
    before = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].tolist()))
    after = layer.register_forward_hook(lambda module, args, output: seen.append(output.tolist()))
    layer(mg.tensor([-1.0]))
    before.remove()
    after.remove()
    after.remove()
    layer(mg.tensor([-2.0]))
    assert seen == [[-1.0], [0.0]]


def test_hooks_may_replace_arguments_and_output():
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    layer.register_forward_hook(lambda module, args, output: output * 10)
    assert layer(1) == 40


def test_a_hook_handle_is_a_context_manager_and_a_hook_may_remove_itself():
    layer, seen = nn.Identity(), []
    with layer.register_forward_hook(lambda module, args, output: seen.append(output)):
        layer(1)
    handle = layer.register_forward_hook(lambda module, args, output: handle.remove())
    layer(2)
    layer(3)
    assert seen == [1]
    assert not layer._forward_hooks


# ---- paths of layers in errors


def test_an_error_names_the_path_of_its_layer():
    with pytest.raises(ShapeError, match=r"^features\.0: conv2d: weight reads 1 channels but x has 3 ") as caught:
        Net()(mg.zeros(2, 3, 8, 8))
    assert caught.traceback[-1].name == "_check_channels"


def test_an_error_in_a_nested_model_names_the_whole_path():
    model = nn.Sequential(OrderedDict(first=Net(), last=nn.Identity()))
    with pytest.raises(ShapeError, match=r"^first\.features\.0: conv2d: "):
        model(mg.zeros(2, 3, 8, 8))


def test_an_error_names_the_path_of_a_layer_in_a_module_list():
    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(4, 3)])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    with pytest.raises(ShapeError, match=r"^blocks\.1: Linear expects 4 features, got 3"):
        Tower()(mg.zeros(2, 3))


def test_a_dtype_error_names_the_path_of_its_layer():
    with pytest.raises(DtypeError, match=r"^1: linear: x is float64, weight is float32"):
        nn.Sequential(nn.Identity(), nn.Linear(3, 3))(mg.zeros(2, 3, dtype=mg.float64))


def test_an_error_of_a_single_layer_has_no_path():
    with pytest.raises(ShapeError, match=r"^Linear expects 4 features, got 3 in x"):
        nn.Linear(4, 2)(mg.zeros(2, 3))


def test_an_error_of_the_model_itself_has_no_path():
    class Picky(nn.Module):
        def forward(self, x):
            raise MinigradError("picky: not today")

    with pytest.raises(MinigradError, match=r"^picky: not today$"):
        Picky()(mg.ones(1))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (mg.zeros(2, 64), r"Linear expects 400 features, got 64 in x \(2, 64\); build the layer with in_features=64"),
        (
            mg.zeros(2, 16, 5, 5),
            r"Linear expects 400 features, got 5 in x \(2, 16, 5, 5\); flatten it first, with x.flatten\(1\)",
        ),
        (
            mg.zeros(2, 16, 4, 4, requires_grad=True).flatten(1),
            "Linear expects 400 features = 16x5x5, got 256 = 16x4x4; check the padding of the layers before it",
        ),
        (
            mg.zeros(2, 3, 4, 4, requires_grad=True).flatten(1),
            "Linear expects 400 features, got 48 = 3x4x4; check the padding",
        ),
        (
            mg.zeros(4, requires_grad=True).reshape(1, 4),
            r"Linear expects 400 features, got 4 in x \(1, 4\); build the layer",
        ),
    ],
)
def test_linear_names_the_expected_and_the_given_features(x, message):
    with pytest.raises(ShapeError, match=message):
        nn.Linear(400, 120)(x)


def test_linear_refuses_a_single_number():
    with pytest.raises(ShapeError, match="linear: x is a single number"):
        nn.Linear(1, 1)(mg.tensor(1.0))


# ---- train, apply, to, requires_grad_, zero_grad


def test_train_and_eval_switch_every_module():
    model = Net()
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())
    with pytest.raises(DtypeError, match=r"train: mode is 10, expected True or False; train\(\) sets the mode"):
        model.train(10)


def test_apply_visits_children_before_their_parent():
    seen = []
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert model.apply(seen.append) is model
    assert seen == [model[0], model[1], model]


def test_to_moves_values_and_gradients_and_keeps_the_parameter_objects():
    model = Net()
    model(mg.ones(1, 1, 8, 8)).sum().backward()
    before = list(model.parameters())
    assert model.to("numpy") is model
    assert all(new is old for new, old in zip(model.parameters(), before, strict=True))
    assert all(param.device == "numpy" and param.grad.device == "numpy" for param in before)
    assert model(mg.ones(1, 1, 8, 8, device="numpy")).device == "numpy"
    assert model.cpu().fc.weight.device == "cpu"


def test_double_and_float_convert_float_tensors_only():
    module = Scaled().double()
    assert (module.weight.dtype, module.mean.dtype, module.count.dtype) == (mg.float64, mg.float64, mg.int64)
    assert module.weight.requires_grad
    assert module.float().weight.dtype == mg.float32
    assert module.to("numpy", mg.float64).count.device == "numpy"


def test_to_the_same_device_and_dtype_keeps_the_graph_valid():
    layer = nn.Linear(2, 2)
    loss = layer(mg.ones(1, 2, requires_grad=True)).sum()
    layer.to("cpu", mg.float32)
    loss.backward()
    assert layer.weight.grad is not None


def test_to_refuses_integers_and_unknown_devices_and_changes_nothing():
    layer = nn.Linear(2, 2)
    with pytest.raises(
        DtypeError, match="to: a module cannot become int64, because it learns fractions; use float32 or float64"
    ):
        layer.to(mg.int64)
    with pytest.raises(DeviceError, match="'tpu' is unknown"):
        layer.to("tpu")
    assert (layer.weight.dtype, layer.weight.device) == (mg.float32, "cpu")


def test_cuda_moves_the_parameters_or_is_refused():
    layer = nn.Linear(2, 2)
    if mg.cuda.is_available():
        assert layer.cuda().weight.device.type == "cuda"
    else:
        with pytest.raises(DeviceError, match="cuda"):
            layer.cuda()


def test_requires_grad_switches_all_parameters():
    model = Net()
    assert model.requires_grad_(False) is model
    assert not any(param.requires_grad for param in model.parameters())
    assert all(param.requires_grad for param in model.requires_grad_().parameters())


def test_zero_grad_of_a_module_fills_gradients_or_sets_them_to_none():
    layer = nn.Linear(2, 1)
    layer(mg.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0]]
    layer.zero_grad()
    assert layer.weight.grad is None


# ---- state_dict and load_state_dict


def test_state_dict_has_the_keys_and_shapes_of_pytorch():
    shapes = {name: tensor.shape for name, tensor in Net().state_dict().items()}
    assert shapes == {"features.0.weight": (4, 1, 3, 3), "features.0.bias": (4,), "fc.weight": (3, 64), "fc.bias": (3,)}


def test_state_dict_has_parameters_and_persistent_buffers_detached():
    state = Scaled().state_dict(prefix="scale.")
    assert list(state) == ["scale.weight", "scale.mean"]
    assert not any(tensor.requires_grad for tensor in state.values())
    assert all(type(tensor) is mg.Tensor for tensor in state.values())


def test_load_state_dict_of_a_state_dict_gives_equal_models():
    first, second = Net(), Net()
    keys = second.load_state_dict(first.state_dict())
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert repr(keys) == "<All keys matched successfully>"
    np.testing.assert_equal(values(second), values(first))


def test_load_state_dict_takes_and_converts_numpy_arrays():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1, 2]]), "bias": np.array([3.0])})
    assert layer.weight.dtype == mg.float32
    assert (layer.weight.tolist(), layer.bias.tolist()) == ([[1, 2]], [3])


def test_load_state_dict_writes_in_place():
    model = Net()
    params, arrays = list(model.parameters()), [param.array for param in model.parameters()]
    model.load_state_dict(Net().state_dict())
    assert all(new is old for new, old in zip(model.parameters(), params, strict=True))
    assert all(param.array is array for param, array in zip(params, arrays, strict=True))


def test_backward_refuses_if_load_state_dict_changed_a_saved_parameter():
    layer = nn.Linear(2, 2)
    loss = layer(mg.ones(1, 2, requires_grad=True)).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(GraphError, match="was changed in place"):
        loss.backward()


def test_load_state_dict_lists_everything_that_does_not_fit_and_changes_nothing():
    model = Net()
    before = values(model)
    state = model.state_dict() | {"fc.weight": mg.zeros(10, 64), "fc9.bias": mg.zeros(3), "features.0.weight": [1.0]}
    del state["fc.bias"]
    with pytest.raises(StateError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: the state does not fit Net:\n"
        "  missing: fc.bias\n"
        "  unexpected: fc9.bias\n"
        "  features.0.weight: a list in the state, (4, 1, 3, 3) in the model\n"
        "  fc.weight: (10, 64) in the state, (3, 64) in the model\n"
        "build the model with the settings it was saved with; strict=False skips missing and unexpected keys"
    )
    np.testing.assert_equal(values(model), before)


def test_load_state_dict_without_strict_returns_missing_and_unexpected_keys():
    layer = nn.Linear(2, 1)
    keys = layer.load_state_dict({"weight": mg.ones(1, 2), "scale": mg.ones(1)}, strict=False)
    assert keys == (["bias"], ["scale"])
    assert repr(keys) == "IncompatibleKeys(missing_keys=['bias'], unexpected_keys=['scale'])"
    assert layer.weight.tolist() == [[1, 1]]


def test_load_state_dict_without_strict_refuses_other_shapes():
    with pytest.raises(StateError, match=r"weight: \(3, 3\) in the state, \(1, 2\) in the model\nbuild .* saved with$"):
        nn.Linear(2, 1).load_state_dict({"weight": mg.ones(3, 3)}, strict=False)


def test_load_state_dict_refuses_values_that_are_not_numeric_and_changes_nothing():
    layer = nn.Linear(2, 1)
    before = values(layer)
    with pytest.raises(DtypeError, match="is not numeric"):
        layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.array(["a"])})
    np.testing.assert_equal(values(layer), before)


def test_load_state_dict_refuses_a_file_name():
    with pytest.raises(StateError, match="load_state_dict: expected a dict of tensors, got a str; give the state_dict"):
        Net().load_state_dict("model.safetensors")


# ---- repr


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Linear(400, 120), "Linear(in_features=400, out_features=120, bias=True)"),
        (nn.Linear(4, 2, bias=False), "Linear(in_features=4, out_features=2, bias=False)"),
        (nn.Conv2d(3, 6, 5), "Conv2d(3, 6, kernel_size=(5, 5), stride=(1, 1))"),
        (nn.Conv2d(1, 6, kernel_size=5, padding=2), "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))"),
        (
            nn.Conv2d(4, 6, (3, 5), 2, 1, 2, 2, bias=False),
            "Conv2d(4, 6, kernel_size=(3, 5), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False)",
        ),
        (nn.Conv2d(1, 1, 3, padding="same"), "Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1), padding=same)"),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (
            nn.MaxPool2d((3, 2), stride=1, padding=1),
            "MaxPool2d(kernel_size=(3, 2), stride=1, padding=1, dilation=1, ceil_mode=False)",
        ),
        (nn.AvgPool2d(2, 1), "AvgPool2d(kernel_size=2, stride=1, padding=0)"),
        (nn.ReLU(), "ReLU()"),
        (nn.ReLU(inplace=True), "ReLU(inplace=True)"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.LeakyReLU(inplace=True), "LeakyReLU(negative_slope=0.01, inplace=True)"),
        (nn.Tanh(), "Tanh()"),
        (nn.Sigmoid(), "Sigmoid()"),
        (nn.Softmax(dim=1), "Softmax(dim=1)"),
        (nn.LogSoftmax(-1), "LogSoftmax(dim=-1)"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
        (nn.Identity(54, unused=1), "Identity()"),
        (nn.Dropout(), "Dropout(p=0.5, inplace=False)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.NLLLoss(), "NLLLoss()"),
        (nn.MSELoss(), "MSELoss()"),
        (nn.Sequential(), "Sequential()"),
        (nn.ModuleDict({"a": nn.ReLU()}), "ModuleDict(\n  (a): ReLU()\n)"),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, nn.Module) else "",
)
def test_repr_of_layers_is_pytorchs(layer, text):
    assert repr(layer) == text


def test_repr_of_a_model_shows_nested_modules_indented():
    assert (
        repr(Net())
        == """Net(
  (features): Sequential(
    (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    (1): ReLU()
    (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
  )
  (drop): Dropout(p=0.25, inplace=False)
  (fc): Linear(in_features=64, out_features=3, bias=True)
)"""
    )


def test_repr_shows_several_lines_of_extra_repr_above_the_modules():
    class Noted(nn.Sequential):
        def extra_repr(self):
            return "first\nsecond"

    assert repr(Noted(nn.ReLU())) == "Noted(\n  first\n  second\n  (0): ReLU()\n)"
    assert repr(Noted()) == "Noted(\n  first\n  second\n)"


def test_repr_of_module_list_shows_equal_neighbours_once():
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Tanh(), nn.Sequential(nn.ReLU())])
    assert (
        repr(layers)
        == """ModuleList(
  (0): ReLU()
  (1-2): 2 x Tanh()
  (3): Sequential(
    (0): ReLU()
  )
)"""
    )


# ---- containers


def test_sequential_runs_its_layers_in_order():
    assert nn.Sequential(nn.ReLU(), nn.Flatten(0))(mg.tensor([[-1.0, 2.0]])).tolist() == [0, 2]
    assert nn.Sequential()(7) == 7


def test_sequential_of_an_ordered_dict_keeps_the_names():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), act=nn.ReLU()))
    assert model.conv is model[0]
    assert names(model.named_children()) == ["conv", "act"]
    assert names(model[1:].named_children()) == ["act"]


@pytest.mark.parametrize(
    "kind", [nn.Sequential, lambda *layers: nn.ModuleList(layers)], ids=["Sequential", "ModuleList"]
)
def test_sequential_and_module_list_behave_like_lists(kind):
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    row = kind(a, b)
    assert row.append(c) is row
    assert (len(row), list(row), row[0], row[-1]) == (3, [a, b, c], a, c)
    assert type(row[:2]) is type(row)
    assert list(row[:2]) == [a, b]
    row[-1] = a
    assert list(row.extend([b])) == [a, b, a, b]
    with pytest.raises(IndexError, match=f"{type(row).__name__}: index 4 is out of range for 4 modules; use -4 to 3"):
        row[4]
    with pytest.raises(DtypeError, match=f"{type(row).__name__}: index is '0'; use a whole number or a slice"):
        row["0"]


def test_slices_of_sequential_share_its_layers():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert model[:1][0] is model[0]


def test_module_dict_behaves_like_a_dict():
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    assert (len(heads), list(heads), "b" in heads) == (2, ["a", "b"], True)
    assert list(heads.keys()) == ["a", "b"]
    assert list(heads.items()) == list(zip(heads, heads.values(), strict=True))
    del heads["b"]
    assert names(heads.named_parameters()) == ["a.weight", "a.bias"]
    with pytest.raises(DtypeError, match="ModuleDict: expected a dict of modules, got list"):
        nn.ModuleDict([nn.ReLU()])


def test_deleting_modules_renumbers_the_others():
    a, b, c, d = (nn.Linear(1, 1) for _ in range(4))
    modules = nn.ModuleList([a, b, c, d])
    del modules[0]
    assert [name for name, _ in modules.named_children()] == ["0", "1", "2"]
    assert list(modules) == [b, c, d]
    del modules[-1:]
    assert list(modules) == [b, c]
    with pytest.raises(IndexError, match="ModuleList: index 2 is out of range for 2 modules; use -2 to 1"):
        del modules[2]
    named = nn.Sequential(OrderedDict(conv=a, act=b, last=c))
    del named[1]
    assert [name for name, _ in named.named_children()] == ["conv", "last"]


def test_append_to_a_slice_of_sequential_replaces_no_module():
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())[1:]
    assert len(model.append(nn.Flatten())) == 3


@pytest.mark.parametrize("container", [nn.Sequential(nn.ReLU()), nn.ModuleList([nn.ReLU()])])
def test_containers_refuse_an_index_that_is_no_whole_number(container):
    with pytest.raises(DtypeError, match=f"{type(container).__name__}: index is '0'; use a whole number or a slice"):
        container["0"]


@pytest.mark.parametrize(
    "package",
    [nn, nn.functional, nn.init, mg.optim, mg.optim.lr_scheduler, mg.data, mg.datasets],
    ids=lambda package: package.__name__,
)
def test_dir_of_a_package_lists_its_public_names(package):
    assert dir(package) == sorted(package.__all__)
    assert all(hasattr(package, name) and not name.startswith("_") for name in package.__all__)
