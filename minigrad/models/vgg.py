"""VGG: 3x3 convolutions in five groups, each followed by max-pooling, and three dense layers.

Source: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015,
table 1.  The forms with batch normalisation are torchvision's.
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..tensors import Tensor
from .building import initialize, without_download

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each group
FILTERS = (64, 128, 256, 512, 512)  # of each group


def make_layers(convolutions: Sequence[int], batch_norm: bool = False) -> nn.Sequential:
    """Return the groups of convolutions of a VGG.

    convolutions   count   of each group, up to five of them
    batch_norm     bool    whether each convolution is followed by a batch normalisation

    Example
    >>> len(make_layers([1, 1])), len(make_layers([1, 1], batch_norm=True))
    (6, 8)
    """
    layers: list[nn.Module] = []
    channels = 3
    for count, filters in zip(convolutions, FILTERS, strict=False):
        for _ in range(count):
            norm = [nn.BatchNorm2d(filters)] if batch_norm else []
            layers += [nn.Conv2d(channels, filters, 3, padding=1), *norm, nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """The groups of convolutions of make_layers, and three dense layers, with torchvision's names.

    features       module   (N, 3, H, W) to (N, 512, h, w)
    num_classes    count
    init_weights   bool     whether weights are drawn as in torchvision, or as in the layers
    dropout        0 to 1   after the first two dense layers
    x, returns     (N, 3, H, W), usually 224x224, at least 32x32; (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels, or are too small
    """

    hidden = 4096  # features of the dense layers

    def __init__(self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, self.hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(self.hidden, self.hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(self.hidden, num_classes),
        )  # fmt: skip
        if init_weights:
            initialize(self, linear_std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _vgg(depth: int, batch_norm: bool, settings: dict[str, Any]) -> VGG:
    given = without_download(f"vgg{depth}" + "_bn" * batch_norm, settings)
    return VGG(make_layers(CONVOLUTIONS[depth], batch_norm), **given)


def vgg11(**settings: Any) -> VGG:
    """Return a VGG with 8 convolutions; `weights` are refused, and the other settings are those of VGG."""
    return _vgg(11, False, settings)


def vgg13(**settings: Any) -> VGG:
    """Return a VGG with 10 convolutions; `weights` are refused, and the other settings are those of VGG."""
    return _vgg(13, False, settings)


def vgg16(**settings: Any) -> VGG:
    """Return a VGG with 13 convolutions; `weights` are refused, and the other settings are those of VGG."""
    return _vgg(16, False, settings)


def vgg19(**settings: Any) -> VGG:
    """Return a VGG with 16 convolutions; `weights` are refused, and the other settings are those of VGG."""
    return _vgg(19, False, settings)


def vgg11_bn(**settings: Any) -> VGG:
    """Return vgg11 with batch normalisation."""
    return _vgg(11, True, settings)


def vgg13_bn(**settings: Any) -> VGG:
    """Return vgg13 with batch normalisation."""
    return _vgg(13, True, settings)


def vgg16_bn(**settings: Any) -> VGG:
    """Return vgg16 with batch normalisation."""
    return _vgg(16, True, settings)


def vgg19_bn(**settings: Any) -> VGG:
    """Return vgg19 with batch normalisation."""
    return _vgg(19, True, settings)
