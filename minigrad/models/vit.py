"""The vision transformer: an image as a sequence of patches, of which each attends to all others.

Source: A. Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale", 2021.
"""

from math import sqrt
from typing import Any

from .. import nn
from ..creation import cat, zeros
from ..errors import ShapeError, ValidationError
from ..tensors import Tensor
from .building import zero_bias


class EncoderBlock(nn.Module):
    """Self-attention, and two dense layers with GELU between them; each adds to its input, which it normalises first.

    Source   Dosovitskiy et al. 2021, equations 2 and 3
    """

    def __init__(self, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float, attention_dropout: float):
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, attention_dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(hidden_dim, eps=1e-6)
        first, second = nn.Linear(hidden_dim, mlp_dim), nn.Linear(mlp_dim, hidden_dim)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Dropout(dropout), second, nn.Dropout(dropout))
        for parameter in self.mlp.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.normal_(parameter, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.ln_1(x)
        x = x + self.dropout(self.self_attention(normal, normal, normal, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Learned positions, the blocks, and a last norm."""

    def __init__(self, seq_length: int, num_layers: int, hidden_dim: int, dropout: float, **of_blocks: Any):
        super().__init__()
        self.pos_embedding = nn.Parameter(zeros(1, seq_length, hidden_dim))
        nn.init.normal_(self.pos_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        blocks = (EncoderBlock(hidden_dim=hidden_dim, dropout=dropout, **of_blocks) for _ in range(num_layers))
        self.layers = nn.Sequential({f"encoder_layer_{i}": block for i, block in enumerate(blocks)})
        self.ln = nn.LayerNorm(hidden_dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Patches as features, with a class token before them, whose last features give the logits; torchvision's names.

    image_size          pixels   side of the images, a multiple of patch_size
    patch_size          pixels   side of a patch
    num_layers          count    of blocks
    num_heads           count    of the attention, a divisor of hidden_dim
    hidden_dim          count    features of each patch
    mlp_dim             count    features between the dense layers of a block
    dropout             0 to 1   after attention and dense layers
    attention_dropout   0 to 1   of the weights of attention
    num_classes         count
    in_channels         count    of the images
    x, returns          (N, in_channels, image_size, image_size), (N, num_classes) logits; these are 0 at first

    torchvision's vit_b_16 is VisionTransformer(224, 16, 12, 12, 768, 3072).

    Raises   ShapeError        the images have another size or number of channels
             ValidationError   image_size is no multiple of patch_size
    Source   Dosovitskiy et al. 2021, section 3.1
    Example
    >>> import minigrad as mg
    >>> model = VisionTransformer(28, 7, 2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10, in_channels=1)
    >>> model(mg.zeros(8, 1, 28, 28)).shape
    (8, 10)
    """

    def __init__(
        self, image_size: int, patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int,
        dropout: float = 0.0, attention_dropout: float = 0.0, num_classes: int = 1000, *, in_channels: int = 3,
    ):  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            raise ValidationError(
                f"VisionTransformer: image_size {image_size} is no multiple of patch_size {patch_size}; choose another"
            )
        self.image_size = image_size
        self.class_token = nn.Parameter(zeros(1, 1, hidden_dim))
        self.conv_proj = nn.Conv2d(in_channels, hidden_dim, patch_size, stride=patch_size)
        of_blocks = {"num_heads": num_heads, "mlp_dim": mlp_dim, "attention_dropout": attention_dropout}
        places = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(places, num_layers, hidden_dim, dropout, **of_blocks)
        self.heads = nn.Sequential({"head": nn.Linear(hidden_dim, num_classes)})
        nn.init.trunc_normal_(self.conv_proj.weight, std=sqrt(1 / (in_channels * patch_size**2)))
        zero_bias(self.conv_proj)
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ShapeError(
                f"VisionTransformer: images have {x.shape[-2]}x{x.shape[-1]} pixels, expected "
                f"{self.image_size}x{self.image_size}; resize them or set image_size"
            )
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = self.class_token.expand(len(x), -1, -1)
        return self.heads(self.encoder(cat([tokens, patches], 1))[:, 0])
