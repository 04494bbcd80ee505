"""Windows of images as columns of a matrix, and back."""

from ... import ops
from ...errors import ShapeError
from ...shapes import count_windows, per_side
from ...tensors import Tensor, apply
from .arguments import Size, expect_tensors

__all__ = ["fold", "unfold"]
__dir__ = __all__.copy


def unfold(input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """Return every window of the images as a column (im2col).

    input        (N, C, H, W)         images; also (C, H, W)
    kernel_size  pixels               side of the window, or (KH, KW)
    returns      (N, C*KH*KW, OH*OW)  OH = (H + 2*padding - dilation*(KH - 1) - 1) // stride + 1

    Example
    >>> import minigrad as mg
    >>> unfold(mg.arange(6.0).reshape(1, 1, 2, 3), 2)
    tensor([[[0., 1.],
             [1., 2.],
             [3., 4.],
             [4., 5.]]])
    """
    expect_tensors("unfold", input)
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.ndim != 4:
        raise ShapeError(f"unfold: the input has {input.ndim} dimensions {input.shape}, expected (N, C, H, W)")
    N, C, H, W = input.shape
    window, spacing, margins, steps, counts = _grid("unfold", (H, W), kernel_size, dilation, padding, stride)
    if min(counts) < 1:
        raise ShapeError(f"unfold: a window {window}, dilation {spacing}, does not fit in {H}x{W} pixels; add padding")
    widths = ((0, 0), (0, 0), (margins[0], margins[0]), (margins[1], margins[1]))
    found = apply(ops.pad, input, widths=widths, value=0) if any(margins) else input
    for axis, size, step, dilated in zip((2, 3), window, steps, spacing, strict=True):
        found = apply(ops.windows, found, axis=axis, size=size, step=step, dilation=dilated)
    columns = found.permute(0, 1, 4, 5, 2, 3).reshape(N, C * window[0] * window[1], counts[0] * counts[1])
    return columns.clone() if max(window) == 1 else columns  # never a view


def fold(
    input: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """Add the columns of windows at their places in images (col2im), the transpose of unfold.

    input        (N, C*KH*KW, OH*OW)   as unfold returns it; also without N
    output_size  pixels                (H, W) of the images
    returns      (N, C, H, W)          where windows overlap, their pixels add up
    """
    expect_tensors("fold", input)
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    H, W = per_side(output_size, "output_size", "fold")
    (KH, KW), spacing, margins, steps, (OH, OW) = _grid("fold", (H, W), kernel_size, dilation, padding, stride)
    if input.ndim != 3 or input.shape[1] % (KH * KW) or input.shape[2] != OH * OW:
        raise ShapeError(f"fold: the input is {input.shape}, expected (N, C*{KH * KW}, {OH * OW}) for {H}x{W} pixels")
    N, C = input.shape[0], input.shape[1] // (KH * KW)
    columns = input.reshape(N, C, KH, KW, OH, OW).permute(0, 1, 4, 5, 2, 3)
    shape = N, C, H + 2 * margins[0], W + 2 * margins[1]
    rows = apply(
        ops.windows_back, columns, shape=(N, C, OH, shape[3], KH), axis=3, size=KW, step=steps[1], dilation=spacing[1]
    )
    found = apply(ops.windows_back, rows, shape=shape, axis=2, size=KH, step=steps[0], dilation=spacing[0])
    return found[:, :, margins[0] : margins[0] + H, margins[1] : margins[1] + W]


def _grid(where, sizes, kernel_size, dilation, padding, stride):
    """Window, dilation, padding and step as pairs, and the numbers of windows."""
    window, spacing = per_side(kernel_size, "kernel_size", where), per_side(dilation, "dilation", where)
    margins, steps = per_side(padding, "padding", where, 0), per_side(stride, "stride", where)
    sides = zip(sizes, window, steps, margins, margins, spacing, strict=True)
    return window, spacing, margins, steps, tuple([count_windows(*side) for side in sides])
