"""The package `onnx`, which is imported when a file is written or read."""

from typing import Any

from ..errors import ValidationError


def onnx_package(where: str) -> Any:
    """Return the package `onnx`.

    Raises   ValidationError   it is not installed
    """
    try:
        import onnx
    except ImportError as error:
        raise ValidationError(
            f"{where}: the package 'onnx' cannot be imported ({error}); install it with: pip install 'minigrad[onnx]'"
        ) from None
    return onnx
