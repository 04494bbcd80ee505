"""Transforms that convert images: to tensors, to Pillow images, to other dtypes, to mean 0 and deviation 1."""

from typing import Any

import numpy as np

from ..tensors import Tensor, _known_dtype
from . import conversion
from .base import Transform
from .images import Picture


class ToTensor(Transform):
    """Make a Pillow image or an array (H, W, C) a tensor (C, H, W): bytes become floats from 0 to 1; see to_tensor.

    Example
    >>> ToTensor()(np.zeros((4, 5, 3), np.uint8)).shape
    (3, 4, 5)
    """

    def forward(self, img: Any) -> Tensor:
        return conversion.to_tensor(img)


class PILToTensor(Transform):
    """Make a Pillow image a tensor (C, H, W) of its own numbers, uint8 for most; see pil_to_tensor.

    Example
    >>> from PIL import Image
    >>> PILToTensor()(Image.new("RGB", (5, 4))).shape
    (3, 4, 5)
    """

    def forward(self, img: Any) -> Tensor:
        return conversion.pil_to_tensor(img)


class ToImage(Transform):
    """Make a Pillow image or an array (H, W, C) a tensor (C, H, W) of its own numbers; a tensor stays as it is.

    Example
    >>> ToImage()(np.zeros((4, 5, 3), np.uint8)).dtype
    minigrad.uint8
    """

    def forward(self, img: Any) -> Tensor:
        return conversion.to_image(img)


class ToPILImage(Transform):
    """Make a tensor (C, H, W) or an array (H, W, C) a Pillow image; see to_pil_image.

    mode   of Pillow; None: by the number of channels

    Example
    >>> ToPILImage()(np.zeros((4, 5, 3), np.uint8)).mode
    'RGB'
    """

    def __init__(self, mode: str | None = None):
        self.mode = mode
        self._shown = () if mode is None else ("mode",)

    def forward(self, img: Any) -> Picture:
        return conversion.to_pil_image(img, self.mode)


class ConvertImageDtype(Transform):
    """Convert pixels to another dtype, scaled so that white stays white; see convert_image_dtype.

    Example
    >>> import minigrad as mg
    >>> ConvertImageDtype(mg.float32)(np.full((1, 1), 255, np.uint8))
    array([[1.]], dtype=float32)
    """

    def __init__(self, dtype: Any):
        self.dtype = _known_dtype(dtype, "ConvertImageDtype")

    def forward(self, img: Any) -> Any:
        return conversion.convert_image_dtype(img, self.dtype)


class ToDtype(Transform):
    """Convert pixels to another dtype, with the same numbers or, with scale=True, so that white stays white.

    Example
    >>> import minigrad as mg
    >>> ToDtype(mg.float32, scale=True)(np.full((1, 1), 255, np.uint8))
    array([[1.]], dtype=float32)
    """

    _shown = ("scale",)

    def __init__(self, dtype: Any, scale: bool = False):
        self.dtype, self.scale = _known_dtype(dtype, "ToDtype"), scale

    def forward(self, img: Any) -> Any:
        return conversion.to_dtype(img, self.dtype, self.scale)


class Normalize(Transform):
    """Subtract a mean from float pixels (..., C, H, W) and divide by a deviation; see normalize.

    mean, std   (C,) or (1,)
    inplace     also change the tensor

    Raises   ValidationError   std has a 0
    Example
    >>> Normalize((0.5,), (0.25,))(np.ones((1, 1, 1), np.float32))
    array([[[2.]]], dtype=float32)
    """

    _shown = ("mean", "std")

    def __init__(self, mean: Any, std: Any, inplace: bool = False):
        self.mean, self.std, self.inplace = mean, std, inplace
        conversion.per_channel(mean, std, np.asarray(mean).size, np.float64)

    def forward(self, img: Any) -> Any:
        return conversion.normalize(img, self.mean, self.std, self.inplace)
