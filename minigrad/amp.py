"""PyTorch's names for mixed precision.  minigrad computes in the dtype of the tensors, and says so once."""

from contextlib import ContextDecorator
from typing import Any

from .names import warn_once

__all__ = ["GradScaler", "autocast"]
__dir__ = __all__.copy


class autocast(ContextDecorator):
    """A `with` block or decorator without effect: operations compute in the dtype of their tensors."""

    def __init__(self, device_type: Any = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None):
        if enabled and device_type is not False:  # mg.cuda.amp.autocast(False)
            warn_once("autocast: has no effect; minigrad computes in the dtype of the tensors, float32 or float64")

    def __enter__(self) -> "autocast":
        return self

    def __exit__(self, *_: object) -> None:
        return None


class GradScaler:
    """PyTorch's scaler as with enabled=False: gradients in float32 need no scaling."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def scale(self, outputs: Any) -> Any:
        """Return the loss or losses unchanged."""
        return outputs

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call optimizer.step()."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Do nothing; nor do unscale_ and load_state_dict."""

    unscale_ = load_state_dict = update
    get_scale, is_enabled = staticmethod(lambda: 1.0), staticmethod(lambda: False)
    state_dict: Any = staticmethod(dict)
