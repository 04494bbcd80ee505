"""What the models share: torchvision's arguments for weights, which are refused, and initial weights."""

from typing import Any

from .. import nn
from ..errors import ValidationError


def without_download(where: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model without torchvision's `weights`, `pretrained` and `progress`.

    Raises   ValidationError   weights are asked for; nothing is downloaded
    Example
    >>> without_download("resnet18", {"weights": None, "num_classes": 10})
    {'num_classes': 10}
    """
    for name in ("weights", "pretrained"):
        if settings.get(name):
            raise ValidationError(
                f"{where}: {name}={settings[name]!r}, but nothing is downloaded; leave it out and load a file: "
                f"model.load_state_dict(mg.load('{where}.pth'))"
            )
    return {name: value for name, value in settings.items() if name not in ("weights", "pretrained", "progress")}


def initialize(model: nn.Module, mode: str = "fan_out", linear_std: float | None = None) -> None:
    """Draw the weights of all convolutions for ReLU, and with linear_std those of dense layers; set biases to 0.

    mode         as in kaiming_normal_: 'fan_out' keeps the size of gradients, 'fan_in' that of signals
    linear_std   standard deviation of the weights of dense layers; None leaves these layers as they are

    Source   K. He et al., "Delving deep into rectifiers", 2015
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
        elif isinstance(layer, nn.Linear) and linear_std is not None:
            nn.init.normal_(layer.weight, 0.0, linear_std)
        else:
            continue
        zero_bias(layer)


def zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    """Set the bias of a layer to 0, if it has one."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
