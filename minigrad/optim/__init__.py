"""Optimisers and learning-rate schedules, with PyTorch's names."""

import sys

from ..names import explain_unknown_names
from . import lr_scheduler, swa_utils
from .adagrad import Adadelta, Adagrad
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler", "swa_utils"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__], lr_scheduler, swa_utils)
