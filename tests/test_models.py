"""LeNet-5: number of parameters, names, shapes, gradients, and that it learns."""

import numpy as np
import pytest
from helpers import DEVICES

import minigrad as mg
from minigrad.errors import ShapeError, ValidationError
from minigrad.models import LeNet5, Subsampling
from minigrad.nn import functional as F

BOTH = pytest.mark.parametrize("classic", [False, True], ids=["modern", "classic"])


def count_parameters(model):
    """Return the number of elements of all parameters."""
    return sum(param.numel() for param in model.parameters())


def test_lenet_has_61706_parameters_and_44_more_if_classic():
    assert count_parameters(LeNet5()) == 61_706
    assert count_parameters(LeNet5(classic=True)) == 61_706 + 2 * (6 + 16)


def test_state_dict_of_lenet_has_the_usual_names_and_shapes():
    assert {name: tensor.shape for name, tensor in LeNet5().state_dict().items()} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }


@BOTH
@pytest.mark.parametrize("image_size", [28, 32])
def test_lenet_gives_one_logit_for_each_class(classic, image_size):
    model = LeNet5(classic, num_classes=7, in_channels=3, image_size=image_size)
    assert model(mg.zeros(2, 3, image_size, image_size)).shape == (2, 7)


@BOTH
def test_feature_maps_of_lenet_have_the_sizes_of_the_paper(classic):
    model, seen = LeNet5(classic), {}
    for name in ("conv1", "pool1", "conv2", "pool2"):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output.shape[1:]}))
    model(mg.zeros(1, 1, 28, 28))
    assert seen == {"conv1": (6, 28, 28), "pool1": (6, 14, 14), "conv2": (16, 10, 10), "pool2": (16, 5, 5)}


def test_lenet_pads_28_pixel_images_in_conv1():
    padded, wide = LeNet5(), LeNet5(image_size=32)
    wide.load_state_dict(padded.state_dict())
    x = mg.tensor(np.random.default_rng(0).random((2, 1, 28, 28), np.float32))
    with mg.no_grad():
        np.testing.assert_allclose(wide(F.pad(x, (2, 2, 2, 2))).numpy(), padded(x).numpy(), rtol=1e-5, atol=1e-6)


def test_lenet_names_the_layer_that_refuses_images_of_another_size():
    with pytest.raises(ShapeError, match=r"^fc1: Linear expects 400 features = 16x5x5, got 576 = 16x6x6; check the"):
        LeNet5()(mg.zeros(1, 1, 32, 32))
    with pytest.raises(ShapeError, match=r"^conv1: conv2d: weight reads 1 channels but x has 3"):
        LeNet5()(mg.zeros(1, 3, 28, 28))


def test_lenet_refuses_other_image_sizes():
    with pytest.raises(ValidationError, match="LeNet5: image_size is 64; use 28 or 32, and pad or resize other images"):
        LeNet5(image_size=64)


def test_subsampling_equals_its_formula():
    layer = Subsampling(2)
    layer.weight.data = mg.tensor([2.0, -1.0]).reshape(2, 1, 1)
    layer.bias.data = mg.tensor([0.5, 0.0]).reshape(2, 1, 1)
    x = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4) / 16
    means = x.reshape(1, 2, 1, 2, 2, 2).mean(axis=(3, 5))
    expected = np.tanh(means * np.reshape([2, -1], (2, 1, 1)) + np.reshape([0.5, 0], (2, 1, 1)))
    np.testing.assert_allclose(layer(mg.tensor(x)).detach().numpy(), expected, rtol=1e-5)


@BOTH
def test_gradients_of_lenet_on_cpu_equal_those_on_numpy(classic):
    gradients = []
    for device in DEVICES:
        mg.manual_seed(0)
        model = LeNet5(classic).double().to(device)
        x = mg.tensor(np.random.default_rng(0).normal(size=(5, 1, 28, 28)), device=device)
        F.cross_entropy(model(x), mg.arange(5).to(device)).backward()
        gradients.append({name: param.grad.numpy() for name, param in model.named_parameters()})
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


@BOTH
def test_lenet_learns_a_small_batch(classic):
    mg.manual_seed(0)
    model = LeNet5(classic)
    x = mg.tensor(np.random.default_rng(0).normal(size=(8, 1, 28, 28)).astype(np.float32))
    labels = mg.arange(8)
    for _ in range(60):
        loss = F.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()
        with mg.no_grad():
            for param in model.parameters():
                param -= 0.2 * param.grad
    assert loss.item() < 0.1
    assert model(x).argmax(1).tolist() == labels.tolist()
