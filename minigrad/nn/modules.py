"""minigrad.nn by other names that PyTorch has for it: torch.nn.modules, torch.nn.modules.conv and so on."""

import sys
from typing import Any

for _name in (
    "activation",
    "batchnorm",
    "container",
    "conv",
    "dropout",
    "linear",
    "loss",
    "module",
    "pooling",
    "utils",
):
    sys.modules[f"{__name__}.{_name}"] = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what Python asks of every module: this one is no package
        raise AttributeError(name)
    return getattr(sys.modules["minigrad.nn"], name)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, list | tuple) else (value, value)
