"""minigrad.nn by other names that PyTorch has for it: torch.nn.modules, torch.nn.modules.conv and so on."""

import sys
from typing import Any

from .convolution import _Convolution as _ConvNd
from .loss import _Loss
from .normalization import _BatchNorm, _InstanceNorm

__all__ = ["_BatchNorm", "_ConvNd", "_InstanceNorm", "_Loss"]  # bases that scripts name in isinstance
_PARTS = (
    *("activation", "batchnorm", "container", "conv", "dropout", "instancenorm"),
    *("linear", "loss", "module", "pooling", "utils"),
)

for _part in _PARTS:
    sys.modules[f"{__name__}.{_part}"] = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what Python asks of every module: this one is no package
        raise AttributeError(name)
    return sys.modules[__name__] if name in _PARTS else getattr(sys.modules["minigrad.nn"], name)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, list | tuple) else (value, value)
