"""Models: names and shapes of parameters, equality with torchvision, errors, gradients, and that they learn.

The numbers of torchvision were taken from version 0.29.
"""

from zlib import crc32

import numpy as np
import pytest
from helpers import DEVICES

import minigrad as mg
from minigrad import models, nn
from minigrad.errors import ShapeError, ValidationError
from minigrad.models import LeNet5, Subsampling, mobilenetv2, resnet, vgg
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


# ---- models of torchvision

FULL = {  # parameters, entries of the state_dict, and a checksum of their names and shapes
    "resnet18": (11_689_512, 122, 3269535270),
    "resnet34": (21_797_672, 218, 2402879462),
    "resnet50": (25_557_032, 320, 389688817),
    "densenet121": (7_978_856, 727, 337036915),
    "mobilenet_v2": (3_504_872, 314, 3710894366),
}
NAMES = {  # a checksum of the names in the state_dict
    "alexnet": 1905870282,
    "vgg11": 556228949,
    "vgg13": 2253520966,
    "vgg16": 2880851410,
    "vgg19": 205626632,
    "vgg11_bn": 2598320627,
    "vgg13_bn": 932826854,
    "vgg16_bn": 2918072520,
    "vgg19_bn": 3851949667,
}


@pytest.mark.parametrize("name", FULL)
def test_parameters_have_the_names_and_shapes_of_torchvision(name):
    model = getattr(models, name)(weights=None, progress=False)
    state = model.state_dict()
    listed = "\n".join(f"{key} {tuple(tensor.shape)}" for key, tensor in state.items())
    assert (count_parameters(model), len(state), crc32(listed.encode())) == FULL[name]


@pytest.fixture
def narrow(monkeypatch):
    """Make the dense layers of AlexNet and VGG small, which otherwise hold half a gigabyte."""
    monkeypatch.setattr(models.AlexNet, "hidden", 8)
    monkeypatch.setattr(models.VGG, "hidden", 8)


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_the_names_of_torchvision(name, narrow, monkeypatch):
    monkeypatch.setattr(vgg, "FILTERS", (2, 2, 2, 2, 2))
    assert crc32("\n".join(getattr(models, name)().state_dict()).encode()) == NAMES[name]


def test_vgg_and_alexnet_have_the_parameters_of_the_papers(narrow):
    """The dense layers of 4096 features are counted by their formula."""
    dense = (4096 + 1) * 4096 + (4096 + 1) * 1000
    of_vgg = count_parameters(vgg.make_layers(vgg.CONVOLUTIONS[16]))
    assert of_vgg + (512 * 49 + 1) * 4096 + dense == 138_357_544
    assert count_parameters(models.alexnet().features) + (256 * 36 + 1) * 4096 + dense == 61_100_840


def fill_by_formula(model):
    """Give entry i of the state_dict values that only depend on i, its name and its shape."""
    state = model.state_dict()
    for i, (name, tensor) in enumerate(state.items()):
        waves = np.cos(0.7 * np.arange(tensor.numel()) + i).reshape(tensor.shape)
        if name.endswith("running_var"):
            waves = 1 + 0.5 * waves
        elif tensor.ndim > 1:
            waves *= np.sqrt(0.5 / np.prod(tensor.shape[1:]))
        else:
            waves = name.endswith("weight") + 0.1 * waves
        if not name.endswith("num_batches_tracked"):
            state[name] = mg.tensor(waves.astype(np.float32))
    model.load_state_dict(state)


LOGITS = {  # the model, the side of its image, its parameters, and torchvision's logits
    "resnet18": (
        lambda: models.resnet18(num_classes=5), 32, 11_179_077, [-7.91343, 2.53441, 12.8414, 22.3356, 30.3801]
    ),
    "bottleneck": (
        lambda: models.ResNet(resnet.Bottleneck, [1, 2, 1, 1], num_classes=5), 32, 8_306_245,
        [4.70409, 15.6781, 11.3033, -4.16285, -15.6052],
    ),
    "densenet": (
        lambda: models.DenseNet(8, (2, 3), 16, num_classes=5), 32, 18_893,
        [-0.0360761, -0.118157, -0.0775127, 0.0420234, -0.00705768],
    ),
    "mobilenet": (
        lambda: models.mobilenet_v2(num_classes=5, width_mult=0.25), 32, 244_517,
        [0.495251, -0.914721, 1.24571, -0.770893, 0.169531],
    ),
    "alexnet": (
        lambda: models.alexnet(num_classes=5), 64, 2_543_549,
        [-0.0880508, -0.0767405, -0.0288392, 0.0336584, 0.0814292],
    ),
    "vgg11": (
        lambda: models.vgg11(num_classes=5), 32, 9_421_309,
        [-0.0623773, -0.0566856, -0.0234952, 0.0222095, 0.0589009],
    ),
    "vgg11_bn": (
        lambda: models.vgg11_bn(num_classes=5), 32, 9_426_813, [0.00645276, 0.0837027, 0.12247, 0.104316, 0.0372702]
    ),
    "vit": (
        lambda: models.VisionTransformer(32, 8, 2, num_heads=4, hidden_dim=16, mlp_dim=24, num_classes=5), 32, 7_413,
        [-0.0906121, 0.478458, 0.392735, -0.256793, -0.509697],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGITS)
def test_logits_equal_those_of_torchvision(name, narrow):
    build, side, parameters, expected = LOGITS[name]
    model = build().eval()
    assert count_parameters(model) == parameters
    fill_by_formula(model)
    x = np.sin(0.3 * np.arange(3 * side * side)).reshape(1, 3, side, side)
    with mg.no_grad():
        logits = model(mg.tensor(x.astype(np.float32)))[0].numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "densenet121", "mobilenet_v2", "alexnet", "vgg16_bn"])
@pytest.mark.parametrize("setting", [{"weights": "DEFAULT"}, {"pretrained": True}], ids=["weights", "pretrained"])
def test_weights_are_not_downloaded(name, setting):
    (written,) = (f"{key}={value!r}" for key, value in setting.items())
    expected = f"{name}: {written}, but nothing is downloaded; leave it out and load a file: model.load_state_dict"
    with pytest.raises(ValidationError, match=f"^{expected}\\(mg.load\\('{name}.pth'\\)\\)$"):
        getattr(models, name)(**setting)


def test_initial_weights_have_the_spread_of_torchvision(narrow):
    mg.manual_seed(0)
    dense = models.DenseNet(16, (1,), 64).features
    spreads = {
        "ResNet, sqrt(2 / fan_out)": (models.ResNet(resnet.BasicBlock, [1] * 4).layer2[0].conv2, (2 / 1152) ** 0.5),
        "DenseNet, sqrt(2 / fan_in)": (dense.denseblock1.denselayer1.conv1, (2 / 64) ** 0.5),
        "MobileNetV2, dense": (models.mobilenet_v2(num_classes=20).classifier[1], 0.01),
        "VGG, dense": (models.vgg11().classifier[0], 0.01),
    }
    for name, (layer, expected) in spreads.items():
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05), name


def test_blocks_of_a_resnet_can_begin_as_the_identity():
    model = models.ResNet(resnet.Bottleneck, [2, 1, 1, 1], zero_init_residual=True)
    x = mg.tensor(np.random.default_rng(0).random((2, 256, 4, 4), np.float32))
    with mg.no_grad():
        np.testing.assert_allclose(model.layer1[1](x).numpy(), x.numpy(), rtol=1e-6)


# ---- models for small images


def test_cifar_resnets_have_the_parameters_of_the_paper():
    assert count_parameters(models.resnet20()) == 269_722
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in models.resnet8().modules()) == 8
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in models.resnet20().modules()) == 20


def test_mnist_net_has_114162_parameters_and_feature_maps_of_the_sizes_that_it_says():
    model, seen = models.MnistNet(), []
    for layer in (model.bn1, model.bn2, model.bn3):
        layer.register_forward_hook(lambda module, args, output: seen.append(output.shape[1:]))
    assert model(mg.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert seen == [(24, 12, 12), (48, 5, 5), (64, 3, 3)]
    assert count_parameters(model) == 114_162


def test_padded_shortcut_keeps_every_second_pixel():
    x = mg.arange(50.0).reshape(1, 2, 5, 5)
    out = resnet.PaddedShortcut(5)(x)
    np.testing.assert_array_equal(out[:, 1:3].numpy(), x.numpy()[:, :, ::2, ::2])
    assert out.shape == (1, 5, 3, 3) and not out[:, [0, 3, 4]].any()


def test_channels_of_mobilenet_are_multiples_of_8_and_not_much_smaller():
    assert [mobilenetv2._make_divisible(value, 8) for value in (3, 11, 12, 17, 19, 20)] == [8, 16, 16, 16, 24, 24]


SMALL = {  # a model and the shape of its images
    "mnist_net": (models.MnistNet, (2, 1, 28, 28)),
    "resnet8": (lambda: models.resnet8(width=4), (2, 3, 12, 12)),
    "densenet": (lambda: models.DenseNet(4, (2, 2), 8, num_classes=10, small_images=True), (2, 3, 8, 8)),
    "mobilenet": (
        lambda: models.MobileNetV2(10, 0.25, [(1, 8, 1, 1), (6, 8, 2, 2)], dropout=0.0), (2, 3, 12, 12)
    ),
    "unet": (lambda: models.UNet(2, 10, width=3, depth=2), (2, 2, 8, 12)),
    "vit": (
        lambda: models.VisionTransformer(8, 4, 1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=10, in_channels=1),
        (2, 1, 8, 8),
    ),
}  # fmt: skip


def loss_of(model, x):
    """The cross-entropy of class 1 at every place of the logits."""
    logits = model(x)
    return F.cross_entropy(logits, mg.ones(*logits[:, 0].shape, dtype=mg.int64, device=x.device))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_on_cpu_equal_those_on_numpy(name):
    build, shape = SMALL[name]
    gradients = []
    for device in DEVICES:
        model = build()
        fill_by_formula(model)
        model.double().to(device)
        loss_of(model, mg.tensor(np.random.default_rng(0).normal(size=shape), device=device)).backward()
        gradients.append({name: param.grad.numpy() for name, param in model.named_parameters()})
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], rtol=1e-7, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("name", SMALL)
def test_recorded_training_equals_plain_training(name):
    build, shape = SMALL[name]
    x = mg.tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    losses = []
    for record in (lambda step: step, mg.graph):
        mg.manual_seed(0)
        model = build()
        optimizer = mg.optim.SGD(model.parameters(), lr=0.01)

        def step(x, model=model, optimizer=optimizer):
            loss = loss_of(model, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = record(step)
        losses.append([run(x).item() for _ in range(4)])
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_models_name_what_refuses_wrong_images():
    refused = [
        (models.resnet8(width=4), (1, 1, 32, 32), "^conv1: conv2d: weight reads 3 channels but x has 1"),
        (
            models.UNet(1, 2, width=2, depth=3),
            (1, 1, 28, 32),
            "^UNet: images have 28x32 pixels, expected multiples of 8",
        ),
        (models.UNet(1, 2, width=2, depth=1), (1, 3, 8, 8), "^down.0.0: conv2d: weight reads 1 channels but x has 3"),
        (models.MnistNet(), (1, 1, 32, 32), "^fc1: Linear expects 576 features"),
        (SMALL["vit"][0](), (1, 1, 8, 12), "^VisionTransformer: images have 8x12 pixels, expected 8x8; resize them"),
    ]
    for model, shape, message in refused:
        with pytest.raises(ShapeError, match=message):
            model(mg.zeros(*shape))


def test_vision_transformer_refuses_patches_that_do_not_fill_the_image():
    expected = "^VisionTransformer: image_size 28 is no multiple of patch_size 8; choose another$"
    with pytest.raises(ValidationError, match=expected):
        models.VisionTransformer(28, 8, 1, 2, 8, 8)


def test_vision_transformer_reads_the_class_token_after_attention():
    """Its logits are 0 at first, and later depend on every patch."""
    mg.manual_seed(0)
    model = SMALL["vit"][0]()
    x = mg.randn(1, 1, 8, 8, requires_grad=True)
    assert not model(x).any()
    nn.init.normal_(model.heads.head.weight)
    model(x)[0, 0].backward()
    assert x.grad.abs().min().item() > 0
