"""minigrad: a small tensor and autograd engine whose kernels are written in Python and compiled by Numba.

Import it as `mg`: `import minigrad as mg`.  The packages mg.nn, mg.optim, mg.data, mg.datasets, mg.models and mg.viz
are imported on first use.
"""

import difflib
import importlib
from typing import TYPE_CHECKING

from numpy import dtype

from . import cuda, errors, random
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
from .functions import (
    abs,
    add,
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    clamp,
    clip,
    div,
    exp,
    flatten,
    log,
    log_softmax,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mul,
    neg,
    permute,
    pow,
    relu,
    reshape,
    sigmoid,
    softmax,
    sqrt,
    squeeze,
    std,
    sub,
    sum,
    tanh,
    transpose,
    unsqueeze,
    var,
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

__version__ = "0.1.0"  # the only place: pyproject.toml reads it here

LATER = ("data", "datasets", "models", "nn", "optim", "viz")  # importing viz alone takes as long as all of the above

__all__ = [
    "Tensor",
    "abs",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "as_tensor",
    "bool",
    "cat",
    "clamp",
    "clip",
    "cuda",
    "data",
    "datasets",
    "device",
    "div",
    "dtype",
    "enable_grad",
    "errors",
    "exp",
    "eye",
    "flatten",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "get_float32_matmul_precision",
    "get_num_threads",
    "get_rng_state",
    "graph",
    "initial_seed",
    "int32",
    "int64",
    "is_grad_enabled",
    "linspace",
    "load",
    "log",
    "log_softmax",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "models",
    "mul",
    "neg",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "permute",
    "pow",
    "profile",
    "rand",
    "randint",
    "randn",
    "random",
    "randperm",
    "relu",
    "reshape",
    "save",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "softmax",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tanh",
    "tensor",
    "transpose",
    "uint8",
    "unsqueeze",
    "var",
    "viz",
    "warmup",
    "where",
    "zeros",
    "zeros_like",
]

if TYPE_CHECKING:
    from . import data, datasets, models, nn, optim, viz
else:

    def __getattr__(name):
        if name in LATER:
            return importlib.import_module(f".{name}", __name__)
        near = [] if name.startswith("__") else difflib.get_close_matches(name, __all__, 1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"minigrad has no attribute {name!r}{advice}", name=None)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
