"""Messages of attention, tables of vectors, and interpolation."""

import minigrad as mg
from minigrad import nn
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from minigrad.nn import functional as F

x = mg.zeros(2, 3, 4)
images = mg.zeros(1, 2, 3, 4)


def _attend(*shapes, **settings):
    return F.scaled_dot_product_attention(*[mg.zeros(*shape) for shape in shapes], **settings)


def _heads(**settings):
    return nn.MultiheadAttention(4, 2)(x, x, x, **settings)


ATTENTION = [
    (
        lambda: _attend((2, 3), (4, 5), (4, 3)),
        ShapeError,
        "attention: query (2, 3) and key (4, 5) do not fit; use (..., L, E) and (..., S, E), with one E",
    ),
    (
        lambda: _attend((2, 3), (4, 3), (5, 3)),
        ShapeError,
        "scaled_dot_product_attention: 4 keys, 5 values; give a value for each key",
    ),
    (
        lambda: _attend((2, 3), (2, 3), (2, 3), attn_mask=mg.zeros(2, 2), is_causal=True),
        ValidationError,
        "scaled_dot_product_attention: attn_mask and is_causal=True exclude each other; give one",
    ),
    (
        lambda: F.scaled_dot_product_attention(x, x.double(), x),
        DtypeError,
        "attention: the query is float32, the key float64; convert one with .to()",
    ),
    (
        lambda: mg.tensors.apply(mg.ops.attention_weights, x, x, mg.zeros(3, 3), scale=1.0),
        ShapeError,
        "attention: the mask has shape (3, 3), the weights (2, 3, 3); expand the mask",
    ),
    (
        lambda: nn.MultiheadAttention(4, 3),
        ValidationError,
        "MultiheadAttention: embed_dim 4 is not a multiple of num_heads 3",
    ),
    (
        lambda: _heads(is_causal=True),
        ValidationError,
        "MultiheadAttention: is_causal=True needs the mask itself; give attn_mask",
    ),
    (
        lambda: nn.MultiheadAttention(4, 2)(x, x[0], x),
        ShapeError,
        "MultiheadAttention: query (2, 3, 4), key (3, 4) and value (2, 3, 4) must all have 3 dimensions, or 2 "
        "without a batch",
    ),
    (
        lambda: _heads(attn_mask=mg.zeros(3, 3)),
        ShapeError,
        "MultiheadAttention: attn_mask has shape (3, 3), expected (2, 2) or (6, 2, 2)",
    ),
    (
        lambda: _heads(key_padding_mask=mg.zeros(2, 3)),
        ShapeError,
        "MultiheadAttention: key_padding_mask has shape (2, 3), expected (3, 2)",
    ),
]
ATTENTION += [
    (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="tanhh"),
        ValidationError,
        "TransformerEncoderLayer: activation is 'tanhh'; use 'relu', 'gelu' or a function",
    ),
    (
        lambda: mg.set_default_dtype(mg.float64),
        ValidationError,
        "set_default_dtype: float64 cannot be the default; use dtype=mg.float64, or model.to(mg.float64)",
    ),
]
LOOKUP = [
    (
        lambda: F.embedding(mg.tensor([3]), mg.zeros(3, 2)),
        OutOfRangeError,
        "embedding: no row 3, the weight has 3; use numbers from 0 to 2",
    ),
    (
        lambda: F.embedding(mg.tensor([1.0]), mg.zeros(3, 2)),
        DtypeError,
        "embedding: the numbers of rows are float32, expected int64; convert them with .long()",
    ),
    (
        lambda: F.embedding(mg.tensor([1]), mg.zeros(3)),
        ShapeError,
        "embedding: the weight has shape (3,), expected (num_embeddings, embedding_dim)",
    ),
    (
        lambda: F.embedding(mg.tensor([1]), mg.zeros(3, 2), padding_idx=3),
        OutOfRangeError,
        "embedding: padding_idx is 3, the weight has 3 rows",
    ),
    (
        lambda: F.embedding(mg.tensor([1]), mg.zeros(3, 2), sparse=True),
        ValidationError,
        "embedding: sparse=True is not supported; gradients are dense sums",
    ),
    (lambda: nn.Embedding(3, 2, 4), OutOfRangeError, "Embedding: padding_idx is 4, there are 3 rows"),
    (
        lambda: nn.Embedding.from_pretrained(mg.zeros(3)),
        ShapeError,
        "from_pretrained: the table has shape (3,), expected 2 dimensions",
    ),
]
RESAMPLING = [
    (
        lambda: F.interpolate(images, 3, mode="cubic"),
        ValidationError,
        "interpolate: mode is 'cubic'; use 'nearest', 'nearest-exact', 'linear', 'bilinear', 'bicubic', 'area'",
    ),
    (
        lambda: F.interpolate(images, 3, mode="linear"),
        ShapeError,
        "interpolate: x has shape (1, 2, 3, 4), mode 'linear' is for (N, C, L); change one of them",
    ),
    (
        lambda: F.interpolate(mg.zeros(1, 2, 0, 4), 3),
        ShapeError,
        "interpolate: x (1, 2, 0, 4) has no channels or no pixels; give it some",
    ),
    (
        lambda: F.interpolate(images, 3, align_corners=True),
        ValidationError,
        "interpolate: mode is 'nearest', align_corners is for linear, bilinear, bicubic; leave it out",
    ),
    (
        lambda: F.interpolate(images, 3, mode="bilinear", antialias=True),
        ValidationError,
        "interpolate: antialias=True is not supported; blur the images first, or use mode='area'",
    ),
    (lambda: F.interpolate(images), ValidationError, "interpolate: give either size or scale_factor"),
    (
        lambda: F.interpolate(images, (3, 4, 5)),
        ValidationError,
        "interpolate: size is (3, 4, 5); give one number above 0, or 2, one for each side",
    ),
    (
        lambda: F.interpolate(images, scale_factor=0.3),
        ValidationError,
        "interpolate: scale_factor 0.3 leaves no pixel of (3, 4); make it larger",
    ),
    (
        lambda: F.pixel_shuffle(images, 2),
        ShapeError,
        "pixel_shuffle: 2 channels are not a multiple of 2 * 2; use another upscale_factor",
    ),
    (
        lambda: F.pixel_unshuffle(images, 2),
        ShapeError,
        "pixel_unshuffle: 3 x 4 pixels are not a multiple of 2; use another downscale_factor",
    ),
    (
        lambda: F.pixel_shuffle(mg.zeros(3, 4), 2),
        ShapeError,
        "pixel_shuffle: x has shape (3, 4), expected (..., C, H, W)",
    ),
]
MESSAGES = [*ATTENTION, *LOOKUP, *RESAMPLING]
