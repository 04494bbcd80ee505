"""Residual networks: each block adds what it computes to its input.

Source: K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", 2016.
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..nn import functional as F
from ..tensors import Tensor
from .building import initialize, without_download


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    inplanes     channels of x
    planes       channels of the result
    stride       of the first convolution
    downsample   module on the shortcut, which must give x the size of the result; None: x itself

    Source   He et al. 2016, figure 5 left
    Example
    >>> import minigrad as mg
    >>> BasicBlock(8, 8)(mg.zeros(2, 8, 6, 6)).shape
    (2, 8, 6, 6)
    """

    expansion = 1  # channels of the result, divided by planes
    last_scale = "bn2.weight"

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, which reduce the channels and restore them; arguments as in BasicBlock.

    The stride is in the 3x3 convolution, as in torchvision; the paper has it in the first one.

    Source   He et al. 2016, figure 5 right
    Example
    >>> import minigrad as mg
    >>> Bottleneck(32, 8)(mg.zeros(2, 32, 6, 6)).shape
    (2, 32, 6, 6)
    """

    expansion = 4
    last_scale = "bn3.weight"

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + shortcut)


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """The residual networks for ImageNet, with torchvision's names.

    block                BasicBlock or Bottleneck
    layers               number of blocks in each of the four stages
    num_classes          number of classes
    zero_init_residual   whether the last scale of each block begins at 0, so that blocks begin as the identity
    x, returns           (N, 3, H, W), usually 224x224; (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels
    Source   He et al. 2016, table 1; the initial weights: He et al. 2015
    Example
    >>> import minigrad as mg
    >>> ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)(mg.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(self, block: Block, layers: Sequence[int], num_classes: int = 1000, zero_init_residual: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        wide = block.expansion
        self.layer1 = _stage(block, 64, 64, layers[0])
        self.layer2 = _stage(block, 64 * wide, 128, layers[1], stride=2)
        self.layer3 = _stage(block, 128 * wide, 256, layers[2], stride=2)
        self.layer4 = _stage(block, 256 * wide, 512, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * wide, num_classes)
        initialize(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(module.get_parameter(module.last_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(block: Block, inplanes: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` blocks, of which the first has the stride, and a projection on its shortcut if sizes change."""
    outplanes = planes * block.expansion
    projection = None
    if stride != 1 or inplanes != outplanes:
        projection = nn.Sequential(nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes))
    first = block(inplanes, planes, stride, projection)
    return nn.Sequential(first, *(block(outplanes, planes) for _ in range(count - 1)))


def resnet18(**settings: Any) -> ResNet:
    """Return the residual network with 17 convolutions; `weights` are refused, other settings are those of ResNet."""
    return ResNet(BasicBlock, [2, 2, 2, 2], **without_download("resnet18", settings))


def resnet34(**settings: Any) -> ResNet:
    """Return the residual network with 33 convolutions; `weights` are refused, other settings are those of ResNet."""
    return ResNet(BasicBlock, [3, 4, 6, 3], **without_download("resnet34", settings))


def resnet50(**settings: Any) -> ResNet:
    """Return the residual network with 49 convolutions; `weights` are refused, other settings are those of ResNet."""
    return ResNet(Bottleneck, [3, 4, 6, 3], **without_download("resnet50", settings))


class CifarResNet(nn.Module):
    """The residual networks for images of 32x32 pixels: 6 * blocks + 2 layers, and shortcuts without parameters.

    blocks        number of blocks in each of the three stages
    num_classes   number of classes
    in_channels   channels of the images
    width         channels of the first stage; the others have two and four times as many
    x, returns    (N, in_channels, H, W), usually 32x32; (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels
    Source   He et al. 2016, section 4.2, with the shortcuts A of section 4.1
    Example
    >>> import minigrad as mg
    >>> CifarResNet(1, width=4)(mg.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(self, blocks: int, num_classes: int = 10, in_channels: int = 3, width: int = 16):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks)))
        self.layer2 = _halving_stage(2 * width, blocks)
        self.layer3 = _halving_stage(4 * width, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class PaddedShortcut(nn.Module):
    """Take every second pixel, and add channels of zeros: the shortcut A of He et al. 2016, section 4.1.

    planes       C2, channels of the result
    x, returns   (N, C, H, W), (N, C2, ceil(H/2), ceil(W/2))

    Example
    >>> import minigrad as mg
    >>> PaddedShortcut(8)(mg.zeros(2, 4, 6, 6)).shape
    (2, 8, 3, 3)
    """

    def __init__(self, planes: int):
        super().__init__()
        self.planes = planes

    def forward(self, x: Tensor) -> Tensor:
        missing = self.planes - x.shape[1]
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, missing // 2, missing - missing // 2))


def _halving_stage(planes: int, blocks: int) -> nn.Sequential:
    """Blocks of which the first halves the sides of the images and doubles the channels."""
    first = BasicBlock(planes // 2, planes, 2, PaddedShortcut(planes))
    return nn.Sequential(first, *(BasicBlock(planes, planes) for _ in range(blocks - 1)))


def resnet8(**settings: Any) -> CifarResNet:
    """Return the residual network with 7 convolutions for 32x32 images; the settings are those of CifarResNet."""
    return CifarResNet(1, **without_download("resnet8", settings))


def resnet20(**settings: Any) -> CifarResNet:
    """Return the residual network with 19 convolutions for 32x32 images; the settings are those of CifarResNet."""
    return CifarResNet(3, **without_download("resnet20", settings))
