"""Layers of a transformer's encoder: attention and a small network, each with a residual path and layer norm."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ..checks import brief
from ..errors import ValidationError
from ..tensors import Tensor
from . import functional as F
from .attention import MultiheadAttention
from .container import ModuleList
from .dense import Linear
from .module import Module
from .normalization import LayerNorm
from .regularization import Dropout

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]
__dir__ = __all__.copy


class TransformerEncoderLayer(Module):
    """Self-attention, and two dense layers with an activation between them, on the features of each place.

    d_model, nhead     E, H     features and heads, as in MultiheadAttention
    dim_feedforward    count    features between the dense layers
    dropout            0 to 1   of both paths and of the weights of attention
    activation         'relu', 'gelu' or a function
    layer_norm_eps     above 0  of both norms
    batch_first        bool     whether the batch is the first axis
    norm_first         bool     whether each path begins with its norm, instead of the norm of the sum
    bias               bool     of all layers

    src, returns       (L, N, E), or (N, L, E) with batch_first
    src_mask, src_key_padding_mask   attn_mask and key_padding_mask of MultiheadAttention

    Raises   ValidationError   the activation is unknown, or a setting out of range
    Source   A. Vaswani et al., "Attention is all you need", 2017, section 3.1
    Example
    >>> import minigrad as mg
    >>> TransformerEncoderLayer(8, nhead=2, batch_first=True)(mg.randn(2, 5, 8)).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        **where: Any,
    ):
        super().__init__()
        if activation not in ("relu", "gelu") and not callable(activation):
            raise ValidationError(
                f"TransformerEncoderLayer: activation is {brief(activation)}; use 'relu', 'gelu' or a function"
            )
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **where)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        self.norm1, self.norm2 = (LayerNorm(d_model, layer_norm_eps, bias=bias, **where) for _ in range(2))
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = activation if callable(activation) else getattr(F, activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            settings = {"key_padding_mask": src_key_padding_mask, "attn_mask": src_mask, "is_causal": is_causal}
            return self.dropout1(self.self_attn(x, x, x, need_weights=False, **settings)[0])

        def feed_forward(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = src + attend(self.norm1(src))
            return x + feed_forward(self.norm2(x))
        x = self.norm1(src + attend(src))
        return self.norm2(x + feed_forward(x))


class TransformerEncoder(Module):
    """num_layers copies of a TransformerEncoderLayer, one after the other, and a last norm if one is given."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None, **accepted: Any):
        super().__init__()
        self.layers = ModuleList([deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)
