"""Attention: averages of values, weighted by how well keys fit queries."""

from math import sqrt

import numpy as np

from ... import ops
from ...creation import ones
from ...errors import ShapeError, ValidationError
from ...tensors import Tensor, apply
from .arguments import expect_tensors
from .regularization import dropout

__all__ = ["scaled_dot_product_attention"]
__dir__ = __all__.copy


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(query @ key.T * scale + mask) @ value: for each query the values of the keys that fit it.

    query        (..., L, E)
    key          (..., S, E)
    value        (..., S, EV)
    attn_mask    broadcasts to (..., L, S): bool, True where a query may look; or floats, added to the scores
    dropout_p    0 to 1         probability that a weight is set to 0; always applied, so give 0 in evaluation
    is_causal    bool           whether query l sees the keys 0 ... l only; without attn_mask
    scale        factor         1 / sqrt(E) if None
    enable_gqa   bool           whether several heads of queries, on axis -3, share a head of keys and values
    returns      (..., L, EV)   zeros for a query that may look nowhere

    Raises   DtypeError        the tensors are not of one float dtype
             ShapeError        the shapes do not fit
             ValidationError   attn_mask and is_causal are both given
    Source   A. Vaswani et al., "Attention is all you need", 2017, equation 1
    Example
    >>> import minigrad as mg
    >>> x = mg.eye(2)
    >>> scaled_dot_product_attention(x, x, x, is_causal=True)
    tensor([[1.    , 0.    ],
            [0.3302, 0.6698]])
    """
    expect_tensors("scaled_dot_product_attention", query, key, value)
    if is_causal and attn_mask is not None:
        raise ValidationError("scaled_dot_product_attention: attn_mask and is_causal=True exclude each other; give one")
    if enable_gqa:
        heads = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(heads, -3), value.repeat_interleave(heads, -3)
    if key.ndim > 1 and value.ndim > 1 and key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"scaled_dot_product_attention: {key.shape[-2]} keys, {value.shape[-2]} values; give a value for each key"
        )
    if is_causal:
        attn_mask = ones(query.shape[-2], key.shape[-2], dtype=bool, device=query.device).tril()
    weights = attention_weights(query, key, attn_mask, scale)
    return dropout(weights, dropout_p) @ value if dropout_p else weights @ value


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """The weights (..., L, S) of scaled_dot_product_attention."""
    scale = 1 / sqrt(query.shape[-1]) if scale is None else scale
    if mask is not None:
        expect_tensors("scaled_dot_product_attention", mask)
        if mask.dtype == bool:
            mask = as_additive(mask, query)
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        mask = mask.expand(*lead, query.shape[-2], key.shape[-2])
    return apply(ops.attention_weights, query, key, mask, scale=float(scale))


def as_additive(mask: Tensor, like: Tensor) -> Tensor:
    """0 where a bool mask is True, -inf elsewhere, with the dtype of another tensor."""
    return like.new_zeros(mask.shape).masked_fill(~mask, -np.inf)
