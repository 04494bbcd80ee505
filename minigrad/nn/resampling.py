"""Other numbers of pixels: interpolation and pixel shuffle."""

from collections.abc import Sequence

from . import functional as F
from .layer import FunctionLayer

__all__ = ["PixelShuffle", "PixelUnshuffle", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]
__dir__ = __all__.copy


class Upsample(
    FunctionLayer, function=F.interpolate, settings="size scale_factor mode align_corners recompute_scale_factor"
):
    """Return images with another number of pixels; the settings are those of functional.interpolate."""

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample with mode 'nearest'."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with mode 'bilinear' and align_corners."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(FunctionLayer, function=F.pixel_shuffle):
    """Return images larger by a factor, each block made of channels; see functional.pixel_shuffle."""


class PixelUnshuffle(FunctionLayer, function=F.pixel_unshuffle):
    """Return images smaller by a factor, each block as channels; see functional.pixel_unshuffle."""
