"""minigrad: a small tensor and autograd engine whose kernels are written in Python and compiled by Numba.

import minigrad as mg

Layers and tools (mg.nn and mg.nn.functional, mg.optim, mg.data, mg.datasets, mg.models, mg.viz) are imported when they
are first asked for.
"""

import difflib
import importlib
from typing import TYPE_CHECKING

from . import cuda
from .creation import (
    arange,
    as_tensor,
    cat,
    eye,
    from_dlpack,
    from_numpy,
    full,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    stack,
    where,
    zeros,
    zeros_like,
)
from .precompile import warmup
from .profiler import profile
from .random import get_rng_state, initial_seed, manual_seed, set_rng_state
from .replay import graph
from .runtime.device import device
from .runtime.precision import get_float32_matmul_precision, set_float32_matmul_precision
from .runtime.threads import get_num_threads, set_flush_denormal, set_num_threads
from .serialization import load, save
from .tape import enable_grad, is_grad_enabled, no_grad
from .tensors import Tensor, bool_ as bool, float32, float64, int32, int64, tensor, uint8

relu, sigmoid, tanh = Tensor.relu, Tensor.sigmoid, Tensor.tanh
softmax, log_softmax = Tensor.softmax, Tensor.log_softmax
exp, log, sqrt, abs, pow = Tensor.exp, Tensor.log, Tensor.sqrt, Tensor.abs, Tensor.pow
add, sub, mul, div, neg, matmul = Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.neg, Tensor.matmul
maximum, minimum, clip, clamp = Tensor.maximum, Tensor.minimum, Tensor.clip, Tensor.clamp
sum, mean, var, std = Tensor.sum, Tensor.mean, Tensor.var, Tensor.std
max, min, amax, amin, argmax, argmin = Tensor.max, Tensor.min, Tensor.amax, Tensor.amin, Tensor.argmax, Tensor.argmin
reshape, flatten, permute, transpose = Tensor.reshape, Tensor.flatten, Tensor.permute, Tensor.transpose
any, all = Tensor.any, Tensor.all
squeeze, unsqueeze = Tensor.squeeze, Tensor.unsqueeze

__version__ = "0.1.0"

LATER = ("data", "datasets", "models", "nn", "optim", "viz")  # viz brings Matplotlib, which takes as long again

if TYPE_CHECKING:
    from . import data, datasets, models, nn, optim, viz
else:

    def __getattr__(name):
        if name in LATER:
            return importlib.import_module(f".{name}", __name__)
        near = [] if name.startswith("__") else difflib.get_close_matches(name, __dir__(), 1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"minigrad has no attribute {name!r}{advice}", name=None)


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
