"""Layers for windows of images as columns of a matrix."""

from ..tensors import Tensor
from . import functional as F
from .functional.arguments import Size, as_tuple
from .layer import Layer

__all__ = ["Fold", "Unfold"]
__dir__ = __all__.copy


class Unfold(Layer):
    """Every window of the images as a column: (N, C, H, W) becomes (N, C*KH*KW, windows).

    Example
    >>> import minigrad as mg
    >>> Unfold(2)(mg.zeros(1, 3, 4, 4)).shape
    (1, 12, 9)
    """

    _shown: tuple[str, ...] = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1):
        super().__init__()
        self.kernel_size, self.dilation = as_tuple(kernel_size), as_tuple(dilation)
        self.padding, self.stride = as_tuple(padding), as_tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Unfold):
    """Columns of windows added up to images: (N, C*KH*KW, windows) becomes (N, C, *output_size).

    Example
    >>> import minigrad as mg
    >>> Fold((4, 4), 2)(mg.zeros(1, 12, 9)).shape
    (1, 3, 4, 4)
    """

    _shown = ("output_size", *Unfold._shown)

    def __init__(self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1):
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = as_tuple(output_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
