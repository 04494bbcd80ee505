"""Indices into batch-innermost memory (C, H, W, N), as functions that kernels call."""

from .driver import helper


@helper
def split_index(i, H, W, N):
    """The indices (c, h, w, n) of element i."""
    pixel = i // N
    return pixel // (H * W), pixel // W % H, pixel % W, i % N


@helper
def join_index(c, h, w, n, H, W, N):
    """The index of element (c, h, w, n)."""
    return ((c * H + h) * W + w) * N + n


@helper
def is_inside(h, w, H, W):
    """Whether (h, w) is a pixel of an image of H x W, not of its padding."""
    return h >= 0 and h < H and w >= 0 and w < W
