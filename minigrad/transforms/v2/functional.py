"""The functions of transforms.functional under the names of torchvision's second version."""

from .. import functional as v1
from ..conversion import to_dtype as to_dtype, to_image as to_image
from ..functional import *  # noqa: F403
from ..images import get_size as get_size

horizontal_flip, vertical_flip, elastic = v1.hflip, v1.vflip, v1.elastic_transform
get_num_channels = v1.get_image_num_channels

NEW = ["elastic", "get_num_channels", "get_size", "horizontal_flip", "to_dtype", "to_image", "vertical_flip"]
__all__ = sorted([*v1.__all__, *NEW])
__dir__ = __all__.copy
