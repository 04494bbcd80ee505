"""SyncBatchNorm: batch normalisation with the statistics of the batches of all ranks; see ../distributed."""

from typing import Any

from ..autograd.function import Function, once_differentiable
from ..creation import cat, full
from ..distributed.collectives import all_reduce
from ..distributed.group import get_world_size
from ..tape import no_grad
from ..tensors import Tensor
from .module import Module
from .normalization import _BatchNorm

__all__ = ["SyncBatchNorm"]
__dir__ = __all__.copy


class SyncBatchNorm(_BatchNorm):
    """BatchNorm of any number of axes, whose statistics in training are those of the images of all ranks.

    x, returns   (N, C, ...); N may differ between ranks
    others       as BatchNorm2d

    Each forward and backward pass exchanges two vectors of C numbers, which no kernel hides: use it where the batch of
    a rank is too small for statistics of its own.  With one rank it is BatchNorm.
    Raises   ShapeError        x has another number of axes or channels
             ValidationError   training with one value in each channel, on one rank
    Source   C. Peng et al., "MegDet: a large mini-batch object detector", 2018, section 3.2
    Example
    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.SyncBatchNorm(1)(mg.tensor([[[1.0, 3.0]]])).detach()
    tensor([[[-1.,  1.]]])
    """

    _dims = (2, 3, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        training = self.training or self.running_mean is None
        if not training or get_world_size() == 1:
            return super().forward(x)
        self._check(x, 1)
        share, shape = self._share_of_batch(x), (1, -1, *[1] * (x.ndim - 2))
        count, mean, centred, variance = _statistics(x, shape)
        if self.training and self.running_mean is not None:
            self._move(mean, variance * (count / (count - 1)), share)
        out = centred * ((variance + self.eps) ** -0.5).reshape(shape)
        out = out if self.weight is None else out * self.weight.reshape(shape)
        return out if self.bias is None else out + self.bias.reshape(shape)

    @no_grad()
    def _move(self, mean: Tensor, variance: Tensor, share: Any) -> None:
        """Move the running statistics towards those of a batch."""
        for running, found in (self.running_mean, mean), (self.running_var, variance):
            if running is not None:
                running.mul_(1 - share).add_(found * share)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Return a model with a SyncBatchNorm in the place of every BatchNorm; it keeps parameters and statistics.

        process_group   without effect, for PyTorch's scripts

        Example
        >>> from minigrad import nn
        >>> nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
        Sequential(
          (0): SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        )
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            made = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
            made._parameters, made._buffers, made.training = module._parameters, module._buffers, module.training
            return made
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module


class _SumOverRanks(Function):
    """The sum over all ranks; its gradient is that of the losses of all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        all_reduce(gradient)
        return gradient


def _statistics(x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of all ranks: the number of values of a channel, their means, x without them, and the variances."""
    axes = (0, *range(2, x.ndim))
    own_count = full((1,), x.numel() // x.shape[1], dtype=x.dtype, device=x.device)
    sums = _SumOverRanks.apply(cat([x.sum(axes), own_count]))
    count = sums[-1:].detach()
    mean = sums[:-1] / count
    centred = x - mean.reshape(shape)
    variance = _SumOverRanks.apply((centred * centred).sum(axes)) / count
    return count, mean, centred, variance
