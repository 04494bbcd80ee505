"""Attention and tables of vectors."""

EXPRESSIONS = {
    "scaled_dot_product_attention": [
        "F.scaled_dot_product_attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 2))",
        "F.scaled_dot_product_attention(x(3, 4), x(5, 4), x(5, 2), scale=0.3)",
        "F.scaled_dot_product_attention(x(2, 2, 4, 3), x(2, 2, 4, 3), x(2, 2, 4, 3), is_causal=True)",
        "F.scaled_dot_product_attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 2), attn_mask=x(3, 5))",
        "F.scaled_dot_product_attention(x(2, 3, 4), x(2, 5, 4), x(2, 5, 2), bools(2, 3, 5))",
        "F.scaled_dot_product_attention(x(2, 4), x(3, 4), x(3, 2), const([[True] * 3, [False] * 3]))",
        "F.scaled_dot_product_attention(x(1, 4, 3, 2), x(1, 2, 5, 2), x(1, 2, 5, 2), enable_gqa=True)",
        "F.scaled_dot_product_attention(x(2, 0, 4), x(2, 5, 4), x(2, 5, 2))",
    ],
    "MultiheadAttention": [
        "(lambda m, a: m(a, a, a))(layer(nn.MultiheadAttention(6, 3)), x(4, 2, 6))",
        "(lambda m, a: m(a, a, a))(layer(nn.MultiheadAttention(6, 2, bias=False, batch_first=True)), x(2, 3, 6))",
        "layer(nn.MultiheadAttention(4, 2, kdim=3, vdim=5))(x(2, 2, 4), x(3, 2, 3), x(3, 2, 5))",
        "layer(nn.MultiheadAttention(4, 2, add_bias_kv=True))(x(2, 4), x(3, 4), x(3, 4), average_attn_weights=False)",
        "layer(nn.MultiheadAttention(4, 1, add_zero_attn=True))(x(2, 2, 4), x(3, 2, 4), x(3, 2, 4), const("
        "[[False, True, False], [False, False, True]]), attn_mask=const([[False, False, True], [False] * 3]))",
        "layer(nn.MultiheadAttention(4, 2))(x(2, 2, 4), x(3, 2, 4), x(3, 2, 4), attn_mask=x(4, 2, 3))",
        "layer(nn.MultiheadAttention(4, 2, dropout=0.5)).eval()(x(2, 4), x(3, 4), x(3, 4), need_weights=False)[0]",
    ],
    "embedding": [
        "F.embedding(ints(5, 2, 3), x(5, 4))",
        "F.embedding(const([1, 1, 0, 2, 1]), x(3, 20), padding_idx=-2)",
        "F.embedding(const([]).long(), x(3, 2))",
        "F.embedding(const([1, 0, 1]), x(3, 4).detach(), max_norm=1.0, norm_type=1.0)",
    ],
    "Embedding": [
        "layer(nn.Embedding(4, 3))(const([[0, 3], [2, 0]]))",
        "layer(nn.Embedding(4, 3, padding_idx=1))(const([1, 2]))",
        "nn.Embedding(3, 2, -1).weight[-1].detach()",
        "layer(nn.Embedding.from_pretrained(x(3, 2).detach(), freeze=False))(const([1, 2]))",
    ],
    "TransformerEncoderLayer": [
        "layer(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0))(x(3, 2, 4))",
        "layer(nn.TransformerEncoderLayer(4, 2, 6, 0.0, 'gelu', batch_first=True, norm_first=True))(x(2, 3, 4))",
        "layer(nn.TransformerEncoderLayer(4, 1, 5, 0.0, F.silu, bias=False))(x(2, 1, 4))",
    ],
    "TransformerEncoder": [
        "layer(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, 0.0), 2, nn.LayerNorm(4)))(x(3, 2, 4))"
    ],
}
