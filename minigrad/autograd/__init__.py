"""Gradients as values, functions with gradients of their own, hooks, and checks of gradients."""

from ..tape import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensors import backward
from . import functional
from .anomaly import detect_anomaly, set_detect_anomaly
from .checking import gradcheck, gradgradcheck
from .function import Function
from .gradients import Variable, grad

__all__ = [
    *("Function", "Variable", "backward", "detect_anomaly", "enable_grad", "functional", "grad", "gradcheck"),
    *("gradgradcheck", "inference_mode", "no_grad", "set_detect_anomaly", "set_grad_enabled"),
]
