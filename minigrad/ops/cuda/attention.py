"""Attention weights on the GPU: a matrix product, then a thread for each query; the formula is in ../attention.py."""

from ...runtime import memory
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.kernel import kernel
from ...runtime.cuda.math import compensated_add, compensated_total, const, exp, larger
from ..attention import LOWEST, attention_weights_dispatch
from ..matmul import element_strides, matmul_dispatch


@kernel
def masked_softmax_kernel(mask, out, L, S, scale, has_mask, mask_batch, mask_row, mask_key):
    """Each row of out (batch, L, S), multiplied by scale, plus the mask, becomes its softmax."""
    for row in range(cuda.grid(1), out.size // S, cuda.gridsize(1)):
        at, mask_at = row * S, row // L * mask_batch + row % L * mask_row
        best, total, lost = const(LOWEST, out), const(0, out), const(0, out)
        for s in range(S):
            score = out[at + s] * const(scale, out)
            if has_mask:
                score += mask[mask_at + s * mask_key]
            out[at + s] = score
            best = larger(best, score)
        if best == const(LOWEST, out):
            best = const(0, out)
        for s in range(S):
            e = exp(out[at + s] - best)
            out[at + s] = e
            total, lost = compensated_add(total, lost, e)
        total = compensated_total(total, lost)
        if total != const(0, out):
            for s in range(S):
                out[at + s] /= total


@attention_weights_dispatch.register("cuda")
def attention_weights_cuda(q, k, mask, scale, out):
    matmul_dispatch["cuda"](q, k.transpose(0, 2, 1), out)
    L, S = out.shape[1:]
    mask = None if mask is None else memory.contiguous(mask)
    has_mask, strides = (0, (0, 0, 0)) if mask is None else (1, element_strides(mask))
    flat = (out if mask is None else mask).reshape(-1)
    masked_softmax_kernel.launch_over(out.size // S, flat, out.reshape(-1), L, S, scale, has_mask, *strides)
