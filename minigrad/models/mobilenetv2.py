"""MobileNetV2: convolutions of single channels between convolutions of single pixels, for small computers.

Source: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov and L.-C. Chen, "MobileNetV2: inverted residuals and linear
bottlenecks", 2018.
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..tensors import Tensor
from .building import initialize, without_download

STAGES = (  # expansion, channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand the channels, filter each channel alone, and reduce them; add x if sizes allow it.

    inp, oup       channels of x and of the result
    stride         of the 3x3 filters
    expand_ratio   channels between, divided by inp

    Source   Sandler et al. 2018, table 1
    Example
    >>> import minigrad as mg
    >>> InvertedResidual(8, 12, stride=2, expand_ratio=6)(mg.zeros(2, 8, 10, 10)).shape
    (2, 12, 5, 5)
    """

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int):
        super().__init__()
        hidden = inp * expand_ratio
        expand = [_convolution(inp, hidden, 1)] if expand_ratio != 1 else []
        filters = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.conv = nn.Sequential(*expand, filters, nn.Conv2d(hidden, oup, 1, bias=False), nn.BatchNorm2d(oup))
        self.use_res_connect = stride == 1 and inp == oup

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """Inverted residuals, and one dense layer, with torchvision's names.

    num_classes                 number of classes
    width_mult                  factor of all numbers of channels
    inverted_residual_setting   (expansion, channels, blocks, stride of the first block) of each stage; None: STAGES
    round_nearest               numbers of channels are multiples of this
    dropout                     0 to 1   before the dense layer
    x, returns                  (N, 3, H, W), usually 224x224; (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels
    Source   Sandler et al. 2018, table 2
    Example
    >>> import minigrad as mg
    >>> model = MobileNetV2(num_classes=10, width_mult=0.25, inverted_residual_setting=[(1, 16, 1, 1), (6, 24, 2, 2)])
    >>> model(mg.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None, round_nearest: int = 8, dropout: float = 0.2,
    ):  # fmt: skip
        super().__init__()
        channels = _make_divisible(32 * width_mult, round_nearest)
        self.last_channel = _make_divisible(1280 * max(1.0, width_mult), round_nearest)
        layers: list[nn.Module] = [_convolution(3, channels, 3, stride=2)]
        for expansion, filters, count, stride in inverted_residual_setting or STAGES:
            filters = _make_divisible(filters * width_mult, round_nearest)
            for i in range(count):
                layers.append(InvertedResidual(channels, filters, stride if i == 0 else 1, expansion))
                channels = filters
        self.features = nn.Sequential(*layers, _convolution(channels, self.last_channel, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes))
        initialize(self, linear_std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _convolution(channels: int, filters: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution of windows side x side, batch normalisation, and ReLU6."""
    conv = nn.Conv2d(channels, filters, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU6())


def _make_divisible(channels: float, divisor: int) -> int:
    """The multiple of divisor that is nearest to channels, or the next one if it is more than 10 % smaller."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def mobilenet_v2(**settings: Any) -> MobileNetV2:
    """Return a MobileNetV2; `weights` are refused, and the other settings are those of the class."""
    return MobileNetV2(**without_download("mobilenet_v2", settings))
