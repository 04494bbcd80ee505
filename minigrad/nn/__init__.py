"""Layers, losses, containers and initial weights, with PyTorch's names."""

import sys

from ..names import explain_unknown_names
from . import (
    activation,
    attention,
    container,
    convolution,
    dense,
    functional,
    init,
    lazy,
    lookup,
    loss,
    modules,
    normalization,
    padding,
    parallel,
    pooling,
    regularization,
    resampling,
    shaping,
    sync_norm,
    transformer,
    utils,
    windows,
)
from .activation import *  # noqa: F403
from .attention import *  # noqa: F403
from .container import *  # noqa: F403
from .convolution import *  # noqa: F403
from .dense import *  # noqa: F403
from .lazy import *  # noqa: F403
from .lookup import *  # noqa: F403
from .loss import *  # noqa: F403
from .module import Module
from .normalization import *  # noqa: F403
from .padding import *  # noqa: F403
from .parameter import Parameter
from .pooling import *  # noqa: F403
from .regularization import *  # noqa: F403
from .resampling import *  # noqa: F403
from .shaping import *  # noqa: F403
from .sync_norm import *  # noqa: F403
from .transformer import *  # noqa: F403
from .windows import *  # noqa: F403

__all__ = ["Module", "Parameter", "functional", "init", "modules", "parallel", "utils"]
__all__ += activation.__all__
__all__ += attention.__all__
__all__ += container.__all__
__all__ += convolution.__all__
__all__ += dense.__all__
__all__ += lazy.__all__
__all__ += lookup.__all__
__all__ += loss.__all__
__all__ += normalization.__all__
__all__ += padding.__all__
__all__ += pooling.__all__
__all__ += regularization.__all__
__all__ += resampling.__all__
__all__ += shaping.__all__
__all__ += sync_norm.__all__
__all__ += transformer.__all__
__all__ += windows.__all__
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__], functional, init, utils)
