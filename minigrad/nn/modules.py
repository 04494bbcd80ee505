"""minigrad.nn by another name that PyTorch has for it."""

import sys
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what Python asks of every module: this one is no package
        raise AttributeError(name)
    return getattr(sys.modules["minigrad.nn"], name)
