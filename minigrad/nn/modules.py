"""minigrad.nn by another name that PyTorch has for it."""

import sys
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(sys.modules["minigrad.nn"], name)
