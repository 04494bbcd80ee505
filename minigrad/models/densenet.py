"""DenseNet: each layer sees the feature maps of all layers before it in its block.

Source: G. Huang, Z. Liu, L. van der Maaten and K. Weinberger, "Densely connected convolutional networks", 2017.
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..creation import cat
from ..nn import functional as F
from ..tensors import Tensor
from .building import initialize, without_download, zero_bias


class DenseLayer(nn.Module):
    """A 1x1 convolution that reduces the channels, and a 3x3 convolution that makes `growth_rate` new ones."""

    def __init__(self, channels: int, growth_rate: int, bn_size: int, drop_rate: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(F.relu(self.norm1(x)))
        return F.dropout(self.conv2(F.relu(self.norm2(reduced))), self.drop_rate, self.training)


class DenseBlock(nn.Module):
    """`count` dense layers; the result has the channels of x, and then those of each layer."""

    def __init__(self, count: int, channels: int, growth_rate: int, bn_size: int, drop_rate: float):
        super().__init__()
        for i in range(count):
            layer = DenseLayer(channels + i * growth_rate, growth_rate, bn_size, drop_rate)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = cat([x, layer(x)], 1)
        return x


class DenseNet(nn.Module):
    """Dense blocks, between which the channels and the sides of the images are halved, with torchvision's names.

    growth_rate         channels that each layer adds
    block_config        number of layers in each block
    num_init_features   channels before the first block
    bn_size             channels between the two convolutions of a layer, divided by growth_rate
    drop_rate           0 to 1   probability that a new channel's element is set to 0 in training
    num_classes         number of classes
    small_images        True: begin with a 3x3 convolution, for images of 32x32; False: with one of 7x7 and pooling
    x, returns          (N, 3, H, W), (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels, or are too small
    Source   Huang et al. 2017, table 1; for small images section 3, DenseNet-BC
    Example
    >>> import minigrad as mg
    >>> model = DenseNet(4, (2, 2, 2), num_init_features=8, num_classes=10, small_images=True)
    >>> model(mg.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self, growth_rate: int = 32, block_config: Sequence[int] = (6, 12, 24, 16), num_init_features: int = 64,
        bn_size: int = 4, drop_rate: float = 0, num_classes: int = 1000, *, small_images: bool = False,
    ):  # fmt: skip
        super().__init__()
        channels = num_init_features
        self.features = _stem(channels, small_images)
        for i, count in enumerate(block_config):
            if i > 0:
                self.features.add_module(f"transition{i}", _transition(channels, channels // 2))
                channels //= 2
            block = DenseBlock(count, channels, growth_rate, bn_size, drop_rate)
            self.features.add_module(f"denseblock{i + 1}", block)
            channels += count * growth_rate
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self, mode="fan_in")
        zero_bias(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _stem(filters: int, small_images: bool) -> nn.Sequential:
    """The layers before the first block."""
    if small_images:
        return nn.Sequential({"conv0": nn.Conv2d(3, filters, 3, padding=1, bias=False)})
    conv = nn.Conv2d(3, filters, 7, stride=2, padding=3, bias=False)
    norm, pool = nn.BatchNorm2d(filters), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential({"conv0": conv, "norm0": norm, "relu0": nn.ReLU(), "pool0": pool})


def _transition(channels: int, filters: int) -> nn.Sequential:
    """The layers between two blocks."""
    conv = nn.Conv2d(channels, filters, 1, bias=False)
    return nn.Sequential({"norm": nn.BatchNorm2d(channels), "relu": nn.ReLU(), "conv": conv, "pool": nn.AvgPool2d(2)})


def densenet121(**settings: Any) -> DenseNet:
    """Return the DenseNet with 121 layers; `weights` are refused, and the other settings are those of DenseNet."""
    return DenseNet(**without_download("densenet121", settings))
