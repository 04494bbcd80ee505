"""The names of torchvision's second version: the same transforms, which also take whole samples.

A sample is a tuple, a list or a dict of images and other values, or several arguments.  All its Pillow images are
transformed with the same random parameters or, if there are none, its first tensor or array.  Other values, such as
labels, stay as they are.
"""

import sys
from typing import Any

from ... import transforms as v1
from ...names import explain_unknown_names
from ...streams import next_seed, use_stream
from .. import Lambda
from ..base import Transform
from ..converting import ToDtype as _ToDtype, ToImage as _ToImage
from ..images import InterpolationMode, is_image, is_picture
from . import functional

__all__ = sorted([*v1.__all__, "Identity", "ToDtype", "ToImage", "ToPureTensor"])
__dir__ = __all__.copy


class Sampled(Transform):
    """Makes a transform of images one of samples too; stands before it in the list of base classes."""

    def __call__(self, *inputs: Any) -> Any:
        sample = inputs[0] if len(inputs) == 1 else inputs
        if not isinstance(sample, tuple | list | dict):
            return self.forward(sample)
        values = list(_values(sample))
        chosen = [value for value in values if is_picture(value)] or [value for value in values if is_image(value)][:1]
        seed, numbers = next_seed(), {id(value) for value in chosen}
        return self._transform(sample, numbers, seed)

    def _transform(self, sample: Any, chosen: set[int], seed: int) -> Any:
        """The sample with the chosen images transformed, each with the same random numbers."""
        if isinstance(sample, dict):
            return {key: self._transform(value, chosen, seed) for key, value in sample.items()}
        if isinstance(sample, tuple | list):
            return type(sample)([self._transform(value, chosen, seed) for value in sample])
        if id(sample) not in chosen:
            return sample
        with use_stream(seed):
            return self.forward(sample)


def _values(sample: Any) -> Any:
    """The values in nested tuples, lists and dicts."""
    if isinstance(sample, tuple | list | dict):
        for value in sample.values() if isinstance(sample, dict) else sample:
            yield from _values(value)
    else:
        yield sample


class Identity(Sampled):
    """Return the image as it is.

    Example
    >>> Identity()((1, 2))
    (1, 2)
    """

    def forward(self, img: Any) -> Any:
        return img


class ToPureTensor(Identity):
    """Return the image as it is: tensors are the only kind of images here, besides Pillow images and arrays.

    Example
    >>> ToPureTensor()(3)
    3
    """


class ToDtype(Sampled, _ToDtype): ...


class ToImage(Sampled, _ToImage): ...


class CenterCrop(Sampled, v1.CenterCrop): ...


class ColorJitter(Sampled, v1.ColorJitter): ...


class Compose(Sampled, v1.Compose): ...


class ConvertImageDtype(Sampled, v1.ConvertImageDtype): ...


class ElasticTransform(Sampled, v1.ElasticTransform): ...


class FiveCrop(Sampled, v1.FiveCrop): ...


class GaussianBlur(Sampled, v1.GaussianBlur): ...


class Grayscale(Sampled, v1.Grayscale): ...


class Normalize(Sampled, v1.Normalize): ...


class Pad(Sampled, v1.Pad): ...


class PILToTensor(Sampled, v1.PILToTensor): ...


class RandomAdjustSharpness(Sampled, v1.RandomAdjustSharpness): ...


class RandomAffine(Sampled, v1.RandomAffine): ...


class RandomApply(Sampled, v1.RandomApply): ...


class RandomAutocontrast(Sampled, v1.RandomAutocontrast): ...


class RandomChoice(Sampled, v1.RandomChoice): ...


class RandomCrop(Sampled, v1.RandomCrop): ...


class RandomEqualize(Sampled, v1.RandomEqualize): ...


class RandomErasing(Sampled, v1.RandomErasing): ...


class RandomGrayscale(Sampled, v1.RandomGrayscale): ...


class RandomHorizontalFlip(Sampled, v1.RandomHorizontalFlip): ...


class RandomInvert(Sampled, v1.RandomInvert): ...


class RandomOrder(Sampled, v1.RandomOrder): ...


class RandomPerspective(Sampled, v1.RandomPerspective): ...


class RandomPosterize(Sampled, v1.RandomPosterize): ...


class RandomResizedCrop(Sampled, v1.RandomResizedCrop): ...


class RandomRotation(Sampled, v1.RandomRotation): ...


class RandomSolarize(Sampled, v1.RandomSolarize): ...


class RandomVerticalFlip(Sampled, v1.RandomVerticalFlip): ...


class Resize(Sampled, v1.Resize): ...


class TenCrop(Sampled, v1.TenCrop): ...


class ToPILImage(Sampled, v1.ToPILImage): ...


class ToTensor(Sampled, v1.ToTensor): ...


class TrivialAugmentWide(Sampled, v1.TrivialAugmentWide): ...


explain_unknown_names(sys.modules[__name__], functional)
