"""Indices into batch-innermost memory (C, H, W, N), as functions that kernels call."""

import numpy as np

from .driver import helper


@helper
def split_index(i, H, W, N):
    """The indices (c, h, w, n) of element i."""
    i, H, W, N = np.uint64(i), np.uint64(H), np.uint64(W), np.uint64(N)  # division without signs takes half as long
    pixel = i // N
    row = pixel // W
    c = row // H
    return np.int64(c), np.int64(row - c * H), np.int64(pixel - row * W), np.int64(i - pixel * N)


@helper
def join_index(c, h, w, n, H, W, N):
    """The index of element (c, h, w, n)."""
    return ((c * H + h) * W + w) * N + n


@helper
def is_inside(h, w, H, W):
    """Whether (h, w) is a pixel of an image of H x W, not of its padding."""
    return h >= 0 and h < H and w >= 0 and w < W
