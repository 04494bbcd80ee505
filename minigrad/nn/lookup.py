"""Rows of a table by their index."""

from typing import Any

from numpy.typing import DTypeLike

from ..checks import whole_number
from ..creation import zeros
from ..errors import OutOfRangeError, ShapeError
from ..runtime.device import device as Device
from ..tape import no_grad
from ..tensors import Tensor, float32
from . import functional as F, init
from .layer import Layer
from .parameter import Parameter

__all__ = ["Embedding"]
__dir__ = __all__.copy


class Embedding(Layer):
    """A learned vector for each word, class or place; see functional.embedding.

    num_embeddings   count   rows of the table
    embedding_dim    count   size of a vector
    padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse   as in functional.embedding
    weight           (num_embeddings, embedding_dim), drawn from the normal distribution; row padding_idx is 0
    x                any shape, whole numbers
    returns          (*x.shape, embedding_dim)

    Raises   OutOfRangeError   padding_idx is not a row
             ValidationError   a count below 1
    Example
    >>> import minigrad as mg
    >>> Embedding(10, 4, padding_idx=0)(mg.tensor([[0, 3]])).shape
    (1, 2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        device: str | Device = "cpu",
        dtype: DTypeLike = float32,
    ):
        super().__init__()
        self.num_embeddings = whole_number("Embedding", "num_embeddings", num_embeddings, least=1)
        self.embedding_dim = whole_number("Embedding", "embedding_dim", embedding_dim, least=1)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise OutOfRangeError(f"Embedding: padding_idx is {padding_idx}, there are {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.weight = Parameter(zeros(num_embeddings, embedding_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, *settings: Any, **named: Any
    ) -> "Embedding":
        """Return a layer whose table is `embeddings`, (num_embeddings, embedding_dim), which learns unless `freeze`."""
        if embeddings.ndim != 2:
            raise ShapeError(f"from_pretrained: the table has shape {embeddings.shape}, expected 2 dimensions")
        rows, width = embeddings.shape
        layer = cls(rows, width, padding_idx, *settings, **named)
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        settings = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return F.embedding(x, self.weight, *settings)

    def extra_repr(self) -> str:
        words = [f"{self.num_embeddings}, {self.embedding_dim}"]
        defaults = {"padding_idx": None, "max_norm": None, "norm_type": 2, "scale_grad_by_freq": False, "sparse": False}
        words += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(words)
