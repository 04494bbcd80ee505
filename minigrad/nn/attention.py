"""Attention: averages of values, weighted by how well keys fit queries."""

from numpy.typing import DTypeLike

from ..checks import number_in_range, whole_number
from ..creation import cat, zeros
from ..errors import ShapeError, ValidationError
from ..runtime.device import device as Device
from ..tensors import Tensor, float32
from . import functional as F, init
from .dense import Linear
from .functional.attention import as_additive, attention_weights
from .module import Module
from .parameter import Parameter

__all__ = ["MultiheadAttention"]
__dir__ = __all__.copy


class MultiheadAttention(Module):
    """Attention in several heads, each on its own part of the features.

    embed_dim      E              features of queries and results
    num_heads      H              heads, each of E / H features
    dropout        0 to 1         probability that a weight is set to 0 in training
    bias           bool           whether the projections have a bias
    add_bias_kv    bool           whether a learned key and value are added to the sequence
    add_zero_attn  bool           whether a key and value of zeros are added to the sequence
    kdim, vdim     features       of keys and values; E if None
    batch_first    bool           whether the batch is the first axis, (N, L, E), and not the second, (L, N, E)

    query          (L, N, E)      or (L, E)
    key, value     (S, N, kdim) and (S, N, vdim); or without N
    key_padding_mask   (N, S)     bool, True for keys that are left out; or floats, added to the scores
    need_weights   bool           whether the weights are returned, too
    attn_mask      (L, S) or (N*H, L, S)   bool, True where a query may not look; or floats, added to the scores
    average_attn_weights   bool   whether the weights are averaged over the heads
    is_causal      bool           a hint that attn_mask, which must be given, is causal
    returns        out (L, N, E), weights (N, L, S) or (N, H, L, S) or None

    Raises   ShapeError        the shapes do not fit
             ValidationError   a setting out of range
    Source   A. Vaswani et al., "Attention is all you need", 2017, section 3.2.2
    Example
    >>> import minigrad as mg
    >>> x = mg.randn(5, 2, 8)
    >>> out, weights = MultiheadAttention(8, num_heads=2)(x, x, x)
    >>> out.shape, weights.shape
    ((5, 2, 8), (2, 5, 5))
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        E = self.embed_dim = whole_number("MultiheadAttention", "embed_dim", embed_dim, least=1)
        self.num_heads = whole_number("MultiheadAttention", "num_heads", num_heads, least=1)
        self.head_dim = E // num_heads
        if self.head_dim * num_heads != E:
            raise ValidationError(f"MultiheadAttention: embed_dim {E} is not a multiple of num_heads {num_heads}")
        number_in_range("MultiheadAttention", "dropout", dropout, 0, 1)
        self.dropout = dropout
        self.kdim, self.vdim = kdim or E, vdim or E
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn

        def parameter(*shape: int) -> Parameter:
            return Parameter(zeros(*shape, device=device, dtype=dtype))

        one = self.kdim == self.vdim == E
        for name, features in (("q", E), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", None if one else parameter(E, features))
        self.register_parameter("in_proj_weight", parameter(3 * E, E) if one else None)
        self.register_parameter("in_proj_bias", parameter(3 * E) if bias else None)
        self.out_proj = Linear(E, E, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, parameter(1, 1, E) if add_bias_kv else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if (weight := getattr(self, name)) is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise ValidationError("MultiheadAttention: is_causal=True needs the mask itself; give attn_mask")
        if not query.ndim == key.ndim == value.ndim or query.ndim not in (2, 3):
            raise ShapeError(
                f"MultiheadAttention: query {query.shape}, key {key.shape} and value {value.shape} must all have "
                "3 dimensions, or 2 without a batch"
            )
        batched, same = query.ndim == 3, query is key is value
        if not batched or self.batch_first:
            query, key, value = (x.transpose(0, 1) if batched else x.unsqueeze(1) for x in (query, key, value))
        L, N, E = query.shape
        q, k, v = [
            x.reshape(len(x), N, self.num_heads, -1).permute(1, 2, 0, 3) for x in self._project(query, key, value, same)
        ]
        mask = self._add_masks(attn_mask, key_padding_mask, q, len(key), k.shape[2] - len(key), batched)
        weights = F.dropout(attention_weights(q, k, mask), self.dropout, self.training)
        out = self.out_proj((weights @ v).permute(2, 0, 1, 3).reshape(L, N, E))
        shown = None if not need_weights else weights.mean(1) if average_attn_weights else weights
        if not batched:
            return out.squeeze(1), None if shown is None else shown.squeeze(0)
        return out.transpose(0, 1) if self.batch_first else out, shown

    def _project(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> list[Tensor]:
        """Queries, keys and values (L or S, N, E) of all heads, with the keys and values that settings add."""
        bias = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        if self.in_proj_weight is not None and same:  # one product in place of three
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            each = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
            weights = each if self.in_proj_weight is None else self.in_proj_weight.chunk(3)
            q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, bias, strict=True))
        N, E = q.shape[1:]
        if self.bias_k is not None and self.bias_v is not None:
            k, v = cat([k, self.bias_k.expand(1, N, E)]), cat([v, self.bias_v.expand(1, N, E)])
        if self.add_zero_attn:
            k, v = (cat([x, x.new_zeros(1, N, E)]) for x in (k, v))
        return [q, k, v]

    def _add_masks(self, attn_mask, padding, q, S, added, batched) -> Tensor | None:
        """The sum of both masks, as numbers for the scores of q (N, H, L, E/H) and S + added keys."""
        N, H, L, _ = q.shape
        total = None
        for name, mask, shapes in (
            ("attn_mask", attn_mask, ((L, S), (N * H, L, S))),
            ("key_padding_mask", padding, ((N, S),) if batched else ((S,),)),
        ):
            if mask is None:
                continue
            if mask.shape not in shapes:
                expected = " or ".join(map(str, shapes))
                raise ShapeError(f"MultiheadAttention: {name} has shape {mask.shape}, expected {expected}")
            mask = F.pad(as_additive(~mask, q) if mask.dtype == bool else mask, (0, added))
            mask = mask.reshape(N, 1, 1, -1) if name == "key_padding_mask" else mask
            mask = mask.reshape(N, H, L, -1) if mask.ndim == 3 else mask
            total = mask if total is None else total + mask
        return total
