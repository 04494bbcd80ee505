"""minigrad: a small tensor and autograd engine whose kernels are written in Python and compiled by Numba.

Import it as `mg`: `import minigrad as mg`.  The packages mg.nn, mg.optim, mg.data, mg.datasets, mg.distributed,
mg.models, mg.onnx, mg.train, mg.transforms, mg.utils and mg.viz are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING

import numpy as np

from . import amp, autograd, backends, compiler, creation, cuda, dtypes, errors, functions, jit, linalg, random, testing
from .amp import autocast
from .backends import accelerator, set_printoptions, use_deterministic_algorithms, version
from .creation import *  # noqa: F403
from .dtypes import *  # noqa: F403
from .element_type import get_default_dtype, set_default_dtype
from .functions import *  # noqa: F403
from .jit import compile
from .model_files import load_model, save_model
from .names import explain_unknown_names, unknown_name
from .precompile import warmup
from .profiler import profile
from .random import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from .replay import graph
from .runtime.device import device
from .runtime.precision import get_float32_matmul_precision, set_float32_matmul_precision
from .runtime.threads import get_num_threads, set_flush_denormal, set_num_threads
from .serialization import load, save
from .shapes import Size
from .tape import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .tensors import Tensor, bool_ as bool, dtype, float32, float64, int32, int64, tensor, uint8

__version__ = "0.1.0"  # the only place: pyproject.toml reads it here
torch_version = "2.13.0"  # whose names and results minigrad has, for scripts that compare torch.__version__

contiguous_format, channels_last, preserve_format = (
    "contiguous",
    "channels_last",
    "preserve",
)  # no effect, see Tensor.to
float16, bfloat16 = np.dtype("float16"), "bfloat16"  # for the arguments of autocast; tensors refuse them by name

LATER = ("data", "datasets", "distributed", "models", "nn", "onnx", "optim", "train", "transforms", "utils", "viz")

__all__ = [
    "Generator",
    "Size",
    "Tensor",
    "accelerator",
    "amp",
    "autocast",
    "autograd",
    "backends",
    "bfloat16",
    "bool",
    "channels_last",
    "compile",
    "compiler",
    "contiguous_format",
    "cuda",
    "data",
    "datasets",
    "default_generator",
    "device",
    "distributed",
    "dtype",
    "enable_grad",
    "errors",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "get_float32_matmul_precision",
    "get_num_threads",
    "get_rng_state",
    "graph",
    "inference_mode",
    "initial_seed",
    "int32",
    "int64",
    "is_grad_enabled",
    "jit",
    "linalg",
    "load",
    "load_model",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "onnx",
    "optim",
    "preserve_format",
    "profile",
    "random",
    "save",
    "save_model",
    "seed",
    "set_default_dtype",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "set_rng_state",
    "tensor",
    "testing",
    "torch_version",
    "train",
    "transforms",
    "uint8",
    "use_deterministic_algorithms",
    "utils",
    "version",
    "viz",
    "warmup",
]
explain_unknown_names(amp, backends, compiler, cuda, jit)
__all__ += creation.__all__
__all__ += dtypes.__all__
__all__ += functions.__all__

if TYPE_CHECKING:
    from . import data, datasets, distributed, models, nn, onnx, optim, train, transforms, utils, viz
else:

    def __getattr__(name):
        if name in LATER:
            return importlib.import_module(f".{name}", __name__)
        raise unknown_name("mg", name, __all__)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
