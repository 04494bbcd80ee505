"""Cases of transposed convolution, adaptive pooling, indices of the largest pixels, and margins; see cases.py."""

import numpy as np
from cases import BATCHES, PLAIN, draw_call, draw_pair, draw_values, register_case
from hypothesis import strategies as st

from minigrad.nn import functional as F


@register_case("conv_transpose2d")
def _conv_transpose2d(draw):
    N, groups, (KH, KW) = (
        draw(st.sampled_from(BATCHES)),
        draw(st.sampled_from((1, 2))),
        draw(st.sampled_from(((3, 2), (1, 3)))),
    )
    C, parts, H, W = (draw(st.sampled_from((1, 2))) for _ in range(4))
    given_stride, (SH, SW) = draw_pair(draw, (1, 2))
    given_dilation, (DH, DW) = draw_pair(draw, (1, 3))
    padding = draw(st.sampled_from((0, (0, 1))))
    more = (draw(st.integers(0, max(SH, DH) - 1)), draw(st.integers(0, max(SW, DW) - 1)))
    x, w, b = draw_values(draw, (N, C * groups, H + 1, W + 1), (C * groups, parts, KH, KW), (parts * groups,))
    settings = {"stride": given_stride, "padding": padding, "output_padding": more}
    settings |= {"groups": groups, "dilation": given_dilation}

    def reference(x, w, b=None):
        size = (H * SH + DH * (KH - 1) + 1 + more[0], W * SW + DW * (KW - 1) + 1 + more[1])
        out = np.zeros((N, groups, parts, *size), np.result_type(x, w))
        x, w = x.reshape(N, groups, C, H + 1, W + 1), w.reshape(groups, C, parts, KH, KW)
        for kh in range(KH):
            for kw in range(KW):
                rows, cols = slice(kh * DH, kh * DH + H * SH + 1, SH), slice(kw * DW, kw * DW + W * SW + 1, SW)
                out[..., rows, cols] += np.einsum("ngchw,gcf->ngfhw", x, w[..., kh, kw])
        out = out.reshape(N, -1, *size)
        out = out if b is None else out + b[:, None, None]
        return out if padding == 0 else out[..., 1:-1]

    inputs = (x, w, b) if draw(st.booleans()) else (x, w)
    return draw_call(draw, lambda *tensors: F.conv_transpose2d(*tensors, **settings), reference, *inputs, **settings)


@register_case("pad: modes")
def _pad_modes(draw):
    (x,) = draw_values(draw, (draw(st.sampled_from(BATCHES)), 2, draw(st.integers(2, 4)), 3))
    mode, name = draw(st.sampled_from((("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap"))))
    left, right, top, bottom = (draw(st.integers(0, 1 + (i < 2))) for i in range(4))

    def reference(x):
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=name)

    margins = (left, right, top, bottom)
    return draw_call(draw, lambda x: F.pad(x, margins, mode), reference, x, pad=margins, mode=mode)


def _draw_adaptive(draw):
    """Images, the size of the result, and a function that applies another to the pixels of every window."""
    (x,) = draw_values(draw, (draw(st.sampled_from(BATCHES)), 2, draw(st.sampled_from((1, 4))), 5))
    size = (draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 3, 5))))

    def windows(x, of_pixels):
        rows, cols = (
            [slice(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
            for n, count in zip(x.shape[2:], size, strict=True)
        )
        return np.stack([np.stack([of_pixels(x, row, col) for col in cols], -1) for row in rows], -2)

    return x, size, windows


@register_case("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(draw):
    x, size, windows = _draw_adaptive(draw)

    def reference(x):
        return windows(x, lambda x, row, col: x[:, :, row, col].mean((2, 3)))

    return draw_call(draw, lambda x: F.adaptive_avg_pool2d(x, size), reference, x, output_size=size)


def _largest(x, row, col):
    """The flat index of the largest pixel of a window."""
    numbers = np.arange(x.shape[2] * x.shape[3]).reshape(x.shape[2:])[row, col].ravel()
    return numbers[x.real[:, :, row, col].reshape(*x.shape[:2], -1).argmax(-1)]


@register_case("adaptive_max_pool2d")
def _adaptive_max_pool2d(draw):
    x, size, windows = _draw_adaptive(draw)

    def reference(x):
        places = windows(x, _largest).reshape(*x.shape[:2], -1)
        return np.take_along_axis(x.reshape(*x.shape[:2], -1), places, 2).reshape(*x.shape[:2], *size)

    return draw_call(draw, lambda x: F.adaptive_max_pool2d(x, size), reference, x, output_size=size)


@register_case("adaptive_max_pool2d: indices", PLAIN)
def _adaptive_max_pool2d_indices(draw):
    x, size, windows = _draw_adaptive(draw)
    x = x[:3].argsort(None).reshape(x[:3].shape) % 250.0  # whole numbers, which uint8 holds too
    return draw_call(
        draw,
        lambda x: F.adaptive_max_pool2d(x.float(), size, True)[1],
        lambda x: windows(x, _largest),
        x,
        output_size=size,
    )


@register_case("max_unpool2d")
def _max_unpool2d(draw):
    (x,) = draw_values(draw, (draw(st.sampled_from(BATCHES)), 2, 4, 7))

    def run(x):
        return F.max_unpool2d(*F.max_pool2d(x, (2, 3), return_indices=True), (2, 3), output_size=(4, 7))

    def reference(x):
        out = np.zeros_like(x)
        for row in (slice(0, 2), slice(2, 4)):
            for col in (slice(0, 3), slice(3, 6)):
                places = _largest(x, row, col)[..., None]
                flat = x.reshape(*x.shape[:2], -1)
                np.put_along_axis(out.reshape(flat.shape), places, np.take_along_axis(flat, places, 2), 2)
        return out

    return draw_call(draw, run, reference, x)
