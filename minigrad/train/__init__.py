"""Training: the loop, with validation, checkpoints and a log; metrics; answers; a search for the learning rate."""

import sys

from ..names import explain_unknown_names
from .evaluation import Predictions, evaluate, predict
from .history import History
from .loop import fit
from .lr_finder import RateSearch, find_lr
from .metrics import ClassReport, accuracy, class_report, top_k
from .run import Checkpoints, Run, load_best, saved_settings

__all__ = ["Checkpoints", "ClassReport", "History", "Predictions", "RateSearch", "Run", "accuracy", "class_report"]
__all__ += ["evaluate", "find_lr", "fit", "load_best", "predict", "saved_settings", "top_k"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__])
