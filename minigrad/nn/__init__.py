"""Layers, losses, containers and initial weights, with PyTorch's names."""

from . import functional, init
from .container import ModuleDict, ModuleList, Sequential
from .layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .loss import CrossEntropyLoss, MSELoss, NLLLoss
from .module import Module
from .parameter import Parameter

__all__ = ["AvgPool2d", "Conv2d", "Dropout", "Flatten", "Identity", "LeakyReLU", "Linear", "LogSoftmax", "MaxPool2d"]
__all__ += ["CrossEntropyLoss", "MSELoss", "NLLLoss", "ReLU", "Sigmoid", "Softmax", "Tanh"]
__all__ += ["Module", "ModuleDict", "ModuleList", "Parameter", "Sequential", "functional", "init"]
__dir__ = __all__.copy
