"""AlexNet in the form with one column, as torchvision has it.

Source: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014; first A. Krizhevsky,
I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks", 2012.
"""

from typing import Any

from .. import nn
from ..tensors import Tensor
from .building import without_download


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, with torchvision's names.

    num_classes   number of classes
    dropout       0 to 1   before the first two dense layers
    x, returns    (N, 3, H, W), usually 224x224, at least 63x63; (N, num_classes) logits

    Raises   ShapeError   the images have another number of channels, or are too small
    """

    hidden = 4096  # features of the dense layers

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, self.hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(self.hidden, self.hidden), nn.ReLU(),
            nn.Linear(self.hidden, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(**settings: Any) -> AlexNet:
    """Return an AlexNet; `weights` and `pretrained` are refused, and the other settings are those of the class."""
    return AlexNet(**without_download("alexnet", settings))
